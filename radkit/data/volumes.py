"""Read any CT of the catalog into one and the same kind of volume, whatever its format.

The frame. A NIfTI file stores (x, y, z) and points right, anterior, superior; NRRD names its own frame; DICOM is LPS.
Here all become (slice, row, column) in LPS mm, turned (never resampled) as a scanner writes axial slices: slices ascend
from feet to head, row 0 is anterior, column 0 is the patient's right.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume

from radkit.dicom import read_series
from radkit.errors import DataError

from .cache import Fetched, fetch

# To LPS: what the axes of a frame must be multiplied by. nrrd's names: http://teem.sourceforge.net/nrrd/format.html#space
TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}
AS_SCANNED = "HPL"  # where the slice, the row and the column axis point to: head, posterior, left


def read(source: str | Fetched) -> Volume:
    """Read a CT or an MR of the catalog; of the atlas of the brain, its T1.

    Parameters
    ----------
    source
        A name of the catalog, or what ``fetch`` returned.

    Returns
    -------
    Volume
        int16, a CT in HU (slice, row, column), LPS mm: slices ascend to the head, row 0 anterior, column 0 the
        patient's right.

    Raises
    ------
    DataError
        If the entry holds no volume, or values that are not whole.
    """
    return _whole(_open(_fetched(source), "image", "series", "t1"), np.int16)


def read_labels(source: str | Fetched) -> Volume:
    """Read the labels that come with a CT of the catalog, on the grid of the CT.

    uint8 or uint16, 0 is background; axes and frame as in `read`. `read_names` says what the numbers mean. An entry
    without labels is a DataError.
    """
    fetched = _fetched(source)
    labels, image = _open(fetched, "labels"), _open(fetched, "image", "series")
    if labels.spatial_shape != image.spatial_shape:  # drawn on a cut-out: put back where it was cut
        labels = labels.match_geometry(image)
    return _whole(labels, np.uint8 if labels.array.max() < 256 else np.uint16)


def read_names(source: str | Fetched) -> dict[int, str]:
    """Read what the numbers in the labels mean; empty where the source does not say."""
    fetched = _fetched(source)
    if "names" not in fetched.files:
        return {}
    with fetched.files["names"].open(newline="") as table:
        return {int(row["id"]): row["structure"] for row in csv.DictReader(table)}


def read_any(path: Path) -> Volume:
    """Read a NIfTI or NRRD file or a folder with a DICOM series, turned as in `read`, values as they are."""
    if path.is_dir():
        return read_series(path).to_patient_orientation(AS_SCANNED)
    return _read_nrrd(path) if path.suffix == ".nrrd" else read_nifti(path)


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI file, turned as in `read`."""
    import nibabel

    image: Any = nibabel.load(path)
    array, slope, inter = image.dataobj.get_unscaled(), image.dataobj.slope, image.dataobj.inter
    if (slope, inter) != (1.0, 0.0):
        array = array.astype(np.int32 if float(slope).is_integer() and float(inter).is_integer() else float)
        array = array * array.dtype.type(slope) + array.dtype.type(inter)
    return _turned(array, np.diag([-1, -1, 1, 1]) @ image.affine)


def _read_nrrd(path: Path) -> Volume:
    """Read an NRRD file that says its space, turned as in `read`."""
    import nrrd

    array, header = nrrd.read(str(path))
    space = header.get("space")
    if space not in TO_LPS:
        raise DataError(f"Expected {path.name} to be in one of {', '.join(TO_LPS)}, found space {space!r}")
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"], float).T
    affine[:3, 3] = header["space origin"]
    return _turned(array, np.diag([*TO_LPS[space], 1]) @ affine)


def write_nifti(path: Path, volume: Volume, says: str = "Made by radkit") -> Path:
    """Write a volume as NIfTI has it, (x, y, z) in RAS; gzipped without a name and a date."""
    import nibabel

    turned = volume.to_patient_orientation("RAH")
    image = nibabel.Nifti1Image(np.asfortranarray(turned.array), np.diag([-1.0, -1, 1, 1]) @ turned.affine)
    image.header["descrip"] = says
    with path.open("wb") as file, gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
        packed.write(image.to_bytes())
    return path


def _fetched(source: str | Fetched) -> Fetched:
    return fetch(source) if isinstance(source, str) else source


def _open(fetched: Fetched, *keys: str) -> Volume:
    """Open the first of the named files that the entry has, by its format."""
    path = next((fetched.files[key] for key in keys if key in fetched.files), None)
    if path is not None and (path.is_dir() or path.name.endswith((".nii", ".nii.gz", ".nrrd"))):
        return read_any(path)
    holds = ", ".join(f"{key} ({file.name})" for key, file in fetched.files.items())
    raise DataError(f"Expected a volume under {' or '.join(keys)} in {fetched.name}; it holds {holds}")


def _turned(array: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(array, affine, coordinate_system="PATIENT").to_patient_orientation(AS_SCANNED)


def _whole(volume: Volume, dtype: type) -> Volume:
    """Return the volume as contiguous whole numbers of the given type; nothing may be lost."""
    array: np.ndarray = volume.array.astype(dtype, order="C")
    if not np.array_equal(array, volume.array):
        raise DataError(f"Expected whole numbers that fit {np.dtype(dtype)}, got others, as {volume.array.dtype}")
    return volume.with_array(array)
