"""De-identify a folder: every object cleaned, looked at and written anew under new UIDs; the input stays as it is."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.uid import UID, MediaStorageDirectoryStorage
from tqdm import tqdm

from radkit.errors import DataError, DicomError, MissingDependency

from ._file import files_in, is_dicom, read_dataset
from .burned_in import black_out, find_text, in_colour, warning_in
from .cleaning import Cleaner, Refused
from .decoding import PIXELS
from .mapping import Mapping
from .profile import chosen
from .table import Table, counted

EVERY = 10  # of a series whose headers do not warn of text one image in ten is looked at, and each if one shows text
SAID = {"X": "removed", "Z": "emptied, or a pseudonym", "D": "dummy value", "U": "new UID", "S": "date shifted"}
NO_PICTURES = ("Segmentation", "RT Dose", "Parametric Map", "Raw Data")
UNSEEN, KEPT = "not looked at, others of the series were", "kept, nobody looked"


@dataclass(frozen=True, repr=False)
class Report(Table):
    """What was done, by action and attribute: no patient's value, and no name of a file, is in its text.

    ``left_out`` says of each input file that was not written why: for you, as names of files may name patients.
    ``pixels`` counts what was done about burned-in text.
    """

    options: tuple[str, ...]
    written: int
    pixels: dict[str, int]
    left_out: dict[Path, str]
    columns = ("action", "attribute", "times")

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON."""
        report = {"options": self.options, "written": self.written, "pixels": self.pixels}
        report["left_out"] = Counter(self.left_out.values())
        report["attributes"] = [row for row in self.rows if not isinstance(row, str)]
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
        A file, a folder (to its depth) or a list of them. What is no DICOM is left out, and reported.
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
    target = _checked(Path(folder), sources)
    cleaner = Cleaner(Mapping(secret), names)
    unfinished = Path(tempfile.mkdtemp(prefix=".deid-", dir=target.parent))
    try:
        run = _Run(cleaner, burned_in, unfinished)
        run.over([file for one in sources for file in files_in(one)], progress)
        if target.exists():
            target.rmdir()
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return run.report()


