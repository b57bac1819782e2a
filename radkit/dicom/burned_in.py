"""Text burned into the pixels: where a header warns of it, where a detector finds it, and how it is blacked out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import UID, ExplicitVRLittleEndian
from scipy import ndimage

from radkit._assets import asset
from radkit._optional import optional
from radkit.errors import DicomError

from ._file import read_dataset
from .decoding import decode
from .display import palette_rgb

# Pixels that a screen, a camera, paper or a console made, which write into the image.
SCREENS = ("Ultrasound", "Secondary Capture", "Angiographic", "Radiofluoroscopic", "VL ", "Video", "Photography")
MODALITIES = frozenset(("US", "IVUS", "SC", "XA", "RF", "XC", "ES", "GM", "OP", "OT", "DG", "HC"))
# Measured on CT, MR and radiographs (tests/test_burned_in.py): a pixel that may be text; the mean over a region, its
# length by its height, its height in pixels and its share of its box, that make the region text and not anatomy.
LIKELY, SURE, LONGER, HIGHEST, FILLED = 0.3, 0.75, 1.8, 45, 0.6
SMALLEST, LARGEST, HUGE = 512, 1280, 5000  # pixels of the longer side that the detector is given, and is made from


class Box(NamedTuple):
    """A rectangle of text: rows from ``top`` to before ``bottom``, columns from ``left`` to before ``right``."""

    top: int
    left: int
    bottom: int
    right: int


def find_text(image: Any) -> list[Box]:
    """Find where text is written in an image: one box a word or line, with a margin. It reads nothing.

    Parameters
    ----------
    image
        An `Image`, a dataset, a file, or an array (rows, columns), (rows, columns, 3) or with the frames before. Of
        more than three frames the first, the middle, the last, the brightest and the darkest projection are looked at.

    Returns
    -------
    list of Box
        In the order of the rows; empty if nothing looks like text, which is no proof: look before you publish.

    Raises
    ------
    DicomError
        If the pixels cannot be read.
    SourceUnreachable
        If the detector (PP-OCRv6; Liao et al., DBNet, AAAI 2020) is not in the cache and cannot be had.
    """
    if isinstance(image, str | Path):
        image = read_dataset(image)
    if isinstance(image, Dataset):
        image = in_colour(image)
    array = np.asarray(getattr(image, "array", image))
    if array.ndim not in (2, 3, 4) or not array.size:
        raise DicomError(f"Expected an image of rows and columns, or frames of them; found an array of {array.shape}.")
    colour = array.ndim > 2 and array.shape[-1] in (3, 4)
    frames = array[None] if array.ndim == (3 if colour else 2) else array
    looked = list(frames)
    if len(frames) > 3:
        looked = [frames[0], frames[len(frames) // 2], frames[-1], frames.max(0), frames.min(0)]
    return sorted({box for frame in looked for box in _boxes(frame.mean(-1) if colour else frame)})


def warning_in(header: Dataset) -> str:
    """Say why a header makes one expect text in the pixels (PS3.3 C.7.6.1, C.8.6.1); "" if it does not."""
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        return "BurnedInAnnotation is YES"
    if any(kind in UID(str(header.get("SOPClassUID", ""))).name for kind in SCREENS):
        return "its SOP class is one of screens and cameras"
    if header.get("ConversionType") or str(header.get("Modality", "")) in MODALITIES:
        return "ConversionType or Modality says that it was captured"
    words = str(header.get("ImageType", "")).upper()
    return "ImageType says that it was captured" if "SCREEN" in words or "CAPTURE" in words else ""


def black_out(dataset: Dataset, values: np.ndarray, boxes: Iterable[Box]) -> None:
    """Set boxes of an object's decoded values to black in every frame, and make them its pixels, uncompressed.

    It looks again, up to three times, for what the text that is gone had outshone.
    """
    values = values.copy()
    colour = values.ndim > 2 and values.shape[-1] == 3
    black = values.max() if dataset.PhotometricInterpretation == "MONOCHROME1" else 0 if colour else values.min()
    for _ in range(3):
        for box in boxes:
            rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
            values[(..., rows, columns, slice(None)) if colour else (..., rows, columns)] = black
        if not (boxes := find_text(values)):
            break
    del dataset[0x00281100:0x00281300]  # the palette
    photometric = "RGB" if colour else dataset.PhotometricInterpretation
    bits = 8 * values.itemsize if colour else int(dataset.BitsStored)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    set_pixel_data(dataset, values, photometric, bits, generate_instance_uid=False)


def in_colour(dataset: Dataset) -> np.ndarray:
    """Decode all frames: stored values if grey, RGB if colour or a palette."""
    values = decode(dataset, rgb=True)
    return palette_rgb(values, dataset) if dataset.get("PhotometricInterpretation") == "PALETTE COLOR" else values


@lru_cache(1)
def _detector() -> Any:
    onnxruntime = optional("onnxruntime")
    only = onnxruntime.SessionOptions()
    only.intra_op_num_threads = only.inter_op_num_threads = 1
    model = asset("text-detector") / "det.onnx"
    return onnxruntime.InferenceSession(str(model), only, providers=["CPUExecutionProvider"])


def _boxes(frame: np.ndarray) -> list[Box]:
    """Run the detector over one grey frame; what looks like text becomes boxes in the frame's own pixels."""
    given, scale = _prepared(frame)
    session = _detector()
    likely = session.run(None, {session.get_inputs()[0].name: given})[0][0, 0]
    labels, count = ndimage.label(likely > LIKELY)
    sure = ndimage.mean(likely, labels, range(1, count + 1)) if count else ()
    found = []
    for number, (place, mean) in enumerate(zip(ndimage.find_objects(labels), sure, strict=True), 1):
        inside = labels[place] == number
        short, long = sorted(inside.shape)
        if mean > SURE and 3 <= short <= HIGHEST and long >= max(8, LONGER * short) and inside.mean() >= FILLED:
            margin = 0.9 * short + 3  # the model marks the middle of the letters
            first = np.floor((np.array([side.start for side in place]) - margin) / scale).clip(0)
            last = np.ceil((np.array([side.stop for side in place]) + margin) / scale).clip(0, frame.shape)
            found.append(Box(*map(int, (*first, *last))))
    return found


def _prepared(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame as the detector wants it, (1, 3, height, width) from -1 to 1, and how far it was scaled."""
    step = -(-max(frame.shape) // HUGE)
    values = np.nan_to_num(frame[::step, ::step].astype(np.float32))
    ratio = min(max(0.6 * max(values.shape), SMALLEST), LARGEST) / max(values.shape)
    height, width = (max(32, round(n * ratio / 32) * 32) for n in values.shape)
    low, high = np.percentile(values[::2, ::2], (1, 99.8))
    ends = (values.min() - 1e-3, low, high + 1e-3, values.max() + 2e-3)
    grey = np.interp(values, ends, (0, 40, 215, 255))  # what is whiter than bone keeps its contrast
    if ratio < 1:
        grey = ndimage.gaussian_filter(grey, 0.35 / ratio)
    factors = (height / values.shape[0], width / values.shape[1])
    grey = ndimage.zoom(grey, factors, order=1, mode="nearest", grid_mode=True)
    strokes = (grey - ndimage.gaussian_filter(grey, 5)) / 64  # anatomy is coarser than letters
    given = np.broadcast_to(np.clip(strokes, -1, 1).astype(np.float32), (1, 3, height, width)).copy()
    return given, np.array((height, width)) / frame.shape
