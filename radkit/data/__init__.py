"""Real images by exact version and checksum, their generated stand-ins, and the patient whom the course follows."""

from __future__ import annotations

from .cache import fetch, verify
from .ct import write_ct_series
from .patient import story
from .sources import catalog
from .volumes import read, read_labels, read_names

__all__ = ["catalog", "fetch", "read", "read_labels", "read_names", "story", "verify", "write_ct_series"]
