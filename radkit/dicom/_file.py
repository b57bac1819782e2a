"""The one door to a DICOM file: bounded in work and memory, and every failure a ``DicomError`` that names the file."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from radkit.errors import DicomError

from .walker import walk_file

MOST_READS = 400_000  # two or three an element: some two seconds of pydicom's time
MOST_ITEMS = 50_000  # of sequences, which is an enhanced object of some 8,000 frames
MOST_ELEMENTS = 10_000  # of the top level; a scanner writes a few hundred
MOST_INFLATED = 256 << 20  # bytes
CHUNK = 4 << 20
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
    """Read one DICOM file with pydicom.

    Parameters
    ----------
    path
        The file, which needs no extension, but a preamble and ``DICM`` (PS3.10 section 7.1).
    pixels
        Whether to read the pixel data, and what follows it, too.

    Returns
    -------
    Dataset
        It knows its ``filename``.

    Raises
    ------
    DicomError
        If the file cannot be opened, is no DICOM, is truncated, or asks for more work or memory than an image may.
    """
    try:
        with _opened(Path(path)) as file:
            dataset = dcmread(file, stop_before_pixels=not pixels)
        if isinstance(file.raw, _Inflated):
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        _check(dataset)
    except Exception as error:  # pydicom raises whatever the damage leads to
        reason = PLAINLY.get(type(error)) or str(error) or type(error).__name__
        raise DicomError(f"{path} cannot be read as DICOM: {reason}") from error
    dataset.filename = str(path)
    return dataset


def _check(dataset: Dataset) -> None:
    """Refuse a data set that is too large, or that the file ends in the midst of: pydicom takes what there is."""
    if not 0 < len(dataset) <= MOST_ELEMENTS:
        raise DicomError(
            f"expected 1 to {MOST_ELEMENTS} elements, found {len(dataset)}: empty, truncated, or no image."
        )
    for element in dataset.elements():
        if isinstance(element, RawDataElement) and element.value is not None and element.length != 0xFFFFFFFF:
            missing = element.length - len(element.value)
            if missing > 0:
                raise DicomError(f"truncated, the value of {element.tag} lacks {missing} bytes of {element.length}.")


class _Counted(io.BufferedReader):
    """A file that is read a bounded number of times, and is never asked for more than it has."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise DicomError("it holds more elements than an image does.")
        if size is not None and size > CHUNK:  # room for a length that lies would be allocated first
            here = self.tell()
            size = min(size, self.seek(0, io.SEEK_END) - here)
            self.seek(here)
        return super().read(size)


class _Inflated(io.BytesIO):
    """A deflated file in memory, as if it had never been deflated."""

    name = ""


def _opened(path: Path) -> _Counted:
    """Open a file, inflate it where it is deflated, refuse it where it holds too many items."""
    with path.open("rb") as head:
        deflated = DeflatedExplicitVRLittleEndian.encode() in head.read(2048)
    opened = _Counted(_Inflated(_inflate(path.read_bytes())) if deflated else io.FileIO(str(path)))  # type: ignore[arg-type]
    header, items = opened.seek(0, io.SEEK_END), 0
    if header > 8 * MOST_ITEMS:
        if not deflated and (found := walk_file(path, ())) and found.pixels:
            header = found.pixels
        opened.seek(0)
        for start in range(0, header, CHUNK):
            chunk = opened.read(min(CHUNK, header - start))
            items += chunk.count(b"\xfe\xff\x00\xe0") + chunk.count(b"\xff\xfe\xe0\x00")  # either byte order
    if items > MOST_ITEMS:
        opened.close()
        raise DicomError(f"it holds {items} items in its sequences; radkit reads up to {MOST_ITEMS}.")
    opened.seek(0)
    return opened


def _inflate(data: bytes) -> bytes:
    """Return a deflated file as it would be in explicit little endian (PS3.5 A.5), within bounds."""
    start = 144 + int.from_bytes(data[140:144], "little")  # past the file meta information, by its group length
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(data[start:], MOST_INFLATED)
    if inflater.unconsumed_tail or not inflater.eof:
        raise DicomError(f"its deflated data set is truncated, or larger than {MOST_INFLATED >> 20} MiB.")
    return data[:start].replace(b"1.2.1.99", b"1.2.1\0\0\0", 1) + body
