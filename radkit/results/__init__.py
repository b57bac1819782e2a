"""Results that a PACS understands: measure a lesion, write SEG and TID 1500, read them back, check them."""

from __future__ import annotations

from .checks import check
from .guideline import fleischner
from .measurement import Measurement, measure
from .report import read_report, write_report
from .segmentation import read_segmentation, write_segmentation

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