def _checked(folder: Path, sources: list[Path]) -> Path:
    """Refuse a folder that holds something, or lies in the input."""
    target = folder.resolve()
    for source in (one.resolve() for one in sources):
        if not source.exists():
            raise DicomError(f"Expected a file or a folder at {source}: there is none.")
        if source in (target, *target.parents):
            raise DicomError(f"{folder} lies in the input: name a folder outside of it.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DicomError(f"{folder} is not empty: name a new folder, so that nothing old is taken for de-identified.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


class _Run:
    """One run over many files: what was done to each, and what was looked at in each series."""

    def __init__(self, cleaner: Cleaner, burned_in: str, folder: Path):
        self.cleaner, self.burned_in, self.folder = cleaner, burned_in, folder
        self.written: dict[Path, tuple[Path, Counter[tuple[str, str]]]] = {}  # by the input's path
        self.left_out: dict[Path, str] = {}
        self.pixels: Counter[str] = Counter()
        self.unseen: dict[str, list[Path]] = defaultdict(list)  # by series
        self.images: Counter[str] = Counter()
        self.suspect: set[str] = set()

    def over(self, files: list[Path], progress: bool) -> None:
        """Take each file, and once more the unseen ones of a series in which text turns up."""
        self.queue = deque(files)
        with tqdm(total=len(files), desc="De-identifying", unit="file", delay=2, leave=False, file=sys.stdout,
                  disable=not progress) as bar:  # fmt: skip
            while self.queue:
                path = self.queue.popleft()
                try:
                    self._one(path)
                except Refused as error:
                    self.left_out[path] = str(error)
                except (DataError, MissingDependency):  # no detector: nothing can be looked at
                    raise
                except Exception as error:  # whatever a malformed object leads to; its words may hold values
                    self.left_out[path] = f"it cannot be read and cleaned ({type(error).__name__})"
                bar.update()

    def _one(self, path: Path) -> None:
        """Read, look at, clean and write one object."""
        if not is_dicom(path):
            raise Refused("it is no DICOM file")
        dataset = read_dataset(path)
        _fill_in(dataset)
        if dataset.SOPClassUID == MediaStorageDirectoryStorage or not dataset.SOPClassUID or not dataset.SOPInstanceUID:
            raise Refused("it is a directory of files (DICOMDIR), or an object without SOP UIDs")
        if "Audio" in dataset.SOPClassUID.name or dataset.file_meta.TransferSyntaxUID.is_private:
            raise Refused("it holds a voice, or is coded in a private transfer syntax")
        looked = any(keyword in dataset for keyword in PIXELS) and self._look(path, dataset)
        done = self.cleaner.clean(dataset, pixels_cleaned=looked and self.burned_in == "mask")
        study, series, name = (str(dataset.get(f"{of}InstanceUID")) for of in ("Study", "Series", "SOP"))
        if not all(re.fullmatch(r"\d[0-9.]{0,63}", uid) for uid in (study, series, name, dataset.SOPClassUID)):
            raise Refused("one of its UIDs is none")
        file = self.folder / study / series / f"{name}.dcm"
        if file.exists():
            raise Refused("another file has the same SOPInstanceUID")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            dcmwrite(file, dataset, enforce_file_format=True)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        self.written[path] = file, done

    def _look(self, path: Path, dataset: Dataset) -> bool:
        """Look for text in the pixels, as far as asked for, and black it out or refuse; tell whether it was looked."""
        series, warning = str(dataset.SeriesInstanceUID), warning_in(dataset)
        declared, refuse = warning.startswith("BurnedIn"), self.burned_in == "refuse"
        if self.burned_in == "keep" or any(kind in dataset.SOPClassUID.name for kind in NO_PICTURES):
            self.pixels[KEPT if self.burned_in == "keep" else "no pictures"] += 1
            return False
        if refuse and declared:
            raise Refused(f"text in the pixels: {warning}")
        self.images[series] += 1
        if refuse and not warning and series not in self.suspect and self.images[series] % EVERY != 1:
            self.unseen[series].append(path)
            return False
        values = in_colour(dataset)
        boxes = find_text(values)
        self.pixels["looked at"] += 1
        if boxes and refuse:
            self._take_back(series)
            raise Refused("text in the pixels, found by looking")
        if declared and not boxes:
            raise Refused("its header says that text is burned in, and none was found to black out")
        if boxes:
            black_out(dataset, values, boxes)
            self.pixels["text blacked out"] += 1
        return True

    def _take_back(self, series: str) -> None:
        """Take back what was written of a series without a look, to look at it."""
        self.suspect.add(series)
        again = [path for path in self.unseen.pop(series, []) if path in self.written]
        for path in again:
            self.written.pop(path)[0].unlink()
        self.queue.extend(again)

    def report(self) -> Report:
        """Return what was done."""
        self.pixels[UNSEEN] = sum(map(len, self.unseen.values()))
        done = sum((done for _, done in self.written.values()), Counter[tuple[str, str]]())
        rows: list = [(SAID.get(act, "text cleaned"), name, str(times)) for (act, name), times in sorted(done.items())]
        reasons = Counter(self.left_out.values())
        rows += [f"{counted(times, 'file')} left out: {reason}" for reason, times in reasons.items()]
        rows += [f"{counted(times, 'image')}: {what}" for what, times in self.pixels.items() if times]
        title = f"{counted(len(self.written), 'object')} de-identified, {counted(len(self.left_out), 'file')} left out"
        options = tuple(sorted(self.cleaner.options))
        return Report(title, rows, options, len(self.written), dict(self.pixels), self.left_out)


def _fill_in(dataset: Dataset) -> None:
    """Give an object that somebody emptied the UIDs it needs: from the file meta information, or all the same."""
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not dataset.get(keyword):
            setattr(dataset, keyword, UID(dataset.file_meta.get(f"MediaStorage{keyword}", "")))
    for keyword, uid in (("StudyInstanceUID", "2.25.1"), ("SeriesInstanceUID", "2.25.2")):
        if not dataset.get(keyword):
            setattr(dataset, keyword, uid)
