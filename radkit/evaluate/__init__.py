"""How good is it, and how sure are we: overlap, lesions, thresholds, calibration, agreement, each with an interval."""

from __future__ import annotations

from .intervals import interval
from .lesions import detection
from .overlap import segmentation
from .paired import compare
from .thresholds import classification

__all__ = ["classification", "compare", "detection", "interval", "segmentation"]
