"""What is sent: datasets, files or folders become instances that know their identity and their bytes."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from ..errors import DicomError

Sendable: TypeAlias = "Dataset | str | Path | Iterable[Dataset | str | Path]"

_UID = re.compile(r"(?=.{1,64}\Z)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+\Z")  # PS3.5, 9.1
MOST_INFLATED = 512 * 2**20  # bytes that a deflated instance may become
_HEADER = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]


class Refusal(str):
    """Why an instance did not arrive, where to try again would change nothing."""


def is_uid(text: object) -> bool:
    """Whether ``text`` is a UID as PS3.5, clause 9.1 has it: digits and dots alone, so also safe as a file name."""
    return _UID.match(str(text)) is not None


@dataclass(frozen=True)
class Instance:
    """One composite instance on its way: identity, encoding, and the file or dataset that holds it."""

    uid: str
    sop_class: str
    syntax: str
    source: Path | Dataset
    study: str = ""

    def encoded(self) -> bytes:
        """Return the instance as a DICOM file (PS3.10), a file's own bytes unchanged."""
        if isinstance(self.source, Path):
            return self.source.read_bytes()
        buffer = BytesIO()
        dcmwrite(buffer, self.source, enforce_file_format=True)
        return buffer.getvalue()

    def dataset(self) -> Dataset:
        """Return the instance as a dataset."""
        return dcmread(self.source) if isinstance(self.source, Path) else self.source


def instances(what: Sendable) -> list[Instance]:
    """List the instances of ``what``, each SOP Instance UID once, in the order given.

    A folder is searched to its ground; what is no DICOM instance in it is passed over. A DicomError says that a file
    named by itself is no DICOM file, an instance lacks its UIDs or encoding, or nothing is left to send.
    """
    found = {one.uid: one for source in _sources(what) if (one := _identify(*source))}
    if not found:
        raise DicomError("There is nothing to send: expected datasets, DICOM files, or a folder that holds some.")
    return list(found.values())


def parse(data: bytes, **options: Any) -> Dataset:
    """Read a DICOM file that a stranger sent; a DicomError says that it is cut short, a bomb, or cannot be read.

    ``options`` are those of ``pydicom.dcmread``.
    """
    start = 144 + int.from_bytes(data[140:144], "little")  # where the file meta information ends (PS3.10, 7.1)
    if DeflatedExplicitVRLittleEndian.encode() in data[:start]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        with contextlib.suppress(zlib.error):
            inflater.decompress(data[start:], MOST_INFLATED)
        if inflater.unconsumed_tail:
            raise DicomError(f"A deflated instance would inflate to more than {MOST_INFLATED // 2**20} MB.")
    try:
        dataset = dcmread(BytesIO(data), **options)
        last = dataset.get_item(max(dataset.keys()))
    except Exception as error:  # whatever a stranger's bytes do to the parser
        raise DicomError(f"An instance cannot be understood ({type(error).__name__}).") from error
    if isinstance(last, RawDataElement) and last.length != 0xFFFFFFFF and len(last.value or b"") < last.length:
        raise DicomError(f"An instance is cut short in the middle of {last.tag}.")
    return dataset


def _sources(what: Any) -> Iterator[tuple[Path | Dataset, bool]]:
    """Yield each file or dataset, and whether it was named by itself (rather than met in a folder)."""
    if isinstance(what, Dataset):
        yield what, True
    elif isinstance(what, str | Path):
        path = Path(what).expanduser()
        if path.is_dir():
            yield from ((file, False) for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield path, True
    elif isinstance(what, Iterable):
        for one in what:
            yield from _sources(one)
    else:
        raise DicomError(f"Expected datasets or paths to send, got {type(what).__name__}.")


def _identify(source: Path | Dataset, named: bool) -> Instance | None:
    header: Dataset
    if isinstance(source, Path):
        try:
            header = dcmread(source, stop_before_pixels=True, specific_tags=_HEADER)
        except (InvalidDicomError, EOFError, IsADirectoryError):
            if named:
                raise DicomError(f"{source} is no DICOM file: expected 'DICM' after its first 128 bytes.") from None
            return None
        except OSError as error:
            raise DicomError(f"{source} cannot be read: {error.strerror}.") from error
    else:
        header = source
    meta = getattr(header, "file_meta", Dataset())
    if header.get("SOPClassUID", meta.get("MediaStorageSOPClassUID")) == MediaStorageDirectoryStorage:
        return None  # a DICOMDIR is a table of contents, not an instance
    values = [header.get("SOPInstanceUID"), header.get("SOPClassUID"), meta.get("TransferSyntaxUID")]
    if not all(is_uid(value) for value in values):
        names = "SOPInstanceUID (0008,0018), SOPClassUID (0008,0016) and TransferSyntaxUID (0002,0010)"
        place = str(source) if isinstance(source, Path) else "A dataset"
        raise DicomError(f"{place} cannot be sent: each of {names} must hold a UID.")
    uid, sop_class, syntax = map(str, values)
    return Instance(uid, sop_class, syntax, source, str(header.get("StudyInstanceUID", "")))
