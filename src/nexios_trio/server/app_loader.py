"""Find the application that the command is to serve: `module:name`."""

import difflib
import importlib
import sys
from pathlib import Path
from typing import Any, Final

from ..application import NexiosApp
from ..asgi_types import ASGIApp
from .app_mistakes import describe_mistake
from .errors import ServerError

__all__ = ["LoadError", "load_application"]

ACCEPTED: Final = "accepted is a NexiosApp, or any other ASGI application: a callable (scope, receive, send)"


class LoadError(ServerError):
    """There is no such application. The text says what there is."""


def load_application(spec: str) -> ASGIApp:
    """Import `module:name`; the name is `app` if it is left out, and may have dots in it.

    The current directory comes first on the import path. What the module itself raises while it is imported passes
    through.

    Raises: LoadError.
    """
    module_name, _, name = spec.partition(":")
    name = name or "app"
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise LoadError(f"{module_name!r} is a file; give the module, as in {dotted}:{name}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    application: ASGIApp = _get(_import(module_name, here), name, spec)
    return application


def _import(module_name: str, here: str) -> Any:
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise LoadError(f"{module_name!r} is no module name; accepted is module:name, as in chat.main:app")
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; one that it needs is not
        raise LoadError(f"there is no module {error.name!r} in {here} or on Python's path") from None


def _get(module: Any, name: str, spec: str) -> Any:
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise LoadError(f"there is no {part!r} in {spec.partition(':')[0]!r}{_suggest(part, found)}")
        found = getattr(found, part)
    what = describe_mistake(found, module)
    if what is not None:
        raise LoadError(f"{spec!r} is {what}; {ACCEPTED}{_suggest('', module)}")
    return found


def _suggest(name: str, owner: Any) -> str:
    """Suggest what was perhaps meant: what has a similar name, or looks like an application."""
    names = [other for other in vars(owner) if not other.startswith("_") and callable(getattr(owner, other))]
    close = difflib.get_close_matches(name, names, 3, 0.6)
    close = close or [other for other in names if isinstance(getattr(owner, other), NexiosApp)]
    applications = [other for other in close if not isinstance(getattr(owner, other), type)]
    return f"; did you mean {' or '.join(applications)}?" if applications else ""
