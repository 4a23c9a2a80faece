"""The same application with metrics mounted, for which nobody asks: what do they cost?"""

from benchmarks.app import app

__all__ = ["app"]

app.mount_metrics()
