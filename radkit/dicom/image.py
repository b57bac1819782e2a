"""One image, or a run of frames: radiographs, mammograms, ultrasound, angiography, photographs, single slices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import JPEG2000TransferSyntaxes

from radkit.errors import DicomError

from . import display
from ._file import read_dataset
from .decoding import decode, refusing
from .display import FULL, Pair, group, numbers


@dataclass(frozen=True, eq=False, repr=False)
class Image:
    """One DICOM image in memory.

    ``array`` is grey, (rows, columns) or (frames, rows, columns) in modality units (``unit``), of the smallest integer
    type that is exact, else float32; or RGB, uint8, the samples last. ``spacing`` is the distance of rows and columns
    in mm, or None; ``spacing_of`` says of what: "patient", "detector" (or film), where the body is drawn larger than it
    is, or "", unsaid (PS3.3 10.7.1.3). ``aspect`` is the height of a pixel over its width. ``inverted``: the lowest
    value is shown white (MONOCHROME1). ``windows`` are center and width by name, the object's own first, then
    the full range; none in colour. ``padding`` is where ``PixelPaddingValue`` stands in for an image, or None, and
    ``overlays`` are the graphics of the groups 60xx by label, on the image's grid. ``directions`` are where a row and a
    column run to, in letters of L, R, A, P, H, F, or None. ``header`` is the data set without its pixels; ICC profiles
    and supplemental palettes in it are left unused.
    """

    array: np.ndarray
    spacing: Pair | None
    spacing_of: str
    aspect: float
    inverted: bool
    windows: dict[str, Pair]
    padding: np.ndarray | None
    overlays: dict[str, np.ndarray]
    directions: tuple[str, str] | None
    unit: str
    modality: str
    frame_time_ms: float | None
    header: Dataset

    @property
    def colour(self) -> bool:
        """Whether it is in colour."""
        return not self.windows

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return self.array.shape[0] if self.array.ndim == 3 + self.colour else 1

    def __repr__(self) -> str:
        size = " × ".join(str(n) for n in self.array.shape)
        of = self.spacing_of or "of what is not said"
        place = f", {self.spacing[0]:.3g} × {self.spacing[1]:.3g} mm ({of})" if self.spacing else ""
        return f"Image({self.modality or 'no modality'}, {size} {self.array.dtype}{place})"

    def shown(self, *, frame: int = 0, window: str | Pair | None = None) -> np.ndarray:
        """Return a frame, from 0, as the standard has it displayed (PS3.4 N.2).

        ``window`` is one of the ``windows`` by name, or a center and a width in modality units; without it the object's
        first VOI LUT holds, else its first window, else the full range. The picture is uint8, (rows, columns) or (rows,
        columns, 3); 0 is black, and so is padding. What does not exist, or is malformed, is a DicomError.
        """
        if not 0 <= frame < self.frames or (isinstance(window, str) and window not in self.windows):
            raise DicomError(f"Expected a frame below {self.frames} and one of {list(self.windows)}: {frame}, {window}")
        index = frame if self.frames > 1 else ...
        if self.colour:
            return self.array[index]
        values, where = self.array[index], ...
        if values.dtype.kind in "iu" and (spread := int(values.max()) - int(low := values.min())) < 65536:
            where = np.subtract(values, low, dtype=np.int64)  # each value once, and then by table
            values = np.arange(spread + 1) + int(low)
        with refusing(self.header, "cannot be displayed"):
            shown = np.nan_to_num(display.grey(values, self.header, frame, window, self.windows[FULL]))
        shown = np.rint(255 * (1 - shown if self.inverted else shown)).astype(np.uint8)[where]
        return shown if self.padding is None else np.where(self.padding[index], np.uint8(0), shown)


def read_image(source: str | Path | Dataset) -> Image:
    """Read one DICOM image, of one frame or of many.

    Parameters
    ----------
    source
        A file, or a data set with its pixels, which stays as it is.

    Returns
    -------
    Image
        In modality units (PS3.3 C.11.1) or in RGB (C.7.6.3.1.2).

    Raises
    ------
    DicomError
        If it is no DICOM image, is malformed, or its colours are of a retired kind.
    """
    dataset = source if isinstance(source, Dataset) else read_dataset(source)
    with refusing(dataset, "cannot be read as an image"):
        known = _values(dataset) | _place(dataset) | _words(dataset)
        header = dataset[:0x7FE00000]  # type: ignore[misc]
        header.file_meta, header.filename = dataset.file_meta, dataset.get("filename")
        return Image(**known, header=header)


def _values(dataset: Dataset) -> dict[str, Any]:
    """Return what is known of the values."""
    kind, frames = str(dataset.get("PhotometricInterpretation")), int(dataset.get("NumberOfFrames") or 1)
    stored = decode(dataset, rgb=True)
    # PresentationLUTShape INVERSE says the same as MONOCHROME1 (C.8.11.3): to heed both would be to invert twice.
    found = {"inverted": kind == "MONOCHROME1", "overlays": _overlays(dataset, frames)}
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        return found | {"array": _rgb(stored, dataset, kind), "padding": None, "windows": {}}
    padding = None
    if value := numbers(dataset, "PixelPaddingValue"):  # a value, or a range of them (C.7.5.1.1.2)
        ends = np.array([value[0], (numbers(dataset, "PixelPaddingRangeLimit") or value)[0]], int)
        low, high = np.sort(ends.astype(stored.dtype))  # what was written with the other sign wraps round
        padding = (stored >= low) & (stored <= high)
    array = display.modality_values(stored, dataset, frames)
    windows = display.own_windows(dataset, 0) | {FULL: display.full_range(array, padding)}
    return found | {"array": array, "padding": padding if np.any(padding) else None, "windows": windows}


def _rgb(stored: np.ndarray, dataset: Dataset, kind: str) -> np.ndarray:
    """Return the colours of the standard as 8-bit RGB."""
    if kind == "PALETTE COLOR" and dataset.SamplesPerPixel == 1:
        return display.palette_rgb(stored, dataset)
    coded = dataset.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes  # whose decoder undoes ICT and RCT
    if dataset.SamplesPerPixel != 3 or kind not in ("RGB", "YBR_FULL", "YBR_FULL_422", *["YBR_ICT", "YBR_RCT"] * coded):
        raise ValueError(f"{dataset.SamplesPerPixel} sample(s) of {kind} are no colours that radkit reads")
    return (stored >> max(int(dataset.BitsStored) - 8, 0)).astype(np.uint8)


def _overlays(dataset: Dataset, frames: int) -> dict[str, np.ndarray]:
    """Return the overlay planes (PS3.3 C.9.2), also the retired ones in the bits above the pixels."""
    found: dict[str, np.ndarray] = {}
    rows, columns, coded = dataset.Rows, dataset.Columns, dataset.file_meta.TransferSyntaxUID.is_encapsulated
    for number in (number for number in range(0x6000, 0x6020, 2) if (number, 0x10) in dataset):
        value = {element.tag & 0xFFFF: element.value for element in dataset.group_dataset(number)}
        if 0x3000 in value:
            shape = int(value.get(0x15) or 1), value[0x10], value[0x11]
            bits = np.unpackbits(np.frombuffer(value[0x3000], np.uint8), bitorder="little")
            planes = bits[: np.prod(shape)].reshape(shape)
        elif coded or value.get(0x100, 1) == 1:
            continue  # neither here nor in the pixels
        else:
            planes = decode(dataset, all_bits=True).reshape(frames, rows, columns) >> value[0x102] & 1
        canvas = np.zeros((frames if len(planes) > 1 else 1, rows, columns), bool)
        top, left = (int(origin) - 1 for origin in value.get(0x50) or (1, 1))
        part = canvas[int(value.get(0x51) or 1) - 1 :][: len(planes)]
        part = part[:, max(top, 0) : max(top + planes.shape[1], 0), max(left, 0) : max(left + planes.shape[2], 0)]
        part[:] = planes[: len(part), max(-top, 0) :, max(-left, 0) :][:, : part.shape[1], : part.shape[2]]
        label = value.get(0x1500) or f"overlay {number:X}"
        found[label if label not in found else f"{label} {number:X}"] = canvas if len(planes) > 1 else canvas[0]
    return found


def _place(dataset: Dataset) -> dict[str, Any]:
    """Return what is known of the place of the pixels."""
    spacing, spacing_of = _spacing(dataset)
    down, across = spacing or _pair(dataset, "PixelAspectRatio") or (1.0, 1.0)
    cosines = np.reshape(numbers(group(dataset, "PlaneOrientationSequence", 0), "ImageOrientationPatient"), (-1, 3))
    letters = [str(letter) for letter in dataset.get("PatientOrientation") or []]
    if len(cosines):  # the largest part first; what is below a tenth is left out
        large = [(way, [axis for axis in np.argsort(-abs(way)) if abs(way[axis]) > 0.1]) for way in cosines]
        letters = ["".join("LPHRAF"[axis + 3 * (way[axis] < 0)] for axis in axes) for way, axes in large]
    known = len(letters) == 2 and all(re.fullmatch("[LRAPHF]{1,3}", letter) for letter in letters)
    found = {"spacing": spacing, "spacing_of": spacing_of, "aspect": down / across}
    return found | {"directions": tuple(letters) if known else None}


def _pair(dataset: Dataset, keyword: str) -> Pair | None:
    pair = numbers(dataset, keyword)
    return (pair[0], pair[1]) if len(pair) == 2 and min(pair) > 1e-6 and max(pair) < 1e6 else None


def _spacing(dataset: Dataset) -> tuple[Pair | None, str]:
    """Return the spacing, and of what it is: PS3.3 10.7.1.3, in ultrasound C.8.5.5."""
    measured = _pair(group(dataset, "PixelMeasuresSequence", 0), "PixelSpacing")
    detector = _pair(dataset, "ImagerPixelSpacing") or _pair(dataset, "NominalScannedPixelSpacing")
    plane = "ImageOrientationPatient" in group(dataset, "PlaneOrientationSequence", 0)
    calibrated = bool(dataset.get("PixelSpacingCalibrationType")) or (detector is not None and detector != measured)
    if measured and (plane or calibrated or dataset.get("Modality") in ("CT", "MR", "NM", "PT")):
        return measured, "patient"
    if detector or measured:
        return detector or measured, "detector" if detector else ""
    keys = ("RegionSpatialFormat", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection")
    flat = [r for r in dataset.get("SequenceOfUltrasoundRegions") or [] if [r.get(key) for key in keys] == [1, 3, 3]]
    deltas = {tuple(10 * abs((numbers(r, f"PhysicalDelta{axis}") or [0])[0]) for axis in "YX") for r in flat}  # of cm
    down, across = deltas.pop() if len(deltas) == 1 else (0.0, 0.0)
    return ((down, across), "patient") if min(down, across) > 1e-6 and max(down, across) < 1e6 else (None, "")


def _words(dataset: Dataset) -> dict[str, Any]:
    """Return what else the header says."""
    scale, modality = group(dataset, "PixelValueTransformationSequence", 0), str(dataset.get("Modality") or "")
    table = (dataset.get("ModalityLUTSequence") or [Dataset()])[0]
    units = [table.get("ModalityLUTType"), scale.get("RescaleType"), dataset.get("Units"), dataset.get("DoseUnits")]
    units += ["HU"] * (modality == "CT" and "RescaleIntercept" in scale)
    unit = next((str(unit) for unit in units if unit and unit != "US"), "")  # US: unspecified
    rates = numbers(dataset, "CineRate") or numbers(dataset, "RecommendedDisplayFrameRate")
    times = numbers(dataset, "FrameTime") or [1000 / r for r in rates if r] or numbers(dataset, "FrameTimeVector")[1:]
    return {"unit": unit, "modality": modality, "frame_time_ms": next((time for time in times if time > 0), None)}
