"""Archives that run elsewhere: any DICOM peer by its AE title, and any DICOMweb service by its address."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from pydicom import Dataset, dcmread, dcmwrite

from ..errors import ArchiveError, ArchiveUnavailable
from . import dimse, receiving
from .archive import CALLER, Archive, Keep, Level, incomplete
from .instances import Instance, Refusal, instances
from .orthanc import OrthancArchive, client
from .tls import Tls, context

_AT_ONCE = 900  # instances named in one retrieval: a list of UIDs must fit into 64 KB


class _Plain(Archive):
    """What needs no more of an archive than that it can be asked, sent to and fetched from."""

    stable_age: float = 2
    _caller = CALLER

    def _state(self, study: str) -> tuple[int, bool]:
        count = len(self._locate({"StudyInstanceUID": study}))
        seen: dict[str, tuple[int, float]] = self.__dict__.setdefault("_seen", {})
        if count != seen.get(study, (-1, 0.0))[0]:
            seen[study] = (count, time.monotonic())
        return count, bool(count) and time.monotonic() - seen[study][1] >= self.stable_age

    def forward(self, study: str, to: Archive | tuple[str, str, int] | str, *, timeout: float = 60.0) -> int:
        """Get a study and send it on by C-STORE; see :meth:`Archive.forward`."""
        if isinstance(to, str):
            raise ArchiveError(
                f"Expected an archive, or AE title, host and port; {to} alone is for archives with C-MOVE."
            )
        ae_title, host, port = (to.ae_title, to.host, to.dicom_port or 0) if isinstance(to, Archive) else to
        peer = dimse.Peer(ae_title, host, port, self._caller, timeout)
        with tempfile.TemporaryDirectory(prefix="radkit-") as folder:
            self.fetch(study=study, folder=folder, progress=False)
            items = instances(folder)
            failed = dimse.store(peer, items, lambda: None, deadline=time.monotonic() + timeout)
        if failed:
            raise incomplete(f"arrived at {peer.ae_title}", len(items), failed)
        return len(items)

    def close(self) -> None:
        """Let go of it."""


class DimseArchive(_Plain):
    """A DICOM peer: what of C-ECHO, C-STORE, C-FIND, C-GET, C-MOVE and storage commitment it offers, works."""

    kind = "dicom"

    def __init__(self, peer: dimse.Peer, *, port: int = 0, stable_age: float = 2):
        self._peer, self._port, self.stable_age, self._caller = peer, port, stable_age, peer.caller
        self.ae_title, self.host, self.dicom_port = peer.ae_title, peer.host, peer.port

    def echo(self) -> bool:
        """Whether the peer answers a C-ECHO (PS3.7, 9.1.5)."""
        return dimse.echo(self._peer)

    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        return dimse.store(self._peer, items, tick)

    def _find(self, level: Level, query: Mapping[str, str]) -> list[Dataset]:
        queries = [query]
        if level == "instance" and query.get("StudyInstanceUID") and not query.get("SeriesInstanceUID"):
            # Many archives want the UIDs of all levels above (PS3.4, C.4.1.2.1): so the series are asked for first.
            series = dimse.find(self._peer, "series", {"StudyInstanceUID": query["StudyInstanceUID"]})
            queries = [{**query, "SeriesInstanceUID": str(one.SeriesInstanceUID)} for one in series]
        return dimse.find(self._peer, level, *queries) if queries else []

    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        def of(one: Dataset) -> tuple[str, str, str, str]:
            syntax = one.get("AvailableTransferSyntaxUID") or ""
            first = syntax if isinstance(syntax, str) else syntax[0]
            return str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.get("SOPClassUID", "")), str(first)

        return {str(one.SOPInstanceUID): of(one) for one in self._find("instance", query)}

    def _retrieve(self, located: dict[str, Any], keep: Keep) -> str:
        groups: dict[tuple[str, str], list[str]] = {}
        for uid, (study, series, _, _) in located.items():
            groups.setdefault((study, series), []).append(uid)
        for (study, series), uids in groups.items():
            parents = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
            for start in range(0, len(uids), _AT_ONCE):
                some = {uid: located[uid][2:] for uid in uids[start : start + _AT_ONCE]}
                if reason := receiving.retrieve(self._peer, some, parents, keep, port=self._port):
                    return reason
        return ""

    def _commit(self, classes: Mapping[str, str]) -> dict[str, Any]:
        return receiving.commit(self._peer, classes, port=self._port)

    def forward(self, study: str, to: Archive | tuple[str, str, int] | str, *, timeout: float = 60.0) -> int:
        """Let the peer send a study on by C-MOVE, to an AE title that it knows; else as :meth:`Archive.forward`."""
        if not isinstance(to, str):
            return super().forward(study, to, timeout=timeout)
        return receiving.move(self._peer, study, to, tuple(self._locate({"StudyInstanceUID": study})))


class DicomwebArchive(_Plain, OrthancArchive):
    """A DICOMweb service (PS3.18): what Orthanc's own interface does for Orthanc, done by QIDO, WADO and STOW alone."""

    kind, speaks = "dicomweb", ("DICOMweb",)
    ae_title, dicom_port = CALLER, None

    def __init__(self, url: str, session: requests.Session, *, timeout: float, stable_age: float):
        self.url, self.session, self.timeout, self.stable_age = url, session, timeout, stable_age
        self.host, self.server = urlsplit(url).hostname or "", None
        self.dicomweb = client(url, session, timeout)
        self.find("study", StudyInstanceUID="1.2.840.10008.1.1")  # is anybody there?

    def _lost(self, error: Exception) -> str:
        return super()._lost(error).replace("Orthanc", "The DICOMweb service")

    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        levels = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        found = self._find("instance", query)
        return {str(one.SOPInstanceUID): [str(one[key].value) for key in levels] for one in found}

    def _elsewhere(self, items: list[Instance]) -> Collection[str]:
        return ()

    def _put(self, item: Instance) -> str:
        try:
            told = self.dicomweb.store_instances([dcmread(BytesIO(item.encoded()))])
        except requests.HTTPError as error:
            code = error.response.status_code
            return Refusal(f"the service answered {code}") if code < 500 else f"the service answered {code}"
        except requests.RequestException as error:
            raise ArchiveUnavailable(f"{self._lost(error)}.") from error
        failed = told.get("FailedSOPSequence")  # PS3.18, annex I.2
        return Refusal(f"the service answered 0x{failed[0].get('FailureReason', 0):04X}") if failed else ""

    def _take(self, way: Any) -> bytes | None:
        buffer = BytesIO()
        try:
            dcmwrite(buffer, self.dicomweb.retrieve_instance(*way), enforce_file_format=True)
        except requests.HTTPError:
            return None
        except requests.RequestException as error:
            raise ArchiveUnavailable(f"{self._lost(error)}.") from error
        return buffer.getvalue()

    def _commit(self, classes: Mapping[str, str]) -> dict[str, Any]:
        return Archive._commit(self, classes)


def call(address: str, *, caller: str, port: int, stable_age: float, timeout: float, tls: Tls = False) -> DimseArchive:
    """Reach the DICOM peer at ``dicom://AET@host:port``; see :func:`radkit.pacs.open_archive`."""
    parts, trusted = urlsplit(address), context(tls)
    try:
        peer = dimse.Peer(
            unquote(parts.username or ""), parts.hostname or "", parts.port or 0, caller, timeout, trusted
        )
    except ValueError:
        peer = dimse.Peer("", "", 0, caller, timeout)
    if not (peer.ae_title and peer.host and peer.port):
        raise ArchiveError(f"Expected an address like dicom://AETITLE@127.0.0.1:104, got {address}.")
    try:
        with dimse.associate(peer, [(dimse.ECHO, None)]):
            pass
    except dimse.Unsupported:
        pass  # it is there, and wants no C-ECHO
    return DimseArchive(peer, port=port, stable_age=stable_age)
