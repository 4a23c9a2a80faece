"""Under which name an application can be imported: the same in each of several processes that run it."""

import sys
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["import_path_of"]

NOWHERE = "application"  # made by a function, and no module has it


def import_path_of(application: Any) -> Callable[[], str]:
    """Return what finds `module:name`, later, when all modules are imported. It does not keep the application."""
    reference = weakref.ref(application)

    def find() -> str:
        app = reference()
        return NOWHERE if app is None else _find(app, app.box)

    return find


def _find(*objects: object) -> str:
    """Look for the module that was imported first among those that have one of the objects."""
    for module_name, module in list(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if any(value is one for one in objects):
                return f"{module_name}:{name}"
    return NOWHERE
