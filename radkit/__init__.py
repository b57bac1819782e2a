"""radkit: learn and prototype radiology AI, from a DICOM file to a result back in the archive.

``import radkit as rk`` is light; each room (``rk.dicom``, ``rk.data``, ``rk.view``, ``rk.results``, ``rk.model``,
``rk.evaluate``, ``rk.pacs``, ``rk.deploy``, ``rk.check``) is imported when it is first entered.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .errors import RadkitError

__version__ = "0.1.0"
_ROOMS = ("check", "data", "deploy", "dicom", "evaluate", "model", "pacs", "results", "view")
__all__ = ["RadkitError", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its rooms are {', '.join(_ROOMS)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
