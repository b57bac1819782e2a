"""One interface to an archive, whichever stands behind it: send, find, fetch, wait until stable, forward."""

from __future__ import annotations

import difflib
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydicom import Dataset
from pydicom.datadict import keyword_dict

from ..errors import ArchiveError, ArchiveUnavailable
from . import dimse, receiving
from .instances import Instance, Refusal, Sendable, instances, is_uid
from .server import Server
from .transfer import Incoming, incomplete, pauses, progress_bar

CALLER = "RADKIT"  # the AE title that we call an archive with
AE_TITLE = "RADKIT-ARCHIVE"

Level: TypeAlias = Literal["study", "series", "instance"]
Keep: TypeAlias = "Callable[[str, bytes], None]"


class Archive(ABC):
    """An archive that holds studies. Made by :func:`radkit.pacs.open_archive`; a context manager, closed at its end.

    Attributes
    ----------
    kind : str
        ``"orthanc"``, ``"embedded"``; or, running elsewhere, any ``"dicomweb"`` service or ``"dicom"`` peer.
    speaks : tuple of str
        Of ``"DICOMweb"`` and ``"DIMSE"``, what we can talk to it.
    url : str or None
        Where it answers HTTP; Orthanc's DICOMweb is at ``url + "/dicom-web"``.
    host, dicom_port, ae_title
        Where it takes DICOM associations, and the AE title that it goes by.
    dicomweb : dicomweb_client.DICOMwebClient or None
        The real client, ready to use.
    certificate : Path or None
        What other programs must believe in, to call an archive that was started here with TLS.
    server : Server or None
        The process of an archive that was started here.
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
    stable_age: float = 2
    _peer: dimse.Peer | None = None  # whom to call, where we can talk DICOM to it

    @abstractmethod
    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        """Send ``items``, ``tick`` for each that arrived; return why others did not, by UID: a Refusal is final."""

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

    def send(self, what: Sendable, *, retries: int = 4, progress: bool = True) -> list[str]:
        """Store instances in the archive, unchanged, by the quickest way it offers, each exactly once.

        The archive is asked what it holds already, and gets the rest; after a failure it is asked again. So a
        transfer that was cut off, here or by an earlier process that was killed, goes on where it stopped.

        Parameters
        ----------
        what
            A dataset, a file, a folder, or a list of these.
        retries, progress
            How often to go on after a failure that may pass (no answer, a full disk): after 0.25 s, 0.5 s, ... 8 s.
            Whether to show a bar if it takes a while.

        Returns
        -------
        list of str
            The SOP Instance UIDs that the archive now holds. What it held before, it keeps as it was.

        Raises
        ------
        DicomError
            If something to be sent is no DICOM instance.
        TransferError
            If not every instance arrived; ``missing`` has the UIDs of the others.
        """
        items = instances(what)
        failed = dict.fromkeys((item.uid for item in items), "")
        with progress_bar(len(items), "sending", progress) as bar:
            for _ in pauses(retries):
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
            try:
                studies = {item.study for item in items if is_uid(item.study)}
                held = {uid for study in studies for uid in self._locate({"StudyInstanceUID": study})}
            except ArchiveUnavailable:
                raise
            except ArchiveError:  # it answers no queries: what it has confirmed is believed
                held = {item.uid for item in items} - failed.keys()
            todo = [item for item in items if item.uid not in held and item.uid not in final]
            bar.n = len(items) - len(todo) - len(final)
            return final | (self._store(todo, bar.update) if todo else {})
        except ArchiveUnavailable as error:
            return dict.fromkeys(failed, str(error).rstrip(".")) | final

    def find(self, level: Level = "study", **keys: str | None) -> list[Dataset]:
        """Query the archive (DICOMweb: QIDO-RS, PS3.18 clause 10.6; DIMSE: C-FIND, PS3.4 annex C).

        Parameters
        ----------
        level
            What each answer stands for: ``"study"``, ``"series"`` or ``"instance"``.
        **keys
            What to match, by DICOM keyword: a value, a pattern with ``*`` and ``?``, a range of dates
            (``"20240101-20241231"``). An empty value matches anything and asks for the attribute in the answer.
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
        retries, progress
            As in :meth:`send`.

        Returns
        -------
        list
            Of datasets or paths, by series and Instance Number.

        Raises
        ------
        ArchiveError
            If the archive holds nothing of the kind.
        TransferError
            If not every instance came; ``missing`` has the UIDs of the others.
        """
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
        query = {key: str(uid) for key, uid in uids.items() if uid is not None}
        if not query or not all(map(is_uid, query.values())):
            raise ArchiveError("Expected the UID of a study, a series or an instance to fetch: digits and dots.")
        with progress_bar(None, "fetching", progress) as bar:
            incoming = Incoming(query, Path(folder) if folder is not None else None, bar.update)
            for _ in pauses(retries):
                reason = self._fetch_rest(incoming)
                bar.total = len(incoming.located)
                if incoming.located and not incoming.rest():
                    return incoming.everything()
        raise incoming.failed(reason)

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
        finally:
            if incoming.error:
                raise incoming.error

    def echo(self) -> bool:
        """Whether the archive answers: a C-ECHO (PS3.7, 9.1.5), or a query where it is called by HTTP."""
        try:
            return isinstance(self._find("study", {"StudyInstanceUID": "1.2.840.10008.1.1"}), list)
        except ArchiveError:
            return False

    def commit(self, what: Sendable) -> dict[str, Any]:
        """Ask the archive whether it has taken instances into its keeping: storage commitment (PS3.4, annex J).

        Parameters
        ----------
        what
            What :meth:`send` was given.

        Returns
        -------
        dict
            ``"committed"``, a list of UIDs; and ``"failed"``, why the others are not, by UID. (An ArchiveError says
            that the archive offers no storage commitment, or reports nothing within its timeout.)
        """
        return self._commit({item.uid: item.sop_class for item in instances(what)})

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
            How many it must have by then: what is stored into a stable study makes it stable a second time.
        timeout
            Seconds after which to give up, by an ArchiveError.

        Returns
        -------
        int
            How many instances the study has.
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

    def _state(self, study: str) -> tuple[int, bool]:
        """Return how many instances the study has, and whether it is stable: by their count, unless it is told."""
        count = len(self._locate({"StudyInstanceUID": study}))
        seen: dict[str, tuple[int, float]] = self.__dict__.setdefault("_seen", {})
        if count != seen.get(study, (-1, 0.0))[0]:
            seen[study] = (count, time.monotonic())
        return count, bool(count) and time.monotonic() - seen[study][1] >= self.stable_age

    def forward(self, study: str, to: Archive | str) -> int:
        """Send a study on, from this archive to another.

        Parameters
        ----------
        study
            Its Study Instance UID.
        to
            Another archive, which gets it by way of us; or an AE title that this archive knows, to which it then sends
            by itself (C-MOVE, PS3.4, C.4.2).

        Returns
        -------
        int
            How many instances arrived: all, else there is a TransferError.
        """
        if isinstance(to, Archive):
            with tempfile.TemporaryDirectory(prefix="radkit-") as folder:
                self.fetch(study=study, folder=folder, progress=False)
                return len(to.send(folder, progress=False))
        if self._peer is None:
            raise ArchiveError(f"Expected an archive, got {to}: an AE title alone is for an archive with C-MOVE.")
        return receiving.move(self._peer, study, to, tuple(self._locate({"StudyInstanceUID": study})))

    def close(self) -> None:
        """Stop the archive that was started here, or let go of one that runs elsewhere. A second time is harmless."""
        if self.server:
            self.server.stop()

    def restart(self) -> None:
        """Start an archive that keeps a ``folder`` again, at the same ports: after a crash, say.

        A transfer that was under way goes on by itself, while it has retries left.

        Raises
        ------
        ArchiveUnavailable
            If it does not start, was not started here, or was opened without a folder.
        """
        if not (self.server and self.server.home.keep):
            raise ArchiveUnavailable("Only an archive that was started here, with a folder that it keeps, can do that.")
        self.server.stop()
        self.server = self.server.again()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = [self.url or "", f"DICOM {self.ae_title} at {self.host}:{self.dicom_port}" if self.dicom_port else ""]
        speaks = " and ".join(self.speaks) + " only" * (len(self.speaks) == 1)
        return f"<{self.kind} archive: {', '.join(filter(None, where))}; speaks {speaks}>"
