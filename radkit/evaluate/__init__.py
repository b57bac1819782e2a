"""How good is it, and how sure are we: overlap, lesions, thresholds, calibration, agreement, each with an interval."""

from __future__ import annotations

from .drifting import drift
from .intervals import interval
from .lesions import detection
from .overlap import segmentation
from .page import report
from .paired import compare
from .readers import agreement
from .thresholds import classification

__all__ = ["agreement", "classification", "compare", "detection", "drift", "interval", "report", "segmentation"]
