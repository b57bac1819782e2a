"""A small model of our own: where the lungs are, which nodules lie in them, and the recipe that trained it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Which module a name comes from. No module bears the name of a function: once imported, it would take its place here.
_HOME = {
    "Bundle": "bundle",
    "find_nodules": "inference",
    "keep_inside_lungs": "inference",
    "load_bundle": "bundle",
    "lungs": "anatomy",
    "predict": "inference",
}
__all__ = ["Bundle", "find_nodules", "keep_inside_lungs", "load_bundle", "lungs", "predict"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
