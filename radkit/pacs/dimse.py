"""DICOM associations as a client: C-ECHO, C-STORE, C-FIND and C-GET (PS3.7, clause 9.1) by pynetdicom."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_dict

from .._optional import optional
from ..errors import ArchiveError, ArchiveUnavailable
from .instances import Instance, Refusal
from .limits import MOST_ANSWERS, PDU, guard, message_ended

ECHO = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve, PS3.4 annex C
GET = "1.2.840.10008.5.1.4.1.2.2.3"
PENDING = (0xFF00, 0xFF01)
_CONTEXTS = 120  # of the 128 presentation contexts that an association can carry

# What a query answers with unless more is asked for, by level: as QIDO-RS has it (PS3.18, table 10.6.3-1 and on).
ANSWER = {
    "study": "StudyInstanceUID PatientID PatientName StudyDate StudyTime StudyDescription AccessionNumber "
    "ModalitiesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances",
    "series": "StudyInstanceUID SeriesInstanceUID Modality SeriesNumber SeriesDescription "
    "NumberOfSeriesRelatedInstances",
    "instance": "StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID InstanceNumber "
    "AvailableTransferSyntaxUID",
}
_QUERY_LEVEL = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}


@dataclass(frozen=True)
class Peer:
    """Whom to call, and as whom."""

    ae_title: str
    host: str
    port: int
    caller: str
    timeout: float
    tls: ssl.SSLContext | None = None  # whose certificates are believed, and ours if we have one


@contextmanager
def associate(
    peer: Peer, contexts: Iterable[tuple[str, str | None]], *, on_store: Callable[[Any], int] | None = None
) -> Iterator[Any]:
    """Open an association with one presentation context for each (SOP class, transfer syntax), and release it.

    With ``on_store``, the storage classes among them are those that *we* take, as C-GET wants it.
    """
    pynetdicom = optional("pynetdicom")
    ae = pynetdicom.AE(peer.caller)
    ae.maximum_pdu_size = PDU
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = peer.timeout
    contexts, roles = list(contexts), []
    handlers: list[tuple[Any, Any]] = [(pynetdicom.evt.EVT_CONN_OPEN, guard)]
    handlers.append((pynetdicom.evt.EVT_DIMSE_RECV, message_ended))
    for sop_class, syntax in contexts:
        ae.requested_contexts = [*ae.requested_contexts, pynetdicom.build_context(sop_class, syntax)]
    if on_store:
        ours = dict.fromkeys(sop_class for sop_class, syntax in contexts if syntax)
        roles = [pynetdicom.build_role(sop_class, scp_role=True) for sop_class in ours]
        handlers.append((pynetdicom.evt.EVT_C_STORE, on_store))
    assoc = ae.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        ext_neg=roles,
        evt_handlers=handlers,
        max_pdu=PDU,
        tls_args=(peer.tls, peer.host) if peer.tls else None,
    )
    if not assoc.is_established:
        refused = f"refused the association: does it know the AE title {peer.caller}?"
        why = refused if assoc.is_rejected else "does not answer: does it run?"
        raise ArchiveUnavailable(f"{peer.ae_title} at {peer.host}:{peer.port} {why}")
    try:
        yield assoc
        if assoc.is_established:
            assoc.release()
    finally:
        if assoc.is_established:
            assoc.abort()


def echo(peer: Peer) -> bool:
    """Whether the peer answers a C-ECHO."""
    try:
        with associate(peer, [(ECHO, None)]) as assoc:
            return assoc.send_c_echo().get("Status") == 0
    except ArchiveUnavailable:
        return False


def store(
    peer: Peer, items: list[Instance], tick: Callable[[], object], *, deadline: float = math.inf
) -> dict[str, str]:
    """Send each instance by C-STORE as it is encoded; return why some did not arrive, by SOP Instance UID."""
    failed: dict[str, str] = {}
    for batch in _batches([(item.uid, (item.sop_class, item.syntax)) for item in items]):
        todo = [item for item in items if item.uid in batch]
        try:
            with associate(peer, dict.fromkeys(batch.values())) as assoc:
                for item in todo:
                    reason = _store_one(assoc, item) if time.monotonic() < deadline else "time was up"
                    if reason:
                        failed[item.uid] = reason
                    else:
                        tick()
        except ArchiveUnavailable as error:
            failed |= {item.uid: str(error) for item in todo}
    return failed


def _store_one(assoc: Any, item: Instance) -> str:
    if not assoc.is_established:
        return "the association was lost"
    try:
        status = assoc.send_c_store(item.dataset()).get("Status")
    except (ValueError, AttributeError, RuntimeError) as error:  # refused context; association gone meanwhile
        return "the association was lost" if not assoc.is_established else Refusal(error)
    if status is None:
        return "the peer did not answer"
    words = {0xA7: "it is out of resources, such as space on its disk", 0x01: "it refused"}
    if not status or status >> 12 == 0xB:  # 0xB000 and on are warnings: stored (PS3.4, B.2.3)
        return ""
    reason = f"the peer answered 0x{status:04X} ({words.get(status >> 8, 'not stored')})"
    return reason if status >> 8 == 0xA7 else Refusal(reason)


def _batches(pairs: list[tuple[str, tuple[str, str]]]) -> Iterator[dict[str, tuple[str, str]]]:
    """Split instances so that no batch needs more presentation contexts than an association can carry."""
    contexts = list(dict.fromkeys(context for _, context in pairs))
    for start in range(0, len(contexts), _CONTEXTS):
        some = set(contexts[start : start + _CONTEXTS])
        yield {uid: context for uid, context in pairs if context in some}


def identifier(keys: Mapping[str, str]) -> Dataset:
    """Return the data set that a query or retrieval sends along (PS3.4, C.4.1.1.3)."""
    dataset = Dataset()
    for keyword, value in keys.items():
        vr = dictionary_VR(keyword).split(" or ")[0]
        number = value and vr in ("US", "SS", "UL", "SL")
        dataset.add_new(keyword_dict[keyword], vr, int(value) if number else value or None)
    return dataset


def find(peer: Peer, level: str, query: Mapping[str, str]) -> list[Dataset]:
    """Ask by C-FIND, study root."""
    head = {"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": _QUERY_LEVEL[level]}
    request = identifier({**head, **dict.fromkeys(ANSWER[level].split(), ""), **query})
    found = []
    with associate(peer, [(FIND, None)]) as assoc:
        for status, answer in assoc.send_c_find(request, FIND):
            if status.get("Status") in PENDING:
                found.append(answer)
                if len(found) > MOST_ANSWERS:
                    raise ArchiveError(f"The archive gives more than {MOST_ANSWERS} answers: ask for less at once.")
            elif status.get("Status") != 0:
                raise ArchiveError(f"The archive did not finish the query (status {status.get('Status')}).")
    return found


def get(
    peer: Peer, wanted: dict[str, tuple[str, str]], query: Mapping[str, str], keep: Callable[[str, bytes], None]
) -> str:
    """Get instances by C-GET, each in the encoding it is kept in; return why it stopped early, or nothing.

    ``wanted`` has their SOP classes and transfer syntaxes, since an association must name both beforehand; ``query``
    names them all by one study, series or instance.
    """
    trouble: list[str] = []

    def on_store(event: Any) -> int:
        try:
            keep(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())
        except ArchiveError as error:
            trouble.append(str(error))
            return 0xA700
        return 0x0000

    levels = {"SOPInstanceUID": "IMAGE", "SeriesInstanceUID": "SERIES", "StudyInstanceUID": "STUDY"}
    request = identifier({"QueryRetrieveLevel": next(levels[key] for key in levels if key in query), **query})
    for batch in _batches(list(wanted.items())):
        contexts = [(GET, None), *dict.fromkeys(batch.values())]
        try:
            with associate(peer, contexts, on_store=on_store) as assoc:
                answers = [status.get("Status") for status, _ in assoc.send_c_get(request, GET)]
        except ArchiveUnavailable as error:
            return str(error)
        if not answers or answers[-1] is None:
            return "the association was lost"
    return trouble[0] if trouble else ""
