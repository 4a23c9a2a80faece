"""The documented import path of hypercorn's settings: importing it gives `server.hypercorn.config` itself."""

import sys

from ..server.hypercorn import config

sys.modules[__name__] = config
