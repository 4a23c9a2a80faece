"""Whom does the server believe about the clients behind them?"""

import os
from collections.abc import Iterator
from typing import Final

from hypercorn.config import Config

from ...config.settings import Settings
from ...core.proxy_headers import UNIX
from .addresses import binds_of, is_local
from .findings import Finding, note, ok, wrong

__all__ = ["check_proxies"]

# What other servers read, and we do not.
FOREIGN_VARIABLES: Final = ("FORWARDED_ALLOW_IPS",)


def check_proxies(config: Config, settings: Settings) -> Iterator[Finding]:
    """Compare the trusted proxies with where the server listens."""
    trusted = settings.trusted_proxies
    binds = binds_of(config)
    everybody = [str(proxy) for proxy in trusted if proxy != UNIX and proxy.prefixlen == 0]
    on_unix = [bind for bind in binds if bind.startswith("unix:")]
    if everybody:
        yield wrong("proxies", f"trusted_proxies has {', '.join(everybody)}: anybody may say to be anybody else")
    elif on_unix and not trusted:
        yield wrong(
            "proxies",
            f"whoever connects to {on_unix[0]} is not believed about its clients' addresses and TLS:"
            " --set trusted_proxies=unix",
        )
    elif trusted:
        yield ok("proxies", f"X-Forwarded-For, -Proto and -Host are believed of {', '.join(map(str, trusted))}")
    elif any(map(is_local, binds)):
        yield note("proxies", "no proxy is trusted; behind one on this machine: --set trusted_proxies=127.0.0.1")
    if settings.max_connections_per_address is not None and not trusted and on_unix:
        yield wrong("proxies", "max_connections_per_address counts nothing on a Unix socket without trusted_proxies")
    for name in FOREIGN_VARIABLES:
        if name in os.environ:
            yield note("proxies", f"{name} is another server's variable; here it is NEXIOS_TRUSTED_PROXIES")
    if "*" in settings.allowed_origins:
        yield note("origins", "allowed_origins=*: any page on the web may connect, with your users' cookies")
