"""What lies in a folder: patients, studies, series, and what is wrong with each. Only headers are read."""

from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID
from tqdm import tqdm

from ..errors import DicomError
from ._file import is_dicom
from .problems import Header, problems_of
from .recall import recall, remember
from .table import Table, counted
from .tags import read_readable
from .walker import PIXELS, Found, walk_file

KEYWORDS = """SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyDate Modality SeriesDescription PatientName
PatientID StudyInstanceUID SeriesInstanceUID ImagePositionPatient ImageOrientationPatient Rows Columns PixelSpacing"""
TAGS = {keyword: int(Tag(keyword)) for keyword in KEYWORDS.split()}
DIRECTORY = 0x00041200  # the offset of its first record: only a DICOMDIR has it
WANTED = frozenset((*TAGS.values(), DIRECTORY))
LONGEST = 1024  # bytes of a value; the standard allows less
THREADS, BATCH = 4, 32  # where the files are in memory as fast as one thread, on slow storage several times faster


@dataclass(frozen=True)
class Series:
    """One series: ``read_series(series.files)`` reads it. ``size`` is in bytes, ``problems`` are sentences."""

    patient_id: str
    patient_name: str
    study_uid: str
    study_date: str
    series_uid: str
    modality: str
    description: str
    files: list[Path]
    instances: int
    size: int
    transfer_syntaxes: list[str]
    problems: list[str]


@dataclass(frozen=True, repr=False)
class Scan(Table):
    """What lies in a folder, as a table; its parts as lists: ``series``, ``other_files`` (no DICOM, or a DICOMDIR).

    ``patients`` holds each ``PatientID`` once, ``studies`` each ``StudyInstanceUID``, ``unreadable`` the files that
    cannot be opened or are damaged, with the reason.
    """

    series: list[Series]
    other_files: list[Path]
    unreadable: dict[Path, str]
    patients: list[str]
    studies: list[str]
    columns = ("patient", "study", "modality", "series", "files", "size", "transfer syntax")

    def with_problems(self) -> Scan:
        """Return the scan with only those series that have problems."""
        return _as_table([series for series in self.series if series.problems], self.other_files, self.unreadable)


def scan(path: str | Path, *, progress: bool = True) -> Scan:
    """Find the series in a folder, whatever else lies there, and say what is wrong with each.

    Names and extensions play no part; links to folders are not followed. Headers are kept in radkit's cache, readable
    for you alone, so that the next scan reads only files whose size or time has changed.

    Parameters
    ----------
    path
        A folder, searched to its depth, or a file.
    progress
        Show a progress bar if it takes more than two seconds.

    Raises
    ------
    DicomError
        If there is nothing at ``path``.
    """
    root = Path(path)
    if not root.exists():
        raise DicomError(f"Expected a folder with DICOM files, found nothing at {root}. Is the path right?")
    states, faults = _states(root)
    groups: dict[tuple[str, ...], dict[str, Header]] = {}
    others, unreadable = [], {}
    for name, header in sorted((_headers(root, states, progress) | faults).items()):
        if "Rows" in header:  # where there is no UID, a folder is taken for a series
            uid = header["SeriesInstanceUID"] or str(Path(name).parent)
            groups.setdefault((header["PatientID"], header["StudyInstanceUID"], uid), {})[name] = header
        elif "Fault" in header:
            unreadable[Path(name)] = header["Fault"]
        else:
            others.append(Path(name))
    series = sorted(map(_series, groups.values()), key=lambda one: (one.patient_id, one.study_date, one.study_uid))
    return _as_table(series, others, unreadable)


def _headers(root: Path, states: dict[str, str], progress: bool) -> dict[str, Header]:
    """Return the header of every file, read or recalled."""
    known = recall(root)
    found = {name: known[name] for name, state in states.items() if name in known and known[name]["Key"] == state}
    new = [(name, state) for name, state in states.items() if name not in found]
    bar = tqdm(total=len(new), desc="Scanning", delay=2, leave=False, file=sys.stdout, disable=not progress)
    with bar, ThreadPoolExecutor(THREADS) as pool:
        for headers in pool.map(_read_all, [new[start : start + BATCH] for start in range(0, len(new), BATCH)]):
            found |= headers
            bar.update(len(headers))
    if found != known:
        remember(root, found)
    return found


def _states(root: Path) -> tuple[dict[str, str], dict[str, Header]]:
    """Return size and time of every file, and the fault of what cannot be looked at; strings, since paths are slow."""
    found: dict[str, str] = {}
    faults: dict[str, Header] = {}
    walk = os.walk(root, onerror=lambda error: faults.update({str(error.filename): {"Fault": str(error.strerror)}}))
    names = [f"{top}{os.sep}{name}" for top, _, names in walk for name in names] if root.is_dir() else [str(root)]
    for name in names:
        try:
            state = os.stat(name)  # noqa: PTH116
        except OSError as error:
            faults[name] = {"Fault": str(error.strerror)}
            continue
        if stat.S_ISREG(state.st_mode):  # to open a pipe would be to wait for ever
            found[name] = f"{state.st_size} {state.st_mtime_ns}"
    return found, faults


