"""Real images by exact version and checksum, their generated stand-ins, and the patient whom the course follows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Which module a name comes from. No module bears the name of a function: once imported, it would take its place here.
_HOME = {
    "catalog": "sources",
    "fetch": "cache",
    "verify": "cache",
    "read": "volumes",
    "read_labels": "volumes",
    "read_names": "volumes",
    "story": "patient",
    "write_ct_series": "ct",
}
__all__ = ["catalog", "fetch", "read", "read_labels", "read_names", "story", "verify", "write_ct_series"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
