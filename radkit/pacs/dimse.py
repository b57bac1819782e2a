"""DICOM associations as a client: C-ECHO, C-STORE, C-FIND, C-GET, C-MOVE, storage commitment (PS3.7) by pynetdicom."""

from __future__ import annotations

import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.uid import UID

from .._optional import optional
from ..errors import ArchiveError, ArchiveUnavailable
from .instances import Instance, Refusal
from .limits import MOST_ANSWERS, PDU, guard, message_ended

ECHO = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve, PS3.4 annex C
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # explicit and implicit VR, little endian
PENDING = (0xFF00, 0xFF01)
GET = "1.2.840.10008.5.1.4.1.2.2.3"
CONTEXTS = 120  # of the 128 presentation contexts that an association can carry
Syntaxes: TypeAlias = "tuple[str, ...]"  # of one presentation context: the peer picks one
# Why an association was rejected, by source and reason (PS3.8, table 9-21).
_REJECTED = {
    (1, 3): "does not know the AE title {0.caller}: have it entered there",
    (1, 7): "does not go by the AE title {0.ae_title}",
    (3, 1): "has too many associations open: try again later",
    (3, 2): "has too many associations open: try again later",
}

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


def guards() -> list[tuple[Any, Callable[[Any], None]]]:
    """Return what watches over every association: see :mod:`radkit.pacs.limits`."""
    evt = optional("pynetdicom").evt
    return [(evt.EVT_CONN_OPEN, guard), (evt.EVT_DIMSE_RECV, message_ended)]


class Unsupported(ArchiveError):
    """The peer answers, and offers nothing of what it was asked for."""


