"""The stored values of many frames, in one array and in modality units."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut
from tqdm import tqdm

from radkit.errors import DicomError

from ._file import read_dataset
from .decoding import ALWAYS, RATIO, decode, refusing
from .frames import Frame

THREADS = 2  # the codecs leave Python's lock while they work; plain files gain nothing


class _NotExact(Exception):
    """The values are no whole numbers of 16 bits."""


def read_pixels(frames: Sequence[Frame], *, progress: bool) -> np.ndarray:
    """Read frames of one size, (frame, row, column), after the modality transform (PS3.3 C.11.1).

    int16 where that is exact, else float32.
    """
    shape = len(frames), frames[0].values["Rows"], frames[0].values["Columns"]
    there = sum({id(f.source) if isinstance(f.source, Dataset) else f.source: _size(f) for f in frames}.values())
    if 2 * np.prod(shape, dtype=float) > max(ALWAYS, RATIO * there):
        raise DicomError(f"{frames[0].name}: {shape} values cannot be in {there} bytes.")
    whole = all(number.is_integer() for frame in frames for number in _rescale(frame))
    for dtype in (np.int16, np.float32) if whole else (np.float32,):
        try:
            return _filled(np.empty(shape, dtype), frames, progress)
        except _NotExact:
            continue
    raise AssertionError


def _filled(volume: np.ndarray, frames: Sequence[Frame], progress: bool) -> np.ndarray:
    """Fill the volume; objects of many frames are opened once."""
    opened = lru_cache(4)(read_dataset)
    plain = all(frame.offset is not None for frame in frames)
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(frames), desc="Reading", unit="slice", delay=2, leave=False, file=sys.stdout,
             disable=not progress) as bar,
    ):  # fmt: skip
        for _ in (map if plain else pool.map)(partial(_read, opened), volume, frames):
            bar.update()
    return volume


def _read(opened: Callable[[str], Dataset], target: np.ndarray, frame: Frame) -> None:
    """Put one frame into its place."""
    slope, intercept = _rescale(frame)
    if frame.offset is not None:
        stored = _words(frame, target if target.dtype == np.int16 else np.empty(target.shape, np.int16))
    else:
        dataset = frame.source if isinstance(frame.source, Dataset) else opened(frame.source)
        stored = decode(dataset, frame=frame.number)
        if stored.shape != target.shape:
            raise DicomError(f"{frame.name}: expected {target.shape} grey values, found {stored.shape}.")
        if "ModalityLUTSequence" in dataset:
            with refusing(dataset, "ModalityLUTSequence cannot be applied"):
                stored, slope, intercept = apply_modality_lut(stored, dataset), 1.0, 0.0
    if target.dtype == np.float32:
        target[...] = stored * slope + intercept
        return
    ends = [float(end) * slope + intercept for end in (stored.min(), stored.max())]
    if stored.dtype.kind == "f" or min(ends) < -32768 or max(ends) > 32767:
        raise _NotExact
    words = target.view(np.uint16)  # modulo 65536 all the way, so that nothing else is needed
    if not np.shares_memory(stored, target):
        np.copyto(words, stored, casting="unsafe")
    if slope != 1:
        words *= np.uint16(int(slope) % 65536)
    if intercept:
        words += np.uint16(int(intercept) % 65536)


def _words(frame: Frame, into: np.ndarray) -> np.ndarray:
    """Read plain words, and cut off what lies above ``BitsStored`` (PS3.5 section 8.1.1)."""
    with Path(str(frame.source)).open("rb", buffering=0) as file:
        file.seek(frame.offset or 0)
        if file.readinto(into.data.cast("B")) != into.nbytes:
            raise DicomError(f"{frame.name} became shorter while it was read.")
    unused = 16 - frame.values["BitsStored"]
    stored = into if frame.values["PixelRepresentation"] else into.view(np.uint16)
    if unused:
        stored <<= unused
        stored >>= unused
    return stored


def _rescale(frame: Frame) -> tuple[float, float]:
    found = [frame.values.get(keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
    slope, intercept = (standard if value is None else value for value, standard in zip(found, (1.0, 0.0), strict=True))
    if not (isinstance(slope, (int, float)) and isinstance(intercept, (int, float)) and np.isfinite(slope + intercept)):
        raise DicomError(f"{frame.name}: expected numbers in RescaleSlope and RescaleIntercept, found {found}.")
    return float(slope), float(intercept)


def _size(frame: Frame) -> int:
    """Return how many bytes there are to read from."""
    if isinstance(frame.source, Dataset):
        return len(frame.source.get("PixelData") or b"")
    return Path(frame.source).stat().st_size
