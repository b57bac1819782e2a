"""The one door to a DICOM file: bounded in work and memory, and every failure a ``DicomError`` that names the file."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from pathlib import Path
from struct import error

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from radkit.errors import DicomError

from .walker import IMPLICIT, SHORT, UNDEFINED, _dictionary, _element, _Unsure

MOST_READS = 300_000  # two or three an element: some two seconds of pydicom's time
MOST_WORK, BYTES = 200_000, 100  # as counted below, and one more for as many bytes: two seconds to read, four to write
MOST_ELEMENTS = 10_000  # of the top level; a scanner writes a few hundred
INFLATED, RATIO = 32 << 20, 20  # bytes; as many always, and so many times the file
CHARACTERS, DEAR = 0x00080005, 1000  # character sets are looked up again for each element that is written
LARGE, LONGEST = 4 << 20, 1 << 16  # bytes of a value, and of a list in a sequence: no contour is as long
PLAINLY: dict[type, str] = {
    InvalidDicomError: "it does not begin with 128 bytes and DICM.",
    RecursionError: "its sequences are nested too deeply.",
}

# A learner's screen is for what radkit says about a file. By module: a filter set for a while is not thread-safe.
warnings.filterwarnings("ignore", module=r"pydicom\.")


def files_in(source: str | Path) -> list[Path]:
    """Return the files in a folder, to its depth and in the order of their paths, or the file itself."""
    path = Path(source)
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def is_dicom(path: str | Path) -> bool:
    """Tell whether a file can be opened and has the mark of DICOM (PS3.10 section 7.1)."""
    try:
        with io.FileIO(str(path)) as file:
            return (file.read(132) or b"")[128:] == b"DICM"
    except OSError:
        return False


def read_dataset(path: str | Path, *, pixels: bool = True) -> Dataset:
    """Read one DICOM file with pydicom, without ``pixels`` up to its pixel data; the dataset knows its ``filename``.

    A DicomError if the file cannot be opened, lacks the preamble and ``DICM`` (PS3.10 section 7.1), is truncated, or
    asks for more work or memory than an image may.
    """
    try:
        with _opened(Path(path)) as file:
            dataset = dcmread(file, stop_before_pixels=not pixels)
        if isinstance(file.raw, _Inflated):
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        _check(dataset, Path(path).stat().st_size)
    except Exception as fault:  # pydicom raises whatever the damage leads to
        raise DicomError(f"{path} cannot be read as DICOM: {reason_of(fault)}") from fault
    dataset.filename = str(path)
    return dataset


def reason_of(fault: Exception) -> str:
    """Return what an error says, on one line and without the values that it quotes."""
    said = re.sub(r"(?<![A-Za-z])b?(['\"]).*\1(?![A-Za-z])", "…", str(fault), flags=re.DOTALL)
    return PLAINLY.get(type(fault)) or " ".join(said.split())[:300] or type(fault).__name__


def _check(dataset: Dataset, size: int) -> None:
    """Refuse a data set that is too large, or that the file ends in the midst of: pydicom takes what there is."""
    if not 0 < len(dataset) <= MOST_ELEMENTS:
        raise DicomError(
            f"expected 1 to {MOST_ELEMENTS} elements, found {len(dataset)}: empty, truncated, or no image."
        )
    if _work(dataset) > MOST_WORK + size // BYTES:
        raise DicomError("its sequences and lists hold more than those of an image of its size do.")


def _work(dataset: Dataset) -> int:
    """Estimate the work in a data set: 1 an element, 5 an item of a sequence, 1 a part of a long list."""
    work = 0
    for element in dataset.elements():
        if isinstance(element, RawDataElement):
            missing = 0 if element.length == UNDEFINED else element.length - len(element.value or b"")
            if missing > 0:
                raise DicomError(f"truncated, the value of {element.tag} lacks {missing} bytes of {element.length}.")
            work += 1 + _hidden_work(element)
        elif element.VR == "SQ":
            work += sum(5 + _work(item) for item in element.value)
        elif element.tag == CHARACTERS:
            work += DEAR * (element.VM - 1)
    return work


def _hidden_work(raw: RawDataElement) -> int:
    """Estimate the work in a value that pydicom takes apart when it is asked for."""
    data, implicit = raw.value or b"", raw.is_implicit_VR or raw.VR == "UN"
    vr = _dictionary(raw.tag) if implicit else str(raw.VR).encode()
    if vr != b"SQ":
        return data.count(b"\\") if vr in SHORT else 0
    work = at = 0
    try:
        while at < len(data) and raw.is_little_endian and work <= MOST_WORK + len(data) // 20:
            group, number, _ = IMPLICIT(data, at)
            if group == 0xFFFE:  # an item, or an end mark
                at, work = at + 8, work + 5 * (number == 0xE000)
                continue
            tag, vr, start, length = _element(data, at, implicit)
            opaque = vr == b"UN" and _dictionary(tag) == b"SQ"
            at = start if length == UNDEFINED or (vr or _dictionary(tag)) == b"SQ" else start + length
            parts = data.count(b"\\", start, at) if length > LONGEST or tag == CHARACTERS else 0
            work += 1 + (length // 8 if opaque else parts * (DEAR if tag == CHARACTERS else 1))
    except (_Unsure, error):
        pass
    return work + max(len(data) - at, 0) // 8  # what cannot be followed may be elements


class _Counted(io.BufferedReader):
    """A file that is read a bounded number of times, and is never asked for more than it has."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise DicomError("it holds more elements than an image does.")
        if size is not None and size > LARGE:  # room for a length that lies would be allocated first
            here = self.tell()
            size = min(size, self.seek(0, io.SEEK_END) - here)
            self.seek(here)
        return super().read(size)


class _Inflated(io.BytesIO):
    """A deflated file in memory, as if it had never been deflated."""

    name = ""


def _opened(path: Path) -> _Counted:
    """Open a file, inflate it where it is deflated."""
    with path.open("rb") as head:
        deflated = DeflatedExplicitVRLittleEndian.encode() in head.read(2048)
    return _Counted(_Inflated(_inflate(path.read_bytes())) if deflated else io.FileIO(str(path)))  # type: ignore[arg-type]


def _inflate(data: bytes) -> bytes:
    """Return a deflated file as it would be in explicit little endian (PS3.5 A.5), within bounds."""
    start = 144 + int.from_bytes(data[140:144], "little")  # past the file meta information, by its group length
    inflater, most = zlib.decompressobj(-zlib.MAX_WBITS), max(INFLATED, RATIO * len(data))
    body = inflater.decompress(data[start:], most)
    if inflater.unconsumed_tail or not inflater.eof:
        raise DicomError(f"its deflated data set is truncated, or larger than {most >> 20} MiB.")
    return data[:start].replace(b"1.2.1.99", b"1.2.1\0\0\0", 1) + body
