"""What each frame of a series says of its place and its values, in one form for every kind of image and file."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ._file import read_dataset
from .decoding import refusing
from .walker import Found, walk_file

# What enhanced objects keep in functional groups (PS3.3 C.7.6.16), and all others at the top level; and what both have.
GROUPED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
           "RescaleSlope", "RescaleIntercept")  # fmt: skip
KEYWORDS = (*GROUPED, "Modality", "ImageType", "SeriesInstanceUID", "FrameOfReferenceUID", "NumberOfFrames", "Rows",
            "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
            "PixelRepresentation", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
            "PerFrameFunctionalGroupsSequence", "DoseGridScaling")  # fmt: skip
WANTED = {int(tag_for_keyword(keyword) or 0): (keyword, dictionary_VR(keyword)) for keyword in KEYWORDS}


class Frame(NamedTuple):
    """One frame: where it is (``number`` from 0 in an object of many), and what its header says, by keyword.

    ``offset`` is where in the file its values lie as plain 16 bit words, little endian, ``None`` if they do not.
    """

    source: str | Dataset
    number: int | None
    values: dict[str, Any]
    offset: int | None = None

    @property
    def name(self) -> str:
        """Which file it is, for a message."""
        name = self.source.get("filename") if isinstance(self.source, Dataset) else self.source
        return f"{name or 'an image'}{'' if self.number is None else f', frame {self.number + 1}'}"


def frames_of(source: str | Path | Dataset) -> list[Frame]:
    """Return the frames of one object, by the walker where it is certain of all that is wanted."""
    found = None
    if not isinstance(source, Dataset):
        source = str(source)
        with suppress(OSError, ValueError):
            if found := walk_file(source, WANTED):
                values = {WANTED[tag][0]: _parsed(WANTED[tag][1], raw) for tag, raw in found.values.items()}
                if "SharedFunctionalGroupsSequence" not in values:
                    return [Frame(source, None, values, _offset(found, values))]
    header = source if isinstance(source, Dataset) else read_dataset(source, pixels=False)
    if "PixelData" not in header and header.get("filename"):  # a header of read_headers: its pixels are in its file
        source = str(header.filename)
    with refusing(header, "the header cannot be used"):
        values = {keyword: _python(header.get(keyword)) for keyword in KEYWORDS if keyword in header}
        if "PerFrameFunctionalGroupsSequence" not in header or values.get("Modality") == "SEG":
            return [Frame(source, None, values)]
        if len(header.PerFrameFunctionalGroupsSequence) != int(values.get("NumberOfFrames") or 1):
            raise ValueError("PerFrameFunctionalGroupsSequence does not have an item for each of NumberOfFrames")
        values |= _grouped(next(iter(header.get("SharedFunctionalGroupsSequence") or []), Dataset()))
        first, size = _offset(found, values), 2 * values["Rows"] * values["Columns"]
        return [
            Frame(source, number, values | _grouped(groups), None if first is None else first + number * size)
            for number, groups in enumerate(header.PerFrameFunctionalGroupsSequence)
        ]


def _grouped(groups: Dataset) -> dict[str, Any]:
    """Return what functional groups say of place and values; each is a sequence of one item."""
    items = [group[0] for group in groups if group.VR == "SQ" and group.value and not group.tag.is_private]
    return {keyword: _python(item.get(keyword)) for item in items for keyword in GROUPED if keyword in item}


def _python(value: Any) -> Any:
    """Return an element's value as plain numbers and text; several in a tuple."""
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, str) or value is None:
        return str(value) if value else None
    return () if isinstance(value, Dataset) else tuple(_python(each) for each in value)


@lru_cache(8192)  # from slice to slice most values are the same
def _parsed(vr: str, raw: bytes) -> Any:
    """Return a raw value as ``_python`` does (PS3.5 table 6.2-1)."""
    if vr == "SQ" or not raw:
        return () if vr == "SQ" else None
    if vr == "US":
        return int.from_bytes(raw, "little") if len(raw) == 2 else _parsed("DS", b"?")
    kind = {"DS": float, "IS": int}.get(vr, lambda part: part.decode("ascii").strip("\0 "))
    values = tuple(kind(part) for part in raw.split(b"\\"))
    return values if len(values) > 1 else values[0]


def _offset(found: Found | None, values: dict[str, Any]) -> int | None:
    """Return where the stored values begin if they are grey words of 16 bits, as many as there should be."""
    sizes: list[Any] = [values.get("Rows"), values.get("Columns"), values.get("NumberOfFrames") or 1]
    plain = (
        found is not None
        and found.syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        and all(isinstance(size, int) for size in sizes)
        and found.length == 2 * prod(sizes)
        and "ModalityLUTSequence" not in values
        and (values.get("BitsAllocated"), values.get("SamplesPerPixel")) == (16, 1)
        and values.get("PixelRepresentation") in (0, 1)
        and values.get("BitsStored") in range(1, 17)
        and values.get("HighBit") == values["BitsStored"] - 1
    )
    return found.pixels if found is not None and plain else None
