"""From stored values to a picture: lookup tables, rescaling, palettes and windows, in the order of PS3.4 N.2.

pydicom.pixels has these steps too, and the tests compare with it. Where it falls short they are taken anew: its tables
wrap round an index, its windows turn over at a negative slope, its segmented palettes unfold without an end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

Pair = tuple[float, float]
FULL = "full range"
PART = 1 << 22  # values at a time, where each takes more room on the way


def group(header: Dataset, sequence: str, frame: int) -> Dataset:
    """Return the functional group that holds for a frame of an enhanced object, else the header (PS3.3 C.7.6.16)."""
    frames, shared = (header.get(f"{kind}FunctionalGroupsSequence") or [] for kind in ("PerFrame", "Shared"))
    places = ([frames[frame]] if frame < len(frames) else []) + ([shared[0]] if shared else [])
    return next((groups[sequence][0] for groups in places if groups.get(sequence)), header)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the values of an element, however many; none if one of them is no finite number."""
    value = dataset.get(keyword)
    values = np.atleast_1d(np.array([] if value is None else value, float))
    return values.tolist() if np.isfinite(values).all() else []


def modality_values(stored: np.ndarray, header: Dataset, frames: int) -> np.ndarray:
    """Apply the modality LUT or the rescaling, frame by frame where they differ (PS3.3 C.11.1, C.7.6.16.2.9)."""
    if header.get("ModalityLUTSequence"):
        item = header.ModalityLUTSequence[0]
        return look_up(stored, item.LUTDescriptor, item.LUTData, header)
    many = min(frames, len(header.get("PerFrameFunctionalGroupsSequence") or [header]))
    if many not in (1, frames):
        raise ValueError("PerFrameFunctionalGroupsSequence does not have an item for each of NumberOfFrames")
    groups = [group(header, "PixelValueTransformationSequence", frame) for frame in range(many)]
    slopes = _factors(groups, header, 1.0, "RescaleSlope", "DoseGridScaling")
    intercepts = _factors(groups, header, 0.0, "RescaleIntercept")
    if len({*slopes}) == len({*intercepts}) == 1:
        return _rescaled(stored, slopes[0], intercepts[0])
    values = np.empty(stored.shape, np.float32)
    for target, frame, slope, intercept in zip(values, stored, slopes, intercepts, strict=True):
        target[...] = frame * slope + intercept
    return values


def _factors(groups: Sequence[Dataset], header: Dataset, otherwise: float, *keywords: str) -> list[float]:
    """Return a number for each group: its own, else the header's, else the one that changes nothing."""
    places = ((g.get(key) for key in keywords for g in (own, header)) for own in groups)
    found = [next((value for value in place if value not in (None, "")), otherwise) for place in places]
    if not all(isinstance(value, (int, float)) and abs(value) < 1e30 for value in found):
        raise ValueError(f"expected one number in {keywords[0]}")
    return [float(value) for value in found]


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return ``stored * slope + intercept`` in the smallest type that holds it exactly, else in float32."""
    if stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
        for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32):
            if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
                # What wraps round on the way comes back, as the end fits.
                return stored.astype(kind) * np.array(slope, int).astype(kind) + np.array(intercept, int).astype(kind)
    if (slope, intercept) == (1, 0):
        return stored
    flat, values = stored.reshape(-1), np.empty(stored.shape, np.float32)
    for start in range(0, flat.size, PART):  # so do doubles
        values.reshape(-1)[start : start + PART] = flat[start : start + PART] * slope + intercept
    return values


def look_up(values: np.ndarray, descriptor: Sequence[int], data: bytes | list[int], header: Dataset) -> np.ndarray:
    """Send values through a table; below it they take its first entry, above it its last (PS3.3 C.11.1.1)."""
    entries, first = int(descriptor[0]) % 65536 or 65536, int(descriptor[1])
    first -= 65536 * (first > 32767 and values.min() < 0)  # written as US where SS was meant
    words = np.frombuffer(data[: len(data) // 2 * 2], _word(header)) if isinstance(data, bytes) else data
    raw = np.array(words, "<u2").tobytes()
    table = np.frombuffer(raw, np.uint8 if len(raw) < 2 * entries else "<u2")[:entries]  # of 8 bits, two share a word
    flat, found = values.reshape(-1), np.empty(values.shape, table.dtype)
    for start in range(0, flat.size, PART):  # an index takes eight bytes
        index = np.rint(flat[start : start + PART]).astype(np.int64) - first
        found.reshape(-1)[start : start + PART] = table[np.clip(index, 0, len(table) - 1)]
    return found


def _word(header: Dataset) -> np.dtype:
    return np.dtype(">u2" if header.original_encoding[1] is False else "<u2")


def palette_rgb(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Colour values by their palette (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6): (..., 3) uint8."""
    low, planes = int(values.min()), []
    span = np.arange(low, min(int(values.max()), low + 131071) + 1)  # every value that a palette can tell apart
    for colour in ("Red", "Green", "Blue"):
        descriptor = header[f"{colour}PaletteColorLookupTableDescriptor"].value
        if (data := header.get(f"{colour}PaletteColorLookupTableData")) is None:
            data = header[f"Segmented{colour}PaletteColorLookupTableData"].value
            kind, wide = (np.uint8, 4) if descriptor[2] == 8 else (_word(header), 2)
            data = _unfolded(np.frombuffer(data, kind).astype(int), int(descriptor[0]) % 65536 or 65536, wide)
        planes.append(look_up(span, descriptor, data, header))
    colours = np.stack(planes, axis=-1)
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)[np.subtract(values, low, dtype=np.int64)]


