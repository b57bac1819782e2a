"""One interface to an archive, whichever stands behind it: send, find, fetch, wait until stable, forward."""

from __future__ import annotations

import contextlib
import difflib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_dict
from tqdm import tqdm

from ..errors import ArchiveError, TransferError
from .instances import Instance, Sendable, instances, is_uid

CALLER = "RADKIT"  # the AE title that we call an archive with
AE_TITLE = "RADKIT-ARCHIVE"

Level: TypeAlias = Literal["study", "series", "instance"]
Keep: TypeAlias = "Callable[[str, bytes], None]"


class Archive(ABC):
    """An archive that holds studies. Made by :func:`radkit.pacs.open_archive`; a context manager, closed at its end.

    Attributes
    ----------
    kind : str
        ``"orthanc"`` or ``"embedded"``.
    speaks : tuple of str
        ``("DICOMweb", "DIMSE")``, or ``("DIMSE",)`` for the embedded archive.
    url : str or None
        Where Orthanc's REST interface is; DICOMweb is at ``url + "/dicom-web"``.
    host, dicom_port, ae_title
        Where the archive takes DICOM associations, and the AE title that it goes by.
    dicomweb : dicomweb_client.DICOMwebClient or None
        The real client, ready to use.
    """

    kind: str
    speaks: tuple[str, ...] = ("DIMSE",)
    url: str | None = None
    host: str = "127.0.0.1"
    ae_title: str
    dicom_port: int | None
    dicomweb: Any = None

    @abstractmethod
    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        """Send ``items``, call ``tick`` for each that arrived, return why the others did not, by UID."""

    @abstractmethod
    def _find(self, level: Level, query: Mapping[str, str]) -> list[Dataset]:
        """Answer a query whose keywords are known to exist."""

    @abstractmethod
    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the instances that match, by SOP Instance UID, with what ``_retrieve`` needs to get each."""

    @abstractmethod
    def _retrieve(self, located: dict[str, Any], keep: Keep) -> str:
        """Get each instance as a DICOM file and hand it to ``keep``; return why it stopped early, or nothing."""

    @abstractmethod
    def _state(self, study: str) -> tuple[int, bool]:
        """Return how many instances the study has, and whether the archive calls it stable."""

    @abstractmethod
    def forward(self, study: str, to: Archive | tuple[str, str, int], *, timeout: float = 60.0) -> int:
        """Send a study on to another archive, from this one.

        Parameters
        ----------
        study
            Its Study Instance UID.
        to
            Another archive, or the AE title, host and port of any DICOM peer.
        timeout
            Seconds after which it is given up.

        Returns
        -------
        int
            How many instances the peer took, which is all of them.

        Raises
        ------
        TransferError
            If the peer did not take every instance.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop the archive that was started here, or let go of one that runs elsewhere. A second time is harmless."""

    def send(self, what: Sendable, *, progress: bool = True) -> list[str]:
        """Store instances in the archive, unchanged, by the quickest way it offers.

        Parameters
        ----------
        what
            A dataset, a file, a folder, or a list of these.
        progress
            Whether to show a bar when it takes more than half a second.

        Returns
        -------
        list of str
            The SOP Instance UIDs that the archive now holds. To send again what is there is harmless: the archive
            keeps what it has.

        Raises
        ------
        DicomError
            If something to be sent is no DICOM instance.
        TransferError
            If not every instance arrived; ``missing`` holds the SOP Instance UIDs of the others.
        """
        items = instances(what)
        with _bar(len(items), "sending", progress) as bar:
            failed = self._store(items, bar.update)
        if failed:
            raise incomplete("arrived in the archive", len(items), failed)
        return [item.uid for item in items]

    def find(self, level: Level = "study", **keys: str | None) -> list[Dataset]:
        """Query the archive (DICOMweb: QIDO-RS, PS3.18 clause 10.6; DIMSE: C-FIND, PS3.4 annex C).

        Parameters
        ----------
        level
            What each answer stands for: ``"study"``, ``"series"`` or ``"instance"``.
        **keys
            What to match, by DICOM keyword: a value, a pattern with ``*`` and ``?``, a range of dates
            (``"20240101-20241231"``). An empty value matches anything and asks for the attribute in the answer.

        Examples
        --------
        >>> archive.find("series", StudyInstanceUID=uid, Modality="SEG", SeriesDescription="")  # doctest: +SKIP
        """
        if level not in ("study", "series", "instance"):
            raise ArchiveError(f"Expected the level 'study', 'series' or 'instance', got {level!r}.")
        for key in keys:
            if key not in keyword_dict:
                near = difflib.get_close_matches(key, keyword_dict, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ArchiveError(f"{key} is no DICOM keyword.{hint}")
        return self._find(level, {key: "" if value is None else str(value) for key, value in keys.items()})

    def fetch(
        self,
        *,
        study: str | None = None,
        series: str | None = None,
        instance: str | None = None,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> list[Any]:
        """Get a study, a series or one instance back.

        Parameters
        ----------
        study, series, instance
            UIDs; at least one. More than one must all fit.
        folder
            Where to write them, one file an instance, named by SOP Instance UID. Without it they come as datasets.
        progress
            Whether to show a bar when it takes more than half a second.

        Returns
        -------
        list
            Of datasets or paths, by series and Instance Number.

        Raises
        ------
        ArchiveError
            If the archive holds nothing of the kind.
        TransferError
            If not every instance came; ``missing`` says which did not. What came is in ``folder``.
        """
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
        query = {key: str(uid) for key, uid in uids.items() if uid is not None}
        if not query or not all(map(is_uid, query.values())):
            raise ArchiveError("Expected the UID of what to fetch: fetch(study=...), (series=...) or (instance=...).")
        located = {uid: way for uid, way in self._locate(query).items() if is_uid(uid)}
        if not located:
            raise ArchiveError(f"The archive holds no instance with {' and '.join(query)} as given.")
        into, got = Path(folder) if folder is not None else None, {}
        with _bar(len(located), "fetching", progress) as bar:

            def keep(uid: str, data: bytes) -> None:
                if uid in located:  # the name of a file comes from our own list, never from what is received
                    dataset = dcmread(BytesIO(data))
                    got[uid] = (_order(dataset), _write(into / f"{uid}.dcm", data) if into else dataset)
                    bar.update()

            reason = self._retrieve(located, keep)
        failed = {uid: reason or "the archive did not send it" for uid in located if uid not in got}
        if failed:
            raise incomplete("came back from the archive", len(located), failed)
        return [one for _, one in sorted(got.values(), key=itemgetter(0))]

    def wait_stable(self, study: str, *, instances: int | None = None, timeout: float = 60.0) -> int:
        """Wait until the archive calls a study stable: no instance of it has arrived for a while.

        Parameters
        ----------
        study
            Its Study Instance UID.
        instances
            How many it must have by then. A result that is stored into a study makes it stable a second time:
            this tells the two apart.
        timeout
            Seconds after which to give up.

        Returns
        -------
        int
            How many instances the study has.

        Raises
        ------
        ArchiveError
            If it is not so after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            count, stable = self._state(study)
            if stable and count >= (instances or 1):
                return count
            if time.monotonic() > deadline:
                wanted = f"{instances} instances" if instances else "at least one instance"
                raise ArchiveError(
                    f"After {timeout:g} s the study has {count} instances and is {'' if stable else 'not '}stable; "
                    f"expected {wanted}, stable. Is something still being sent, or did a sender fail?"
                )
            time.sleep(0.2)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = f"{self.url}, " if self.url else ""
        return (
            f"<{self.kind} archive: {where}DICOM {self.ae_title} at {self.host}:{self.dicom_port}; "
            f"speaks {' and '.join(self.speaks)}{'' if self.url else ' only'}>"
        )


def _bar(total: int, verb: str, progress: bool) -> Any:
    return tqdm(total=total, desc=verb, unit="instance", delay=0.5, leave=False, file=sys.stdout, disable=not progress)


def incomplete(what: str, total: int, failed: dict[str, str]) -> TransferError:
    """Say how many of how many arrived, and why the others did not (by UID)."""
    reason = next(iter(failed.values()))
    return TransferError(
        f"{total - len(failed)} of {total} instances {what}; {len(failed)} did not: {reason}. "
        "The error's .missing lists them. To do the same again is safe: nothing is stored twice.",
        missing=tuple(failed),
    )


def _write(path: Path, data: bytes) -> Path:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        return part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ArchiveError(f"{path.parent} cannot be written to: {error.strerror}.") from error


def _order(dataset: Dataset) -> tuple[str, int, str]:
    return str(dataset.get("SeriesInstanceUID")), int(dataset.get("InstanceNumber") or 0), str(dataset.SOPInstanceUID)
