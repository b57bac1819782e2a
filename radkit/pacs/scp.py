"""The embedded archive's server, ``python -m radkit.pacs.scp ORDER``: C-ECHO, C-STORE, C-FIND, C-GET (PS3.4, B and C).

What it is sent lies in one folder, a file an instance, named by SOP Instance UID, with the bytes as they came. The
index is read back from the files at the start, so the two cannot disagree. Nothing from the network names a path: a UID
is digits and dots (PS3.5, 9.1), or it is refused.
"""

from __future__ import annotations

import json
import math
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset, dcmread

from .._optional import optional
from . import dimse
from .embedded import READY
from .instances import is_uid, parse
from .limits import PDU
from .matching import matches

_LONGEST = 1024  # bytes of a value that can be asked for
_ONE_OF = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_NO_KEYS = ("QueryRetrieveLevel", "SpecificCharacterSet")
_UIDS = tuple(_ONE_OF.values())
_REFUSED, _NO_SPACE, _NOT_AS_SAID = 0xC000, 0xA700, 0xA900


class Store:
    """The instances on disk, and their headers in memory."""

    def __init__(self, folder: Path, quota: float = math.inf):
        self.folder, self.room = folder, quota
        self.headers: dict[str, Dataset] = {}
        self._lock = threading.Lock()  # two may send one instance at once
        for half_written in folder.glob("*.part"):
            half_written.unlink()
        for path in folder.glob("*.dcm"):
            self.room -= path.stat().st_size
            try:
                self.headers[path.stem] = _header(dcmread(path, stop_before_pixels=True))
            except Exception as error:  # one broken file does not keep the others from being served
                print(f"{path.name} is left out: {type(error).__name__}", file=sys.stderr)

    def path(self, uid: str) -> Path:
        """Return the file of an instance whose UID has been checked."""
        return self.folder / f"{uid}.dcm"

    def add(self, uid: str, data: bytes) -> int:
        """Keep an instance, once and whole; return the C-STORE status."""
        header = _header(parse(data, stop_before_pixels=True))
        if header.get("SOPInstanceUID") != uid or not all(is_uid(header.get(keyword)) for keyword in _UIDS):
            return _NOT_AS_SAID
        with self._lock:
            return self._write(uid, header, data)

    def _write(self, uid: str, header: Dataset, data: bytes) -> int:
        if uid in self.headers:  # an archive does not change what it holds
            return 0x0000 if self.headers[uid].StudyInstanceUID == header.StudyInstanceUID else _NOT_AS_SAID
        if len(data) > self.room:
            return _NO_SPACE
        part = self.folder / f"{uid}.part"
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path(uid))
        except OSError as error:
            part.unlink(missing_ok=True)
            print(f"cannot store: {error.strerror}", file=sys.stderr)
            return _NO_SPACE
        self.headers[uid] = header
        self.room -= len(data)
        return 0x0000

    def match(self, query: Dataset) -> list[Dataset]:
        """Return the header of each study, series or instance that matches, with its counts."""
        level = query.get("QueryRetrieveLevel")
        if level not in _ONE_OF:
            return []
        groups: dict[str, list[Dataset]] = {}
        for header in list(self.headers.values()):
            groups.setdefault(header.get(_ONE_OF[level]), []).append(header)
        found = (_summary(group) for group in groups.values())
        return [one for one in found if all(matches(key, one) for key in query if key.keyword not in _NO_KEYS)]


def _header(dataset: Dataset) -> Dataset:
    """Keep of an instance what can be asked for: short values, no sequences, and how it is encoded."""
    header = Dataset()
    header.update({e.tag: e for e in dataset if e.VR != "SQ" and len(str(e.value)) <= _LONGEST})
    header.AvailableTransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return header


