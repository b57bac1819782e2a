"""Archives that we talk DICOM to: whatever of it the peer offers, works."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydicom import Dataset

from ..errors import ArchiveError
from . import dimse, receiving
from .archive import Archive, Keep, Level
from .instances import Instance
from .tls import Tls, context

_AT_ONCE = 900  # instances named in one retrieval: a list of UIDs must fit into 64 KB


class DimseArchive(Archive):
    """A DICOM peer: what of C-ECHO, C-STORE, C-FIND, C-GET, C-MOVE and storage commitment it offers, works."""

    kind = "dicom"
    _peer: dimse.Peer

    def __init__(self, peer: dimse.Peer, *, port: int = 0, stable_age: float = 2):
        self._peer, self._port, self.stable_age = peer, port, stable_age
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


def call(address: str, *, caller: str, port: int, stable_age: float, timeout: float, tls: Tls = False) -> DimseArchive:
    """Reach the DICOM peer at ``dicom://AET@host:port``; see :func:`radkit.pacs.open_archive`."""
    parts, trusted = urlsplit(address), context(tls)
    try:
        where = unquote(parts.username or ""), parts.hostname or "", parts.port or 0
    except ValueError:
        where = "", "", 0
    if not all(where):
        raise ArchiveError(f"Expected an address like dicom://AETITLE@127.0.0.1:104, got {address}.")
    peer = dimse.Peer(*where, caller, timeout, trusted)
    with contextlib.suppress(dimse.Unsupported), dimse.associate(peer, [(dimse.ECHO, None)]):
        pass  # it is there, even if it wants no C-ECHO
    return DimseArchive(peer, port=port, stable_age=stable_age)