class _Checkpoint(threading.Event):
    """Where pynetdicom's own thread is to stop while we wait for an answer; once cleared, it takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.taking = threading.Lock()
        self.set()

    def clear(self) -> None:
        """Wait until that thread has taken what it was about to take, and let it take no more."""
        with self.taking:
            super().clear()


def _leave_answers(event: Any) -> None:
    """Keep pynetdicom's own thread from the answers that we wait for (EVT_CONN_OPEN): by its private names.

    By itself it may just have passed its checkpoint, seem to stand there, and take our answer off the queue when it
    goes on: the answer is lost, and the association with it once the time is up.
    """
    provider, checkpoint = event.assoc.dimse, _Checkpoint()
    take = provider.get_msg

    def get_msg(block: bool = False) -> Any:
        if block:  # it is we who ask
            return take(block=True)
        with checkpoint.taking:
            return take() if checkpoint.is_set() else (None, None)

    event.assoc._reactor_checkpoint, provider.get_msg = checkpoint, get_msg


@contextmanager
def associate(
    peer: Peer,
    contexts: Iterable[tuple[str, Syntaxes | str | None]],
    *,
    handlers: Mapping[Any, Callable[[Any], Any]] | None = None,
    taking: bool = False,
) -> Iterator[Any]:
    """Open an association with one presentation context for each (SOP class, transfer syntaxes), and release it.

    With ``taking``, the storage classes among them are those that *we* take, as C-GET wants it.
    """
    pynetdicom = optional("pynetdicom")
    ae = pynetdicom.AE(peer.caller)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = peer.timeout
    asked = [
        pynetdicom.build_context(sop_class, list(syntaxes) if isinstance(syntaxes, tuple) else syntaxes)
        for sop_class, syntaxes in contexts
    ]
    ours = dict.fromkeys(context.abstract_syntax for context in asked[1:]) if taking else ()
    begun, evt = list[Any](), pynetdicom.evt
    own = [(evt.EVT_REQUESTED, lambda event: begun.append(event.assoc)), (evt.EVT_CONN_OPEN, _leave_answers)]
    try:
        assoc = ae.associate(
            peer.host,
            peer.port,
            asked,
            ae_title=peer.ae_title,
            ext_neg=[pynetdicom.build_role(sop_class, scp_role=True) for sop_class in ours],
            evt_handlers=[*guards(), *own, *(handlers or {}).items()],
            max_pdu=PDU,
            tls_args=(peer.tls, peer.host) if peer.tls else None,
        )
    except OSError as error:
        raise ArchiveUnavailable(f"{peer.host} cannot be called ({error.strerror}): is that its name?") from error
    except BaseException:  # interrupted while the peer is silent: a thread would wait for ever, and Python's end for it
        for one in begun:
            one.abort(block=False)
        raise
    if not assoc.is_established or (taking and asked[0].abstract_syntax not in _accepted(assoc)):
        raise _why_not(assoc, peer)
    try:
        assoc.dul.socket.socket.settimeout(peer.timeout)  # a peer may also stop reading
        yield assoc
        if assoc.is_established:
            assoc.release()
    except (AttributeError, RuntimeError) as error:  # pynetdicom's words for a peer that accepted and is gone
        if assoc.dul.socket.socket:
            raise
        raise ArchiveUnavailable(f"{peer.ae_title} at {peer.host}:{peer.port} broke the association off") from error
    finally:
        if assoc.is_established:
            assoc.abort()


def _accepted(assoc: Any) -> dict[str, dict[str, int]]:
    """Return the presentation contexts of an association: SOP class, then transfer syntax, then context ID."""
    found: dict[str, dict[str, int]] = {}
    for context in assoc.accepted_contexts:
        found.setdefault(context.abstract_syntax, {})[context.transfer_syntax[0]] = context.context_id
    return found


def _why_not(assoc: Any, peer: Peer) -> ArchiveError:
    """Say why there is no association, and take care that there is none."""
    # pynetdicom takes a peer that rejected us and was gone at once for one that never answered, and leaves its answer.
    answer = assoc.acceptor.primitive
    rejection = answer if assoc.is_rejected else assoc.dul.receive_pdu()
    if assoc.is_established:
        assoc.release()
    if getattr(rejection, "result", None):
        known = _REJECTED.get((rejection.result_source, rejection.diagnostic), "rejected it: does it know {0.caller}?")
        reason = "refused the association: it " + known.format(peer)
    elif assoc.rejected_contexts:
        asked = UID(assoc.rejected_contexts[0].abstract_syntax).name
        return Unsupported(f"{peer.ae_title} at {peer.host}:{peer.port} does not offer {asked}")
    else:
        reason = "broke the association off" if answer else "does not answer: does it run?"
    return ArchiveUnavailable(f"{peer.ae_title} at {peer.host}:{peer.port} {reason}")


def echo(peer: Peer) -> bool:
    """Whether the peer answers a C-ECHO."""
    try:
        with associate(peer, [(ECHO, None)]) as assoc:
            return assoc.send_c_echo().get("Status") == 0
    except ArchiveError:
        return False


def store(peer: Peer, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
    """Send each instance by C-STORE; return why some did not arrive, by SOP Instance UID.

    An instance goes with the bytes of its file; decompressed, or with explicit for implicit VR and the reverse, only to
    a peer that does not take it as it is.
    """
    failed: dict[str, str] = {}
    for batch in batches([(item.uid, (item.sop_class, (item.syntax,))) for item in items], CONTEXTS // 2):
        todo = [item for item in items if item.uid in batch]
        contexts = dict.fromkeys((*batch.values(), *((sop_class, UNCOMPRESSED) for sop_class, _ in batch.values())))
        try:
            with associate(peer, contexts) as assoc, _held(assoc):
                for item in todo:
                    if reason := _store_one(assoc, item):
                        failed[item.uid] = reason
                    else:
                        tick()
        except ArchiveError as error:
            final = Refusal if isinstance(error, Unsupported) else str
            failed |= {item.uid: final(str(error)) for item in todo}
    return failed


@contextmanager
def _held(assoc: Any) -> Iterator[None]:
    """Keep pynetdicom's own thread waiting: by its private names.

    Its public ``send_c_store`` does so anew for each instance, and takes 2.6 s for what takes 1.7 s here (300 slices).
    """
    assoc._reactor_checkpoint.clear()
    while not assoc._is_paused:
        time.sleep(0.0001)
    try:
        yield
    finally:
        assoc._reactor_checkpoint.set()


def _store_one(assoc: Any, item: Instance) -> str:
    if not assoc.is_established:
        return "the association was lost"
    contexts = _accepted(assoc).get(item.sop_class, {})
    syntax = item.syntax if item.syntax in contexts else next((one for one in UNCOMPRESSED if one in contexts), "")
    if not syntax:
        name, encoding = UID(item.sop_class).name, UID(item.syntax).name
        return Refusal(f"the peer takes no {name}, neither as {encoding} nor uncompressed")
    try:
        body = _body(item, UID(syntax))
    except Exception as error:  # a broken data set, or no decoder for it here
        return Refusal(f"it cannot be encoded as {UID(syntax).name} ({type(error).__name__})")
    try:
        _request(assoc, contexts[syntax], item, body)
        _, answer = assoc.dimse.get_msg(block=True)
    except (OSError, AttributeError):  # pynetdicom puts None for a socket that is gone
        answer = None
    if (status := getattr(answer, "Status", None)) is None:  # also where the peer asks us something instead
        silent = assoc.is_established and not assoc.acse.is_aborted()
        if silent:
            assoc.abort()
        return "the peer did not answer" if silent else "the association was lost"
    words = {0xA7: "it is out of resources, such as space on its disk", 0x01: "it refused"}
    if not status or status >> 12 == 0xB:  # 0xB000 and on are warnings: stored (PS3.4, B.2.3)
        return ""
    reason = f"the peer answered 0x{status:04X} ({words.get(status >> 8, 'not stored')})"
    return reason if status >> 8 == 0xA7 else Refusal(reason)


def _body(item: Instance, syntax: UID) -> memoryview:
    """Return an instance's data set alone, encoded as ``syntax``: the file's own bytes where they are that already."""
    file = item.encoded()
    if syntax != item.syntax or file[128:136] != b"DICM\2\0\0\0":
        dataset = item.dataset()
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        encode = optional("pynetdicom.dsutils").encode
        return memoryview(encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated))
    return memoryview(file)[144 + int.from_bytes(file[140:144], "little") :]  # PS3.10, 7.1


def _request(assoc: Any, context: int, item: Instance, body: memoryview) -> None:
    """Write a C-STORE request (PS3.7, 9.3.1.1) to the wire, its data set undecoded and all its PDUs at once."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHL", 0, number, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)

    uids = [(0x0002, item.sop_class.encode()), (0x1000, item.uid.encode())]
    numbers = [(0x0100, 1), (0x0110, 1), (0x0700, 0), (0x0800, 1)]  # C-STORE, message 1, medium priority, a data set
    fields = sorted([*uids, *((number, struct.pack("<H", value)) for number, value in numbers)])
    command = b"".join(element(*field) for field in fields)
    command = element(0, struct.pack("<L", len(command))) + command
    room = (assoc.acceptor.maximum_length or PDU) - 6
    pdus: list[Any] = []
    for kind, data in ((1, memoryview(command)), (0, body)):
        for start in range(0, len(data), room):
            part, last = data[start : start + room], start + room >= len(data)
            # P-DATA-TF and the header of its one fragment (PS3.8, 9.3.5 and E.2)
            pdus += [struct.pack(">BxLLBB", 4, len(part) + 6, len(part) + 2, context, kind | last << 1), part]
    assoc.dul.socket.socket.sendall(b"".join(pdus))


