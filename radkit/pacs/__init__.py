"""The archive: Orthanc, or an embedded one where Orthanc cannot be had, behind one interface."""

from __future__ import annotations

from .archive import Archive
from .opening import open_archive
from .watching import Watcher, watch

__all__ = ["Archive", "Watcher", "open_archive", "watch"]
