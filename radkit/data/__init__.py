"""Real images by exact version and checksum, their generated stand-ins, the patient of the course, and cohorts."""

from __future__ import annotations

from .cache import catalog, fetch
from .ct import write_ct_series
from .growing import cohort
from .patient import story
from .volumes import read, read_labels, read_names

__all__ = ["catalog", "cohort", "fetch", "read", "read_labels", "read_names", "story", "write_ct_series"]