def _read_all(files: list[tuple[str, str]]) -> dict[str, Header]:
    return {name: {**_read(name, int(key.split()[0])), "Key": key} for name, key in files}


def _read(name: str, size: int) -> Header:
    """Return the header of a file; only its fault if it cannot be read; nothing if it is no DICOM."""
    try:
        found = walk_file(name, WANTED)
        if found and (found.length is not None or found.pixels is None or _is_closed(name)):
            header, has_pixels, is_directory = _plain(found), found.pixels is not None, DIRECTORY in found.values
            lacking = (found.pixels or 0) + (found.length or 0) - size
            fault = f"truncated file: {lacking:,} bytes of pixel data are missing" if lacking > 0 else ""
        elif is_dicom(name):
            dataset, damage = read_readable(name)
            header = {keyword: _text(dataset, keyword) for keyword in TAGS}
            header["TransferSyntaxUID"] = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            has_pixels, is_directory = any(tag in dataset for tag in PIXELS), DIRECTORY in dataset
            fault = f"damaged file: {damage.removeprefix(name)}" if damage else ""
        else:
            return {}
    except (OSError, DicomError) as error:
        return {"Fault": getattr(error, "strerror", None) or str(error).removeprefix(name).strip()}
    if is_directory:
        return {}
    if not (has_pixels or fault) and (header["Rows"] or "Image Storage" in UID(header["SOPClassUID"]).name):
        fault = "no pixel data"
    return {**header, "Fault": fault}


def _is_closed(name: str) -> bool:
    """Tell whether a file ends with the end mark of encapsulated pixel data."""
    with Path(name).open("rb", buffering=0) as file:
        file.seek(-8, os.SEEK_END)
        return file.read() == b"\xfe\xff\xdd\xe0\0\0\0\0"


def _plain(found: Found) -> Header:
    """Return what the walker has found, as text."""
    header = {"TransferSyntaxUID": found.syntax}
    for keyword, tag in TAGS.items():
        value = found.values.get(tag, b"")[:LONGEST]
        if keyword in ("Rows", "Columns"):
            header[keyword] = str(int.from_bytes(value, "little") or "")
        else:
            header[keyword] = _decoded(value, header.get("SpecificCharacterSet", "")).strip("\0 ")
    return header


def _decoded(value: bytes, characters: str) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    try:
        return decode_bytes(value, convert_encodings(characters.split("\\")), {0x3D, 0x5C, 0x5E})
    except (LookupError, ValueError):  # there is no such character set
        return value.decode("latin1")


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a value as text."""
    try:
        value = dataset.get(keyword)
        values = value[:100] if isinstance(value, MultiValue) else ["" if value is None else value]
        return "\\".join(map(str, values))[:LONGEST]
    except Exception:  # pydicom's converters raise whatever a wrong VR leads to
        return "?"


def _series(headers: dict[str, Header]) -> Series:
    """Put the headers of one series together."""
    first = next(iter(headers.values()))
    return Series(
        patient_id=first["PatientID"],
        patient_name=first["PatientName"],
        study_uid=first["StudyInstanceUID"],
        study_date=first["StudyDate"],
        series_uid=first["SeriesInstanceUID"],
        modality=first["Modality"],
        description=first["SeriesDescription"],
        files=[Path(name) for name in headers],
        instances=len(headers),
        size=sum(int(header["Key"].split()[0]) for header in headers.values()),
        transfer_syntaxes=sorted({UID(header["TransferSyntaxUID"]).name or "not given" for header in headers.values()}),
        problems=problems_of(list(headers.values())),
    )


def _as_table(series: list[Series], others: list[Path], unreadable: dict[Path, str]) -> Scan:
    """Put the findings into rows: one a series, its problems below it."""
    rows: list[tuple[str, ...] | str] = []
    for one in series:
        patient, size = f"{one.patient_id} {one.patient_name}".strip() or "(no ID)", tqdm.format_sizeof(one.size, "B")
        what = (one.modality, one.description, f"{one.instances:,}", size, ", ".join(one.transfer_syntaxes))
        rows += [(patient, one.study_date, *what), *one.problems]
    if unreadable:
        rows += [("", "", "", "(unreadable)", f"{len(unreadable):,}", "", "")]
        rows += [f"{path}: {reason}" for path, reason in unreadable.items()]
    patients, studies = ({getattr(one, name): 0 for one in series} for name in ("patient_id", "study_uid"))
    counts = (("patient", "patients", patients), ("study", "studies", studies), ("series", "series", series))
    title = ", ".join(counted(len(found), one, many) for one, many, found in counts)
    title += f"; {counted(len(others), 'other file')}" * bool(others)
    return Scan(title, rows, series, others, unreadable, list(patients), list(studies))
