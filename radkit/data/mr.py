"""Write a volume as the MR series that a scanner would have written: PS3.3 A.4, one file a slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from pydicom.uid import MRImageStorage

from radkit.errors import DataError

from .ct import HEADERS, write_slices


def write_mr_series(
    volume: Volume, folder: str | Path, *, sequence: str, header: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write an MR volume (slice, row, column; whole numbers that fit signed 16 bits) as `write_ct_series` does a CT.

    `sequence` is "t1", "t2", "flair" or "pd". A DataError says that there is no such sequence, or are no such numbers.
    """
    if sequence not in HEADERS["sequences"]:
        raise DataError(f"Expected one of the sequences {', '.join(HEADERS['sequences'])}, got {sequence!r}")
    low, high = (float(edge) for edge in np.quantile(volume.array, (0.02, 0.995)))
    window = {"WindowCenter": round((low + high) / 2), "WindowWidth": max(1, round(high - low))}
    names = {"SeriesDescription": sequence.upper(), "ProtocolName": f"RADKIT brain {sequence.upper()}"}
    alike = {"SOPClassUID": MRImageStorage, "Modality": "MR", **HEADERS["invented"], **HEADERS["mr"]}
    attributes = {**alike, **HEADERS["sequences"][sequence], **window, **names, **(header or {})}
    return write_slices(volume, folder, attributes)
