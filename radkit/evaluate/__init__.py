"""How good is it, and how sure are we: overlap, lesions, thresholds, calibration, agreement, and an interval on each."""

from __future__ import annotations

__all__: list[str] = []
