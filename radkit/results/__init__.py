"""Results that a PACS understands: measure, write SEG, TID 1500 and key objects, read them back, check them."""

from __future__ import annotations

from .checks import check
from .key_objects import read_key_objects, write_key_objects
from .measurement import measure
from .report import read_report, write_report
from .segmentation import read_segmentation, write_segmentation

__all__ = [
    "check",
    "measure",
    "read_key_objects",
    "read_report",
    "read_segmentation",
    "write_key_objects",
    "write_report",
    "write_segmentation",
]
