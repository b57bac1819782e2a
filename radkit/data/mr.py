"""Write a volume as the MR series that a scanner would have written: PS3.3 A.4, one file a slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from pydicom.uid import MRImageStorage

from radkit.errors import DataError

from .ct import INVENTED, write_slices

# How a sequence is taken, as PS3.3 C.8.3.1 writes it down. Times in ms.
SEQUENCES: dict[str, dict[str, Any]] = {
    "t1": {"ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 12, "EchoTrainLength": 1},
    "t2": {"ScanningSequence": "SE", "RepetitionTime": 4500, "EchoTime": 100, "EchoTrainLength": 15},
    "flair": {
        **{"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 120, "EchoTrainLength": 15},
        "InversionTime": 2500,
    },
    "pd": {"ScanningSequence": "SE", "RepetitionTime": 2300, "EchoTime": 22, "EchoTrainLength": 8},
}
_ALIKE = {
    **{"SOPClassUID": MRImageStorage, "Modality": "MR", "ImageType": ["DERIVED", "PRIMARY", "OTHER"]},
    **{"SequenceVariant": "SK", "ScanOptions": "", "MRAcquisitionType": "2D", "MagneticFieldStrength": 1.5},
    **{"BodyPartExamined": "BRAIN", "StudyDescription": "MR brain", "StationName": "RADKIT-MR1"},
}


def write_mr_series(
    volume: Volume, folder: str | Path, *, sequence: str, header: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write an MR volume (slice, row, column; whole numbers that fit signed 16 bits) as `write_ct_series` does a CT.

    `sequence` is one of `SEQUENCES`; `header` holds attributes by keyword, over the invented ones.

    Raises
    ------
    DataError
        If there is no such sequence, or the voxels are no such numbers.
    """
    if sequence not in SEQUENCES:
        raise DataError(f"Expected one of the sequences {', '.join(SEQUENCES)}, got {sequence!r}")
    stored = volume.array.astype("<i2")
    if volume.array.ndim != 3 or not np.array_equal(stored, volume.array):
        raise DataError(
            f"Expected whole numbers that fit signed 16 bits, (slice, row, column); got {volume.array.dtype} of shape "
            f"{volume.array.shape} from {volume.array.min()} to {volume.array.max()}: round or scale them"
        )
    low, high = (float(edge) for edge in np.quantile(stored, (0.02, 0.995)))
    window = {"WindowCenter": round((low + high) / 2), "WindowWidth": max(1, round(high - low))}
    names = {"SeriesDescription": sequence.upper(), "ProtocolName": f"RADKIT brain {sequence.upper()}"}
    attributes = {**INVENTED, **_ALIKE, **SEQUENCES[sequence], **window, **names, **(header or {})}
    return write_slices(volume, stored, folder, attributes)
