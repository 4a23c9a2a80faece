"""`python -m nexios_trio.cli`, as the workers are started."""

from .main import main

main()
