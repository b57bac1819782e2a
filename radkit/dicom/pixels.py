"""The stored values of many frames, in one array and in modality units."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from io import FileIO
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut
from tqdm import tqdm

from radkit.errors import DicomError

from ._file import read_dataset
from .decoding import ALWAYS, RATIO, decode, refusing
from .frames import Frame

THREADS = 2  # codecs leave Python's lock while they work; plain files gain nothing


class _NotExact(Exception):
    """The values are no whole numbers of 16 bits."""


def read_pixels(frames: Sequence[Frame], *, progress: bool) -> np.ndarray:
    """Read frames of one size, (frame, row, column), after the modality transform (PS3.3 C.11.1).

    int16 where that is exact, else float32.
    """
    shape = len(frames), int(frames[0].values["Rows"]), int(frames[0].values["Columns"])
    kinds = {frame.values.get("PhotometricInterpretation") for frame in frames} - {"MONOCHROME1", "MONOCHROME2", None}
    if kinds:
        found = ", ".join(map(str, kinds))[:80]
        raise DicomError(f"{frames[0].name}: expected grey values, found {found}: use read_image.")
    packed = [frame for frame in frames if frame.offset is None]  # the others are as long as they say, or fail at once
    sources = {id(f.source) if isinstance(f.source, Dataset) else f.source: f.source for f in packed}.values()
    there = sum(len(s.get("PixelData") or b"") if isinstance(s, Dataset) else Path(s).stat().st_size for s in sources)
    if 2 * math.prod((len(packed), *shape[1:])) > max(ALWAYS, RATIO * there):
        raise DicomError(f"{packed[0].name}: {len(packed)} × {shape[1:]} values cannot be in {there} bytes.")
    if all(number.is_integer() for frame in frames for number in _rescale(frame)):
        try:
            return _filled(np.empty(shape, np.int16), frames, progress)
        except _NotExact:
            pass
    return _filled(np.empty(shape, np.float32), frames, progress)


def _filled(volume: np.ndarray, frames: Sequence[Frame], progress: bool) -> np.ndarray:
    """Fill the volume; objects of many frames are opened once."""
    read = partial(_read, lru_cache(4)(read_dataset))
    bar = partial(tqdm, total=len(frames), desc="Reading", unit="slice", delay=2, leave=False, file=sys.stdout)
    with ThreadPoolExecutor(THREADS) as pool:
        ways = map if all(frame.offset is not None for frame in frames) else pool.map
        for _ in bar(ways(read, volume, frames), disable=not progress):
            pass
    return volume


def _read(opened: Callable[[str], Dataset], target: np.ndarray, frame: Frame) -> None:
    """Put one frame into its place."""
    slope, intercept = _rescale(frame)
    if frame.offset is not None:
        stored = _words(frame, target if target.dtype == np.int16 else np.empty(target.shape, np.int16))
        bits = frame.values["BitsStored"]
    else:
        dataset = frame.source if isinstance(frame.source, Dataset) else opened(frame.source)
        stored = decode(dataset, frame=frame.number)
        if stored.shape != target.shape:
            raise DicomError(f"{frame.name}: expected {target.shape} grey values, found {stored.shape}.")
        if "ModalityLUTSequence" in dataset:
            with refusing(dataset, "ModalityLUTSequence cannot be applied"):
                stored, slope, intercept = apply_modality_lut(stored, dataset), 1.0, 0.0
        bits = 8 * stored.itemsize
    if target.dtype == np.float32:
        with np.errstate(all="ignore"):  # stored floats may be anything
            target[...] = stored * slope + intercept
        return
    if not _is_exact(stored, slope, intercept, bits):
        raise _NotExact
    words = target.view(np.uint16)  # modulo 65536 all the way, so that nothing else is needed
    if not np.shares_memory(stored, target):
        np.copyto(words, stored, casting="unsafe")
    if slope != 1:
        words *= np.uint16(int(slope) % 65536)
    if intercept:
        words += np.uint16(int(intercept) % 65536)


def _is_exact(stored: np.ndarray, slope: float, intercept: float, bits: int) -> bool:
    """Tell whether the values will fit into int16; they are looked at only where ``bits`` leaves it open."""
    low = -(1 << bits - 1) if stored.dtype.kind == "i" else 0

    def fits(end: float) -> bool:
        return -32768 <= end * slope + intercept <= 32767

    return stored.dtype.kind in "iu" and (
        (fits(low) or fits(float(stored.min()))) and (fits(low + (1 << bits) - 1) or fits(float(stored.max())))
    )


def _words(frame: Frame, into: np.ndarray) -> np.ndarray:
    """Read plain words, and cut off what lies above ``BitsStored`` (PS3.5 section 8.1.1)."""
    with FileIO(str(frame.source)) as file:
        file.seek(frame.offset or 0)
        if file.readinto(into.data.cast("B")) != into.nbytes:
            raise DicomError(f"{frame.name} is truncated: its pixel data end too early.")
    unused = 16 - frame.values["BitsStored"]
    if not frame.values["PixelRepresentation"]:
        into = into.view(np.uint16)
        into &= np.uint16(0xFFFF >> unused)
    elif unused:
        into <<= unused
        into >>= unused
    return into


def _rescale(frame: Frame) -> tuple[float, float]:
    found = [frame.values.get(keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
    slope, intercept = (standard if value is None else value for value, standard in zip(found, (1.0, 0.0), strict=True))
    if not all(isinstance(number, (int, float)) and abs(number) < 1e30 for number in (slope, intercept)):  # of float32
        raise DicomError(
            f"{frame.name}: expected numbers in RescaleSlope and RescaleIntercept, found {str(found)[:80]}."
        )
    return float(slope), float(intercept)
