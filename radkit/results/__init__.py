"""Results that a PACS understands: measure a lesion, write SEG and TID 1500, read them back, check them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Which module a name comes from. No module bears the name of a function: once imported, it would take its place here.
_HOME = {
    "Measurement": "measurement",
    "measure": "measurement",
    "fleischner": "guideline",
    "write_segmentation": "segmentation",
    "read_segmentation": "segmentation",
    "write_report": "report",
    "read_report": "report",
    "check": "checks",
}
__all__ = [
    "Measurement",
    "check",
    "fleischner",
    "measure",
    "read_report",
    "read_segmentation",
    "write_report",
    "write_segmentation",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
