"""What is wrong with a series, in words and numbers, told from its headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from pydicom.uid import UID

from .geometry import SIDEWAYS, TOLERANCE

Header: TypeAlias = "dict[str, str]"  # values by keyword, as text; Fault: what is wrong with the file alone
Numbers: TypeAlias = "tuple[float, ...]"


def problems_of(headers: Sequence[Header]) -> list[str]:
    """List what is wrong with the files of one series."""
    total, said = len(headers), []
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if lacking := sum(not header[keyword] for header in headers):
            said.append(f"no {keyword} in {lacking} of {total} files")
    uids = Counter(header["SOPInstanceUID"] for header in headers if header["SOPInstanceUID"])
    if copies := sum(uids.values()) - len(uids):
        said.append(f"duplicate SOPInstanceUID: {copies} of {total} files repeat that of another")
    faults = {header["Fault"].partition(":")[0]: header["Fault"] for header in headers if header["Fault"]}
    for kind, example in faults.items():
        said.append(f"{example} ({sum(header['Fault'].startswith(kind) for header in headers)} of {total} files)")
    images = [header for header in headers if header["Rows"]]
    slices = [header for header in images if "LOCALIZER" not in header["ImageType"]]
    if 0 < len(slices) < len(images):
        said.append(f"localizer mixed in: {len(images) - len(slices)} of {len(images)} images")
    return said + _mixtures(slices or images) + _geometry(slices or images)


def _mixtures(images: Sequence[Header]) -> list[str]:
    """List what there is more than one of, with the number of images of each."""
    kinds: dict[str, Counter[Any]] = {
        "transfer syntaxes": Counter(h["TransferSyntaxUID"] for h in images),
        "sizes": Counter(f"{h['Rows']} × {h['Columns']}" for h in images),
        "pixel spacings": _kinds(h["PixelSpacing"] for h in images),
        "orientations": _kinds(h["ImageOrientationPatient"] for h in images),
    }
    return [
        f"{len(found)} {what}: {_some([f'{_name(kind)} ({count})' for kind, count in found.most_common()])}"
        for what, found in kinds.items()
        if len(found) > 1
    ]


def _geometry(images: Sequence[Header]) -> list[str]:
    """List what is wrong with the places of slices, orientation by orientation."""
    stacks: dict[Numbers, list[Numbers]] = {}
    for header in images:
        place, cosines = _numbers(header["ImagePositionPatient"]), _numbers(header["ImageOrientationPatient"])
        if len(place) == 3 and len(cosines) == 6:
            stacks.setdefault(_kind(cosines, stacks), []).append(place)
    unplaced = len(images) - sum(map(len, stacks.values()))
    said = [f"no position and orientation in {unplaced} of {len(images)} images"] if stacks and unplaced else []
    for cosines, places in stacks.items():
        pixel = min(_numbers(images[0]["PixelSpacing"]) or (1.0,))
        said += _places(np.array(places), np.cross(cosines[:3], cosines[3:]), SIDEWAYS * pixel)
    return said


def _places(places: np.ndarray, normal: np.ndarray, sideways: float) -> list[str]:
    """List what is wrong with parallel slices: doubles, gaps, tilt (more than ``sideways`` mm off the normal)."""
    places = places[np.argsort(places @ normal, kind="stable")]
    heights = places @ normal
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > 1e-3)
    counts, levels, said = np.diff(starts, append=len(heights)), heights[starts], []
    if len(set(counts)) > 1:
        doubles = [f"{n} at {_mm(level)} mm" for n, level in zip(counts, levels, strict=True) if n > 1]
        said.append(f"duplicated positions: {_some(doubles)}")
    elif counts[0] > 1:
        said.append(f"{counts[0]} images at each of {len(levels)} positions: phases, echoes, b-values, or copies?")
    gaps = np.diff(levels)
    step = float(np.median(gaps)) if len(gaps) else 0.0
    odd = np.flatnonzero(np.abs(gaps - step) > TOLERANCE * step)
    if len(odd) > 3 + len(gaps) // 10:
        said.append(f"varying distance between slices: {_mm(gaps.min())} to {_mm(gaps.max())} mm")
    else:
        said += [_gap(step, levels[i], levels[i + 1]) for i in odd]
    along = places - places[0]
    shift = np.linalg.norm(along - np.outer(along @ normal, normal), axis=1)
    if len(levels) > 1 and shift.max() > sideways:
        tilt = np.degrees(np.arctan2(shift[-1], along[-1] @ normal))
        said.append(f"gantry tilt of {tilt:.1f} degrees: slices up to {_mm(shift.max())} mm off their normal")
    return said


def _gap(step: float, low: float, high: float) -> str:
    """Say what is wrong between two neighbours that are not the usual step apart."""
    missing, between = round((high - low) / step) - 1, f"between {_mm(low)} and {_mm(high)} mm"
    if abs((high - low) / step - missing - 1) > 0.1 or not 0 < missing < 10:
        return f"{_mm(high - low)} mm {between}, where {_mm(step)} mm is usual"
    return f"missing slice {between}" if missing == 1 else f"{missing} missing slices {between}"


@lru_cache(1 << 16)
def _numbers(text: str) -> Numbers:
    """Return the numbers of a multi-valued text; none if one of them is no number, or none that mm can be."""
    try:
        numbers = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
    return numbers if all(abs(number) < 1e6 for number in numbers) else ()  # nan is not


def _kinds(texts: Iterable[str]) -> Counter[Numbers]:
    found: Counter[Numbers] = Counter()
    for numbers in filter(None, map(_numbers, texts)):
        found[_kind(numbers, found)] += 1
    return found


def _kind(numbers: Numbers, known: dict[Numbers, Any]) -> Numbers:
    """Return the one among the known that is equal but for rounding, or the numbers themselves."""
    alike = (k for k in known if all(abs(a - b) <= 1e-4 for a, b in zip(k, numbers, strict=False)))
    return numbers if numbers in known else next(alike, numbers)


def _name(kind: Any) -> str:
    """Name a transfer syntax, a size, a spacing or, by its main plane, an orientation."""
    if isinstance(kind, str):
        return UID(kind).name if kind.startswith("1.2.") else kind
    if len(kind) != 6:
        return " × ".join(f"{number:g}" for number in kind) + " mm"
    normal = np.abs(np.cross(kind[:3], kind[3:]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())] + " oblique" * bool(normal.max() < 0.99)


def _mm(value: float) -> str:
    return f"{round(value, 2) + 0.0:.10g}"


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + f" and {len(items) - 3} more" * (len(items) > 3)
