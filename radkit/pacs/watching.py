"""Watch an archive: run something on each study that has become stable and store what it makes, once and only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.misc import is_dicom

from ..dicom.table import Table, clean, counted
from ..errors import ArchiveError, ArchiveUnavailable, InputRefused, RadkitError
from .archive import Archive
from .instances import instances
from .matching import matches

ENDED = ("stored", "refused", "parked")
SWEEP_S = 300.0  # how often all studies are looked through where the archive also tells which have changed
# What is made from images starts nothing unless a rule names its modality: else two watchers answer each other.
DERIVED = ("AU", "DOC", "HD", "KO", "M3D", "PR", "REG", "RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SEG", "SR")


class Study(NamedTuple):
    """A line of the journal. ``state`` is seen, running, failed (and tried again), stored, refused or parked."""

    uid: str
    state: str = "seen"
    attempts: int = 0
    seconds: float = 0.0  # that the last attempt took
    results: int = 0
    why: str = ""
    images: str = ""  # a digest of the SOP Instance UIDs that it was, or will be, run on
    due: float = 0.0  # when to try, as time.time() has it
    made: int = 0  # 1 as soon as the results lie in the journal's folder: from then on they are sent, not made again
    ours: str = "[]"  # the SOP Instance UIDs of what we made for it


class Studies(Table):
    """What a watcher has seen."""

    columns = ("study", "state", "attempts", "seconds", "results")


@dataclass(repr=False, eq=False)
class Watcher:
    """Run ``run(input_folder, output_folder)`` on each newly stable study and store the results: a context manager.

    A study runs once for each set of images that fit the rule, which are what ``input_folder`` holds: again when images
    are added, but not for results, ours (known by SOP Instance UID) or others'. The journal outlives the process:
    whenever that is killed, the next watcher goes on, and nothing is stored twice.

    Parameters
    ----------
    archive
        What to watch, and where the DICOM files in ``output_folder`` go.
    run
        Such as ``lambda i, o: rk.deploy.run_map(map_folder, i, o, progress=False)``; it is called in threads.
    journal
        A folder, for the journal and the studies in flight. The journal names no patient: UIDs alone.
    where
        Which series: for each DICOM keyword a value, a pattern (``*``, ``?``) or a list of these. Without a rule, every
        series of images.
    workers, poll_s
        How many studies are in flight at once; seconds between two looks at the archive.
    retries, backoff_s
        How often a study that failed is tried again: after so many seconds, then twice as many, and so on. Then it is
        parked, until ``watcher.retry(study)``. One that the application refuses is not tried again.
    progress
        Called with each `Study` that changes; while the archive does not answer, with one that is "waiting", and why.
    """

    archive: Archive
    run: Callable[[Path, Path], object]
    _: KW_ONLY
    journal: str | Path
    where: Mapping[str, Any] | None = None
    workers: int = 4
    retries: int = 3
    backoff_s: float = 10.0
    poll_s: float = 1.0
    progress: Callable[[Study], object] = lambda study: None

    def __post_init__(self) -> None:
        self._folder, self._trouble = Path(self.journal).expanduser().absolute(), ""
        self._rule = self.where or {}
        self._keys = dict.fromkeys(self._rule, "")
        self._loop: threading.Thread | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sql(f"CREATE TABLE IF NOT EXISTS study (uid PRIMARY KEY, {', '.join(Study._fields[1:])})")
        except (OSError, sqlite3.Error) as error:
            raise ArchiveError(f"{self._folder} cannot hold a journal ({error}): name another folder.") from error

    def start(self) -> Watcher:
        """Begin, in threads of this process, with what an earlier watcher left undone.

        Raises
        ------
        ArchiveError
            If there is no answer, the rule names no DICOM keyword, or another watcher works on this journal.
        """
        if self._loop is None:
            self.archive.find("series", SeriesInstanceUID="0", **self._keys)
            self._lock = sqlite3.connect(self._folder / "in-use", timeout=0, check_same_thread=False)
            try:
                self._lock.execute("BEGIN EXCLUSIVE")  # the system ends it with the process, however that ends
            except sqlite3.OperationalError as error:
                self._lock.close()
                raise ArchiveError(f"Another watcher works on {self._folder}: name another journal.") from error
            self._ours = {uid for study in self.studies for uid in json.loads(study.ours)}
            for study in self._read("state = 'stored'"):  # killed before it had cleared up after one
                shutil.rmtree(self._folder / study.uid, ignore_errors=True)
            self._pending, self._held, self._flying = set[str](), dict[str, int](), dict[str, threading.Thread]()
            self._wake, self._stopping, self._sweep_at = threading.Event(), False, 0.0
            self._loop = threading.Thread(target=self._watch, daemon=True)
            self._loop.start()
        return self

    def stop(self) -> None:
        """Take no further study, wait for those in flight, and let go of the journal."""
        if self._loop is not None:
            self._stopping = True
            self._wake.set()
            self._loop.join()  # before the others are counted, which it might add to
            for thread in list(self._flying.values()):
                thread.join()
            self._lock.close()
            self._loop = None

    def serve(self) -> None:
        """Watch until SIGINT or SIGTERM, and end what is in flight; a second one leaves that to the next watcher."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt), self:
            while True:
                time.sleep(0.5)

    studies = property(lambda self: self._read("1"), doc="What the journal holds, by when each was last due.")

    def wait(self, studies: int, *, timeout: float = 600.0) -> None:
        """Wait until so many ``studies`` are stored, refused or parked; ArchiveError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while sum(one.state in ENDED for one in self.studies) < studies:
            if time.monotonic() > deadline:
                raise ArchiveError(f"After {timeout:g} s not yet {counted(studies, 'study', 'studies')}:\n{self}")
            time.sleep(0.1)

    def retry(self, study: str) -> None:
        """Try a study again that is parked, refused or failed; results that are already made are only sent."""
        if not (found := self._read("uid = ? AND state IN ('parked', 'refused', 'failed')", study)):
            raise ArchiveError(f"Expected a study that is parked, refused or failed; {clean(study, 64)} is none.")
        self._set(found[0], state="seen", attempts=0, due=time.time(), why="")

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Studies:
        found, rows = self.studies, list[list[str] | str]()
        for one in found:
            rows.append([one.uid, one.state, str(one.attempts), f"{one.seconds:.1f}", str(one.results)])
            rows += [one.why] if one.why else []
        tally = [f"{count} {state}" for state, count in Counter(one.state for one in found).items()]
        return Studies("; ".join([counted(len(found), "study", "studies"), *tally, self._trouble]).strip("; "), rows)

    def _sql(self, order: str, *values: object) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self._folder / "journal.sqlite", timeout=60)) as base, base:
            return base.execute(order, values).fetchall()

    def _read(self, which: str, *values: object) -> list[Study]:
        return [Study(*row) for row in self._sql(f"SELECT * FROM study WHERE {which} ORDER BY due", *values)]

    def _set(self, study: Study, **changes: Any) -> Study:
        study = study._replace(**changes)
        self._sql(f"REPLACE INTO study VALUES ({', '.join('?' * len(study))})", *study)
        self.progress(study)
        return study

    def _watch(self) -> None:
        """Look for work and hand it out, until told to stop."""
        while not self._stopping:
            try:
                self._look()
                self._launch()
                self._trouble = ""
            except Exception as error:  # whatever a mad archive answers, the thread goes on
                self._sweep_at, self._trouble = 0.0, f"waiting: {_why(error)}"  # what is missed meanwhile is swept up
                with contextlib.suppress(Exception):
                    self.progress(Study("-", "waiting", why=_why(error)))
            self._wake.wait(self.poll_s)
            self._wake.clear()

    def _look(self) -> None:
        """Enter the studies that have changed and are stable."""
        orthanc: Any = self.archive if self.archive.kind == "orthanc" else None
        if time.monotonic() >= self._sweep_at:
            self._since = orthanc and orthanc._rest("GET", "/changes?last")["Last"]
            for one in self.archive.find("study", NumberOfStudyRelatedInstances=""):
                if self._held.get(one.StudyInstanceUID, -1) != one.get("NumberOfStudyRelatedInstances"):
                    self._pending.add(str(one.StudyInstanceUID))
            self._sweep_at = time.monotonic() + (SWEEP_S if orthanc else 0)
        if orthanc:
            news = orthanc._rest("GET", f"/changes?since={self._since}&limit=1000")
            paths = {one["Path"] for one in news["Changes"] if one["ChangeType"] == "StableStudy"}
            answers = [answer for path in paths if (answer := orthanc._request("GET", path)).ok]
            self._pending |= {one.json()["MainDicomTags"]["StudyInstanceUID"] for one in answers}
            self._since = news["Last"]
        for study in self._pending.difference(list(self._flying)):
            count, stable = self.archive._state(study)
            if stable or not count:
                self._enter(study)
                self._pending.discard(study)
                self._held[study] = count
                self._launch()

    def _enter(self, uid: str) -> None:
        """Enter a stable study, unless the journal knows it with just these images."""
        known = (self._read("uid = ?", uid) or [Study(uid)])[0]
        fresh = Study(uid, due=time.time(), ours=known.ours)
        try:
            if (images := _digest(self._images(uid))) not in ("", known.images):
                self._set(fresh, images=images)
        except (ArchiveUnavailable, OSError, sqlite3.Error):
            raise
        except Exception as error:  # of an instance that the rule has to be asked of, or it may pass
            self._failed(fresh._replace(attempts=1), error, 0.0)

    def _images(self, study: str) -> dict[str, str]:
        """Return the instances that fit the rule and are not our own, each with its series."""
        found: dict[str, str] = {}
        for one in self.archive.find("series", **{"Modality": "", **self._keys, "StudyInstanceUID": study}):
            series = str(one.SeriesInstanceUID)
            uids = set(self.archive._locate({"StudyInstanceUID": study, "SeriesInstanceUID": series})) - self._ours
            if uids and self._fits(one, study=study, series=series, instance=min(uids)):
                found |= dict.fromkeys(uids, series)
        return found

    def _fits(self, header: Dataset, **instance: Any) -> bool:
        """Whether a series fits the rule: by the answer to a query or, where that does not say all, by an instance."""
        if header.get("Modality") in DERIVED and "Modality" not in self._keys:
            return False
        if not all(header.get(key) for key in self._rule):
            header = self.archive.fetch(**instance, progress=False)[0]
        return all(_agrees(header, *pair) for pair in self._rule.items())

    def _launch(self) -> None:
        for study in self._read(f"state NOT IN {ENDED} AND due <= ?", time.time()):
            if study.uid not in self._flying and len(self._flying) < self.workers:
                self._flying[study.uid] = threading.Thread(target=self._fly, args=(study,), daemon=True)
                self._flying[study.uid].start()

    def _fly(self, study: Study) -> None:
        folder, start = self._folder / study.uid, time.monotonic()
        try:
            study = self._set(study, state="running", attempts=study.attempts + 1)
            try:
                if not (study.made and (folder / "output").is_dir()):
                    study = self._make(study, folder)
                if files := _results(folder):
                    self.archive.send(files, progress=False)
                self._set(study, state="stored", why="", seconds=time.monotonic() - start)
                shutil.rmtree(folder, ignore_errors=True)
            except BaseException as error:  # also of a run that would exit: a thread has nobody to tell
                self._failed(self._read("uid = ?", study.uid)[0], error, time.monotonic() - start)
            self._wake.set()
        finally:
            del self._flying[study.uid]

    def _make(self, study: Study, folder: Path) -> Study:
        """Fetch the images, run, and enter the results as ours before any of them is stored."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "output").mkdir(parents=True)
        what: dict[str, Any] = {"study": study.uid, "folder": folder / "input", "progress": False}
        series = set(self._images(study.uid).values())
        if not (inputs := {path.stem for one in series for path in self.archive.fetch(series=one, **what)}):
            raise ArchiveError("No image of the study fits the rule any more.")
        self.run(folder / "input", folder / "output")
        shutil.rmtree(folder / "input")
        made = {one.uid for one in instances(files)} - inputs if (files := _results(folder)) else set()
        for path in files:  # the journal is about to say that they are there
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        images, ours = _digest(inputs - self._ours), json.dumps(sorted({*json.loads(study.ours), *made}))
        self._ours |= made
        return self._set(study, images=images, results=len(made), made=1, ours=ours)

    def _failed(self, study: Study, error: BaseException, seconds: float) -> None:
        """Enter what went wrong, and whether and when to try again."""
        why, state, wait = _why(error), "failed", self.backoff_s * 2 ** (study.attempts - 1)
        if isinstance(error, ArchiveError) and not self.archive.echo():  # which is not the study's fault
            study, wait = study._replace(attempts=study.attempts - 1), self.backoff_s
        elif isinstance(error, InputRefused):
            state = "refused"
        elif study.attempts > self.retries:
            state = "parked"
        for name in ("input",) if study.made else ("input", "output"):
            shutil.rmtree(self._folder / study.uid / name, ignore_errors=True)
        self._set(study, state=state, why=why, seconds=seconds, due=time.time() + wait)


watch = Watcher  # which reads as what it does


def _digest(uids: Iterable[str]) -> str:
    names = " ".join(sorted(uids))
    return hashlib.sha256(names.encode()).hexdigest()[:32] if names else ""


def _results(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "output").rglob("*")) if path.is_file() and is_dicom(path)]


def _agrees(header: Dataset, keyword: str, wanted: Any) -> bool:
    choices = wanted if isinstance(wanted, list | tuple | set) else [wanted]
    vr = dictionary_VR(keyword)
    return any(matches(DataElement(keyword, vr, str(one), validation_mode=IGNORE), header) for one in choices)


def _why(error: BaseException) -> str:
    """Name an error in one line. The words of any but our own may name a patient: of those, the kind and the place."""
    if isinstance(error, RadkitError):
        return clean(str(error).partition("\n")[0], 300)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