def _unfolded(words: np.ndarray, most: int, wide: int, segments: int = 65536, before: Sequence[int] = ()) -> list[int]:
    """Unfold discrete, linear and, one level deep, indirect segments, to ``most`` entries (PS3.3 C.7.9.2)."""
    table, at = list(before), 0
    while at + 2 < len(words) and len(table) < most and segments:
        code, length = words[at : at + 2].tolist()
        segments, at = segments - 1, at + 2
        if code == 0:
            table += words[at : at + length].tolist()
        elif code == 1:
            table += np.rint(np.linspace(table[-1], words[at], length + 1)[1:]).astype(int).tolist()
        elif code == 2 and not before:
            offset = sum(int(word) << 32 // wide * i for i, word in enumerate(words[at : at + wide]))  # in bytes
            table = _unfolded(words[offset * wide // 4 :], most, wide, length, table)
        else:
            raise ValueError(f"a palette has a segment of unknown type {code}")
        at += (length, 1, wide)[code]
    return table


def own_windows(header: Dataset, frame: int) -> dict[str, Pair]:
    """Return the windows that the object brings, center and width by their explanation."""
    found: dict[str, Pair] = {}
    voi = group(header, "FrameVOILUTSequence", frame)
    names = np.atleast_1d(voi.get("WindowCenterWidthExplanation") or []).tolist()
    for i, pair in enumerate(zip(numbers(voi, "WindowCenter"), numbers(voi, "WindowWidth"), strict=False)):
        name = names[i] if i < len(names) and names[i] else f"window {i + 1}"
        found |= {name if name not in found else f"{name} {i + 1}": pair} if pair[1] > 0 else {}
    return found


def full_range(values: np.ndarray, padding: np.ndarray | None) -> Pair:
    """Return the window from the lowest to the highest value that is no padding."""
    values = values if padding is None or padding.all() else values[~padding]
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low + high) / 2, (high - low) or 1.0


def grey(values: np.ndarray, header: Dataset, frame: int, window: str | Pair | None, full: Pair) -> np.ndarray:
    """Take the modality values of a frame to 0..1 by the VOI LUT or a window (PS3.3 C.11.2)."""
    voi = group(header, "FrameVOILUTSequence", frame)
    if window is None and voi.get("VOILUTSequence"):
        item = voi.VOILUTSequence[0]
        shown = look_up(values, item.LUTDescriptor, item.LUTData, header)
        return shown / np.float32(max(2 ** int(item.LUTDescriptor[2]) - 1, shown.max()))  # some promise too few bits
    function = str(voi.get("VOILUTFunction") or "LINEAR").strip().upper()
    if window is None or isinstance(window, str):
        own = own_windows(header, frame)  # which may change from frame to frame
        name = window or next(iter(own), FULL)
        window, function = own.get(name, full), "LINEAR_EXACT" if name == FULL else function
    center, width = window
    values = values.astype(np.float32)
    if function == "SIGMOID":
        return 0.5 + 0.5 * np.tanh(2 * (values - center) / width)  # 1 / (1 + exp(-4 …)), which overflows
    if function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1
    return np.clip((values - center) / width + 0.5, 0, 1) if width else (values > center).astype(np.float32)