def _summary(group: list[Dataset]) -> Dataset:
    """Return the header of a study or series: its first instance's, and what the whole group adds up to."""
    summary = Dataset()
    summary.update(group[0])
    summary.ModalitiesInStudy = sorted({str(one.get("Modality", "")) for one in group})
    summary.NumberOfStudyRelatedSeries = len({one.SeriesInstanceUID for one in group})
    summary.NumberOfStudyRelatedInstances = summary.NumberOfSeriesRelatedInstances = len(group)
    return summary


def on_store(event: Any, store: Store) -> int:
    """Answer a C-STORE request."""
    uid = str(event.request.AffectedSOPInstanceUID)
    if not is_uid(uid):
        return _REFUSED
    try:
        return store.add(uid, event.encoded_dataset())
    except Exception as error:  # whatever a stranger's bytes do to the parser, the archive goes on
        print(f"cannot understand an instance: {type(error).__name__}", file=sys.stderr)
        return _REFUSED


def on_find(event: Any, store: Store) -> Iterator[tuple[int, Dataset | None]]:
    """Answer a C-FIND request, one response a match."""
    query = event.identifier
    for found in store.match(query):
        if event.is_cancelled:
            return (yield 0xFE00, None)
        answer = Dataset()
        answer.SpecificCharacterSet = "ISO_IR 192"
        for key in query:
            answer[key.tag] = found[key.tag] if key.tag in found else DataElement(key.tag, key.VR, None)
        answer.QueryRetrieveLevel = query.QueryRetrieveLevel
        yield 0xFF00, answer


def on_get(event: Any, store: Store) -> Iterator[Any]:
    """Answer a C-GET request with the instances themselves, as they are on disk."""
    keys = [key for key in event.identifier if key.keyword in _UIDS and key.value]
    uids = [uid for uid, header in list(store.headers.items()) if keys and all(matches(key, header) for key in keys)]
    yield len(uids)
    for uid in uids:
        if event.is_cancelled:
            return (yield 0xFE00, None)
        yield 0xFF00, dcmread(store.path(uid))


class _Patient(ssl.SSLContext):
    """Shake hands when a caller is first listened to, in a thread of its own: pynetdicom would where it takes calls.

    There one caller that says nothing would keep all others out.
    """

    def wrap_socket(self, sock: Any, *_: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, **{**options, "do_handshake_on_connect": False})


def serve(
    *, folder: str, account: list[int], port: int, ae_title: str, callers: list[str], quota: int, tls: list[str]
) -> None:
    """Serve ``folder`` on loopback until the process is ended, by TLS with the certificate and key of ``tls``."""
    pynetdicom = optional("pynetdicom")
    evt, supervisor = pynetdicom.evt, os.getppid()
    if account:
        os.setgroups([])
        os.setgid(account[1])
        os.setuid(account[0])
    store, secure = Store(Path(folder), quota), None
    if tls:
        secure = _Patient(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(*tls)
    ae = pynetdicom.AE(ae_title)
    ae.require_calling_aet = callers
    ae.maximum_associations = 10
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30  # who says nothing for so long is let go
    ae.maximum_pdu_size = PDU
    for sop_class in (dimse.ECHO, dimse.FIND, dimse.GET):
        ae.add_supported_context(sop_class)
    for context in pynetdicom.AllStoragePresentationContexts:
        sop_class, roles = context.abstract_syntax, {"scp_role": True, "scu_role": True}  # for C-STORE, for C-GET
        ae.add_supported_context(sop_class, pynetdicom.ALL_TRANSFER_SYNTAXES, **roles)
    handlers = [
        *dimse.guards(),
        (evt.EVT_C_ECHO, lambda event: 0x0000),
        (evt.EVT_C_STORE, on_store, [store]),
        (evt.EVT_C_FIND, on_find, [store]),
        (evt.EVT_C_GET, on_get, [store]),
    ]
    ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=secure)
    print(READY, flush=True)
    while os.getppid() == supervisor:
        time.sleep(1)
    os._exit(1)  # our supervisor was killed: associations that still run are cut


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
