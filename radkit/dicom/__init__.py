"""Read DICOM: one series becomes one volume, in the unit and in the place that its headers say."""

from __future__ import annotations

from .burned_in import find_text
from .deid import deidentify
from .scanning import scan
from .series import read_headers, read_series
from .tags import compare, inspect

__all__ = ["compare", "deidentify", "find_text", "inspect", "read_headers", "read_series", "scan"]
