"""De-identify a folder: every object cleaned, looked at and written anew under new UIDs; the input stays as it is."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.uid import UID
from tqdm import tqdm

from radkit.errors import DicomError, SourceUnreachable

from ._file import files_in, is_dicom, read_dataset
from .burned_in import black_out, find_text, warning_in
from .cleaning import Cleaner, Refused
from .mapping import Mapping
from .profile import chosen
from .table import Table

PIXEL_KEYS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
EVERY = 10  # of a series whose headers do not warn of text, one image in ten is looked at, and all if it shows text
WORDS = {
    "X": "removed",
    "Z": "emptied, or a pseudonym",
    "D": "dummy value",
    "U": "new UID",
    "S": "date shifted",
    "C": "text cleaned",
}
NO_PICTURES = ("Segmentation", "RT Dose", "Parametric Map", "Raw Data")


@dataclass(frozen=True, repr=False)
class Report(Table):
    """What was done, by action and attribute; no value of a patient is in it, and no name of a file in its text.

    ``left_out`` says of each input file that was not written why: for you, as names of files may name patients.
    ``pixels`` counts what was done about burned-in text.
    """

    folder: Path
    options: tuple[str, ...]
    written: int
    pixels: dict[str, int]
    left_out: dict[Path, str]
    columns = ("action", "attribute", "times")

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON."""
        counts = {"written": self.written, "left_out": Counter(self.left_out.values()), "pixels": self.pixels}
        report = {
            "options": self.options,
            **counts,
            "attributes": [dict(zip(self.columns, row, strict=True)) for row in self.rows if not isinstance(row, str)],
        }
        Path(path).write_text(json.dumps(report, indent=1), encoding="utf-8")
        return Path(path)


def deidentify(
    source: str | Path | Iterable[str | Path],
    folder: str | Path,
    *,
    options: str | Iterable[str] = (),
    secret: str | bytes | None = None,
    burned_in: str = "refuse",
    progress: bool = True,
) -> Report:
    """Write de-identified copies of DICOM objects: the Basic Profile of PS3.15 annex E with its options.

    Parameters
    ----------
    source
        A file, a folder (to its depth) or a list of files. What is no DICOM is left out, and reported.
    folder
        A new or empty folder; it is there only when all is done: study/series/object, by new UIDs.
    options
        Names of the standard: "retain-uids", "modified-dates" (short for
        "retain-longitudinal-temporal-information-with-modified-dates"), "retain-patient-characteristics",
        "retain-device-identity", "retain-institution-identity", "retain-safe-private", "clean-descriptors",
        "clean-structured-content", "clean-pixel-data".
    secret
        The same secret maps UIDs, patients and dates alike in every run. Without one the mapping is random, the same
        for all objects of this run, and gone afterwards.
    burned_in
        "refuse": an object with text in its pixels is left out. "mask": the text is blacked out, which is the option
        "clean-pixel-data". "keep": nobody looks, and the report says so.
    progress
        Show a bar if it takes longer than two seconds.

    Returns
    -------
    Report
        What was done to which attribute, and what was left out.

    Raises
    ------
    DicomError
        If an option is unknown, or the folder is not empty or inside the source.
    SourceUnreachable
        If the text detector is needed and cannot be had.
    """
    names = chosen(options)
    if burned_in not in ("refuse", "mask", "keep"):
        raise DicomError(f'Expected burned_in to be "refuse", "mask" or "keep", found {burned_in!r}.')
    if "clean-pixel-data" in names or burned_in == "mask":
        names, burned_in = names | {"clean-pixel-data"}, "mask"
    sources = [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]
    target = _checked_folder(sources, Path(folder))
    files = [file for one in sources for file in files_in(one)]
    unfinished = Path(tempfile.mkdtemp(prefix=".deid-", dir=target.parent))
    try:
        run = _Run(Cleaner(Mapping(secret), names), burned_in, unfinished)
        run.over(files, progress)
        if target.exists():
            target.rmdir()
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return run.report(target, names)


