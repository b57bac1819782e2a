"""The archive: Orthanc, or an embedded one where Orthanc cannot be had, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .archive import Archive
from .opening import open_archive

if TYPE_CHECKING:
    from .watching import Watcher, watch

__all__ = ["Archive", "Watcher", "open_archive", "watch"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # the watcher imports half of radkit.dicom, which an archive's server would wait for
        from . import watching

        return getattr(watching, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