def batches(pairs: list[tuple[str, tuple[str, Syntaxes]]], most: int) -> Iterator[dict[str, tuple[str, Syntaxes]]]:
    """Split instances so that no batch has more than ``most`` presentation contexts."""
    contexts = list(dict.fromkeys(context for _, context in pairs))
    for start in range(0, len(contexts), most):
        some = set(contexts[start : start + most])
        yield {uid: context for uid, context in pairs if context in some}


def identifier(keys: Mapping[str, str]) -> Dataset:
    """Return the data set that a query or retrieval sends along (PS3.4, C.4.1.1.3)."""
    dataset = Dataset()
    for keyword, value in keys.items():
        vr = dictionary_VR(keyword).split(" or ")[0]
        number = value and vr in ("US", "SS", "UL", "SL")
        dataset.add_new(keyword_dict[keyword], vr, int(value) if number else value or None)
    return dataset


def find(peer: Peer, level: str, *queries: Mapping[str, str]) -> list[Dataset]:
    """Ask by C-FIND, study root, all ``queries`` over one association."""
    head = {"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": _QUERY_LEVEL[level]}
    found = []
    with associate(peer, [(FIND, None)]) as assoc:
        for query in queries:
            request = identifier({**head, **dict.fromkeys(ANSWER[level].split(), ""), **query})
            for status, answer in assoc.send_c_find(request, FIND):
                if status.get("Status") is None:
                    raise ArchiveUnavailable(f"{peer.ae_title} did not finish its answer to the query.")
                if status.Status in PENDING:
                    found.append(answer)
                elif status.Status != 0:
                    raise ArchiveError(f"{peer.ae_title} did not finish the query (status 0x{status.Status:04X}).")
                if len(found) > MOST_ANSWERS:
                    raise ArchiveError(f"The archive gives more than {MOST_ANSWERS} answers: ask for less at once.")
    return named(level, found)


def named(level: str, found: list[Dataset]) -> list[Dataset]:
    """Return the answers to a query, each of which has to name what it stands for (PS3.4, C.4.1.1.3)."""
    uids = [key for key in ANSWER[level].split() if key.endswith("InstanceUID")]
    if any(not one or not all(one.get(key) for key in uids) for one in found):
        raise ArchiveError(f"Expected {' and '.join(uids)} in each answer to a query, got one without.")
    return found