def _checked_folder(sources: list[Path], folder: Path) -> Path:
    """Refuse a folder that holds something, or lies in the input or around it."""
    target = folder.resolve()
    for source in (one.resolve() for one in sources):
        if not source.exists():
            raise DicomError(f"Expected a file or a folder at {source}: there is none.")
        if target == source or (source.is_dir() and source in target.parents):
            raise DicomError(f"{folder} lies in the input: name a folder outside of it.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DicomError(f"{folder} is not empty: name a new folder, so that nothing old is taken for de-identified.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


@dataclass
class _Run:
    """One run over many files: what is done, and what was looked at in each series."""

    cleaner: Cleaner
    burned_in: str
    folder: Path
    pixels: Counter[str] = field(default_factory=Counter)
    left_out: dict[Path, str] = field(default_factory=dict)
    written: dict[Path, Path] = field(default_factory=dict)  # by the input's path
    unseen: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))  # by series
    images: Counter[str] = field(default_factory=Counter)
    suspect: set[str] = field(default_factory=set)
    queue: deque[Path] = field(default_factory=deque)

    def over(self, files: list[Path], progress: bool) -> None:
        """Take each file, and once more the unseen ones of a series in which text turns up."""
        self.queue.extend(files)
        with tqdm(total=len(files), desc="De-identifying", unit="file", delay=2, leave=False, file=sys.stdout,
                  disable=not progress) as bar:  # fmt: skip
            while self.queue:
                path = self.queue.popleft()
                try:
                    self._one(path)
                except Refused as error:
                    self.left_out[path] = str(error)
                except SourceUnreachable:
                    raise
                except Exception as error:  # whatever a malformed object leads to: it stays out
                    self.left_out[path] = f"it cannot be read and cleaned ({type(error).__name__})"
                bar.update()

    def _one(self, path: Path) -> None:
        """Read, look at, clean and write one object."""
        if not is_dicom(path):
            raise Refused("it is no DICOM file")
        dataset = read_dataset(path)
        _fill_in(dataset)
        uids = [str(dataset.get(keyword, "")) for keyword in ("SOPClassUID", "SOPInstanceUID")]
        if not all(re.fullmatch("[0-9.]{1,64}", uid) for uid in uids) or uids[0] == "1.2.840.10008.1.3.10":
            raise Refused("it is no object of a patient, or a directory of files (DICOMDIR)")
        if "Audio" in UID(uids[0]).name or dataset.file_meta.TransferSyntaxUID.is_private:
            raise Refused("it holds a voice, or is coded in a private transfer syntax")
        looked = PIXEL_KEYS & dataset.keys() and self._look(path, dataset)
        self.cleaner.clean(dataset, pixels_cleaned=self.burned_in == "mask" and bool(looked))
        place = [
            str(dataset.get(keyword, "")) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ]
        if not all(re.fullmatch("[0-9.]{1,64}", uid) and uid.strip(".") for uid in place):
            raise Refused("its study, series or instance has no valid UID")
        file = self.folder.joinpath(*place[:2], place[2] + ".dcm")
        if file.exists():
            raise Refused("another file has the same SOPInstanceUID")
        file.parent.mkdir(parents=True, exist_ok=True)
        dcmwrite(file, dataset, enforce_file_format=True)
        self.written[path] = file

    def _look(self, path: Path, dataset: Dataset) -> bool:
        """Look for text in the pixels, as far as asked for; black it out, or refuse. Tell whether it was looked."""
        series, warning = str(dataset.get("SeriesInstanceUID", "")), warning_in(dataset)
        if self.burned_in == "keep" or any(kind in dataset.SOPClassUID.name for kind in NO_PICTURES):
            self.pixels["kept, nobody looked" if self.burned_in == "keep" else "no pictures"] += 1
            return False
        if self.burned_in == "refuse" and warning.startswith("BurnedIn"):
            raise Refused(f"text in the pixels: {warning}")
        self.images[series] += 1
        if (
            not warning
            and series not in self.suspect
            and self.images[series] % EVERY != 1
            and self.burned_in == "refuse"
        ):
            self.unseen[series].append(path)
            return False
        boxes = find_text(dataset)
        self.pixels["looked at"] += 1
        if boxes and self.burned_in == "mask":
            black_out(dataset, boxes)
            self.pixels["blacked out"] += 1
        elif boxes:
            self._again(series)
            raise Refused("text in the pixels, found by looking")
        return True

    def _again(self, series: str) -> None:
        """Take back what was written of a series without a look."""
        self.suspect.add(series)
        for path in self.unseen.pop(series, []):
            if path in self.written:
                self.written.pop(path).unlink()
                self.queue.append(path)

    def report(self, folder: Path, options: frozenset[str]) -> Report:
        """Return what was done."""
        self.pixels["not looked at, others of the series were"] = sum(map(len, self.unseen.values()))
        counted = sorted(self.cleaner.done.items())
        rows: list = [(WORDS[action], name, str(times)) for (action, name), times in counted]
        reasons = Counter(self.left_out.values()).items()
        rows += [f"{number} files left out: {reason}" for reason, number in reasons]
        rows += [f"{number} images: {what}" for what, number in self.pixels.items() if number]
        title = f"{len(self.written)} objects de-identified, {len(self.left_out)} files left out"
        return Report(title, rows, folder, tuple(sorted(options)), len(self.written), dict(self.pixels), self.left_out)


def _fill_in(dataset: Dataset) -> None:
    """Give an object that somebody emptied the UIDs it needs: from the file meta information, or all the same."""
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not dataset.get(keyword):
            setattr(dataset, keyword, dataset.file_meta.get(f"MediaStorage{keyword}", ""))
    for keyword, uid in (("StudyInstanceUID", "2.25.1"), ("SeriesInstanceUID", "2.25.2")):
        if not dataset.get(keyword):
            setattr(dataset, keyword, uid)
