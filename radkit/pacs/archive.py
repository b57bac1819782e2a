"""One interface to an archive, whichever stands behind it: send, find, fetch, wait until stable, forward."""

from __future__ import annotations

import difflib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydicom import Dataset
from pydicom.datadict import keyword_dict
from tqdm import tqdm

from ..errors import ArchiveError, ArchiveUnavailable, TransferError
from .incoming import Incoming
from .instances import Instance, Refusal, Sendable, instances, is_uid
from .server import Server

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
    certificate : Path or None
        What other programs must believe in, to call an archive that was started here with TLS.
    """

    kind: str
    speaks: tuple[str, ...] = ("DIMSE",)
    url: str | None = None
    host: str = "127.0.0.1"
    ae_title: str = ""
    dicom_port: int | None = None
    dicomweb: Any = None
    certificate: Path | None = None
    server: Server | None = None
    _again: Callable[[], Server] | None = None

    @abstractmethod
    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        """Send ``items``, call ``tick`` for each that arrived, return why the others did not, by UID.

        A :class:`Refusal` among the reasons is final; any other is worth another try.
        """

    @abstractmethod
    def _find(self, level: Level, query: Mapping[str, str]) -> list[Dataset]:
        """Answer a query whose keywords are known to exist."""

    @abstractmethod
    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the instances that match, by SOP Instance UID, with what ``_retrieve`` needs to get each.

        ArchiveUnavailable says that asking again may help; ArchiveError, that this archive answers no queries.
        """

    @abstractmethod
    def _retrieve(self, located: dict[str, Any], keep: Keep) -> str:
        """Get each instance as a DICOM file and hand it to ``keep``; return why it stopped early, or nothing."""

    @abstractmethod
    def _state(self, study: str) -> tuple[int, bool]:
        """Return how many instances the study has, and whether the archive calls it stable."""

    @abstractmethod
    def forward(self, study: str, to: Archive | tuple[str, str, int] | str, *, timeout: float = 60.0) -> int:
        """Send a study on to another archive, from this one.

        Parameters
        ----------
        study
            Its Study Instance UID.
        to
            Another archive, or the AE title, host and port of any DICOM peer; or an AE title alone that this archive
            knows, to which it then sends by C-MOVE (PS3.4, C.4.2).
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

    def send(self, what: Sendable, *, retries: int = 4, progress: bool = True) -> list[str]:
        """Store instances in the archive, unchanged, by the quickest way it offers, each exactly once.

        The archive is asked what it holds already, and gets the rest; after a failure it is asked again. So a
        transfer that was cut off, here or by an earlier process that was killed, goes on where it stopped.

        Parameters
        ----------
        what
            A dataset, a file, a folder, or a list of these.
        retries
            How often to go on after a failure that may pass (no answer, a lost association, a full disk): after
            0.25 s, 0.5 s, 1 s and so on, at most 8 s.
        progress
            Whether to show a bar when it takes more than half a second.

        Returns
        -------
        list of str
            The SOP Instance UIDs that the archive now holds. What it held before, it keeps as it was.

        Raises
        ------
        DicomError
            If something to be sent is no DICOM instance.
        TransferError
            If not every instance arrived; ``missing`` holds the SOP Instance UIDs of the others.
        """
        items = instances(what)
        failed = dict.fromkeys((item.uid for item in items), "")
        with _bar(len(items), "sending", progress) as bar:
            for pause in _pauses(retries):
                time.sleep(pause)
                failed = self._send_rest(items, failed, bar)
                if all(isinstance(reason, Refusal) for reason in failed.values()):
                    break
        if failed:
            raise incomplete("arrived in the archive", len(items), failed)
        return [item.uid for item in items]

    def _send_rest(self, items: list[Instance], failed: dict[str, str], bar: Any) -> dict[str, str]:
        """Send what the archive does not hold yet; return why what is still missing did not arrive."""
        final = {uid: reason for uid, reason in failed.items() if isinstance(reason, Refusal)}
        try:
            held = self._held(items, failed)
            bar.n = len(held)
            todo = [item for item in items if item.uid not in held and item.uid not in final]
            return final | (self._store(todo, bar.update) if todo else {})
        except ArchiveUnavailable as error:
            return dict.fromkeys(failed, str(error).rstrip(".")) | final

    def _held(self, items: list[Instance], failed: dict[str, str]) -> set[str]:
        """Return the UIDs of those ``items`` that the archive holds in their study."""
        wanted = {item.uid for item in items}
        try:
            studies = {item.study for item in items if is_uid(item.study)}
            return wanted & {uid for study in studies for uid in self._locate({"StudyInstanceUID": study})}
        except ArchiveUnavailable:
            raise
        except ArchiveError:  # it answers no queries: what it has confirmed is believed
            return wanted - set(failed)

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
        retries: int = 4,
        progress: bool = True,
    ) -> list[Any]:
        """Get a study, a series or one instance back.

        Parameters
        ----------
        study, series, instance
            UIDs; at least one. More than one must all fit.
        folder
            Where to write them, one file an instance, named by SOP Instance UID; one that is there already, and is
            whole, is not fetched again. Without a folder they come as datasets.
        retries
            How often to go on with the rest after a failure, as in :meth:`send`.
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
        with _bar(None, "fetching", progress) as bar:
            incoming = Incoming(query, Path(folder) if folder is not None else None, bar.update)
            for pause in _pauses(retries):
                time.sleep(pause)
                reason = self._fetch_rest(incoming)
                if incoming.error:
                    raise incoming.error
                bar.total = len(incoming.located)
                if not (rest := incoming.rest()) and incoming.located:
                    return incoming.everything()
        if not incoming.located:
            raise ArchiveUnavailable(f"{reason}.")
        failed = {uid: reason or incoming.reasons.get(uid, "the archive did not send it") for uid in rest}
        raise incomplete("came back from the archive", len(incoming.located), failed)

    def _fetch_rest(self, incoming: Incoming) -> str:
        """Fetch what has not come yet; return why it stopped early, or nothing."""
        try:
            if not incoming.located:
                incoming.located = {uid: way for uid, way in self._locate(incoming.query).items() if is_uid(uid)}
            if not incoming.located:
                raise ArchiveError(f"The archive holds no instance with {' and '.join(incoming.query)} as given.")
            rest = incoming.rest()
            return self._retrieve(rest, incoming.keep) if rest else ""
        except ArchiveUnavailable as error:
            return str(error).rstrip(".")

    def echo(self) -> bool:
        """Whether the archive answers: a C-ECHO (PS3.7, 9.1.5), or a query where it is called by HTTP."""
        try:
            self._find("study", {"StudyInstanceUID": "1.2.840.10008.1.1"})
        except ArchiveError:
            return False
        return True

    def commit(self, what: Sendable) -> dict[str, Any]:
        """Ask the archive whether it has taken instances into its keeping: storage commitment (PS3.4, annex J).

        Parameters
        ----------
        what
            What :meth:`send` was given, or the UIDs that it returned.

        Returns
        -------
        dict
            ``"committed"``, a list of SOP Instance UIDs; and ``"failed"``, why the others are not, by UID.

        Raises
        ------
        ArchiveError
            If the archive offers no storage commitment, or reports nothing within its timeout.
        """
        given = [what] if isinstance(what, Dataset | str | Path) else list(what)
        uids = [str(one) for one in given if isinstance(one, str) and is_uid(one)]
        classes: dict[str, str] = {}
        if rest := [one for one in given if not (isinstance(one, str) and is_uid(one))]:
            classes |= {item.uid: item.sop_class for item in instances(rest)}
        for start in range(0, len(uids), 200):  # a list of UIDs must fit into an address
            found = self._find("instance", {"SOPInstanceUID": "\\".join(uids[start : start + 200]), "SOPClassUID": ""})
            classes |= {str(one.SOPInstanceUID): str(one.SOPClassUID) for one in found}
        told = self._commit(classes) if classes else {"committed": [], "failed": {}}
        told["failed"] |= {uid: "the archive does not hold it" for uid in uids if uid not in classes}
        return told

    def _commit(self, classes: Mapping[str, str]) -> dict[str, Any]:
        """Ask for commitment of instances, given with their SOP classes."""
        raise ArchiveError("This archive offers no storage commitment: fetch what was sent, and compare.")

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

    def restart(self) -> None:
        """Start an archive that keeps a ``folder`` again, at the same ports: after a crash, say.

        A transfer that was under way goes on by itself, while it has retries left.

        Raises
        ------
        ArchiveUnavailable
            If it does not start, was not started here, or was opened without a folder.
        """
        if not (self.server and self.server.home.keep and self._again):
            raise ArchiveUnavailable("Only an archive that was started here, with a folder that it keeps, can do that.")
        self.server.stop()
        self.server = self._again()

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


def _pauses(retries: int) -> list[float]:
    """Return the seconds to wait before the first try and before each further one."""
    return [0.0, *(min(0.25 * 2**n, 8.0) for n in range(retries))]


def _bar(total: int | None, verb: str, progress: bool) -> Any:
    return tqdm(total=total, desc=verb, unit="instance", delay=0.5, leave=False, file=sys.stdout, disable=not progress)


def incomplete(what: str, total: int, failed: dict[str, str]) -> TransferError:
    """Say how many of how many arrived, and why the others did not (by UID)."""
    reason = next(iter(failed.values()))
    return TransferError(
        f"{total - len(failed)} of {total} instances {what}; {len(failed)} did not: {reason}. "
        "The error's .missing lists them. To do the same again is safe: nothing is stored twice.",
        missing=tuple(failed),
    )
