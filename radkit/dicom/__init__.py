"""DICOM: find series, read them into volumes and images, say what is wrong with them, show tags, de-identify."""

from __future__ import annotations

from .burned_in import find_text
from .deid import deidentify
from .image import read_image
from .scanning import scan
from .series import read_headers, read_series
from .tags import compare, inspect

__all__ = ["compare", "deidentify", "find_text", "inspect", "read_headers", "read_image", "read_series", "scan"]
