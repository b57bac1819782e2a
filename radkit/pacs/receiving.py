"""What a DICOM peer sends us because we asked: C-GET, C-MOVE, and its word that it keeps what we sent (commitment)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from queue import Empty, Queue
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid

from .._optional import optional
from ..errors import ArchiveError, ArchiveUnavailable, TransferError
from .dimse import CONTEXTS, GET, UNCOMPRESSED, Peer, Syntaxes, Unsupported, associate, batches, guards, identifier
from .limits import PDU

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"  # Study Root, PS3.4 annex C
COMMIT, COMMIT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"  # PS3.4, annex J
_VIDEO = ("1.2.840.10008.1.2.4.1", "1.2.840.10008.1.2.7", "1.2.840.10008.1.2.8")  # too many to offer them all


def retrieve(
    peer: Peer,
    wanted: Mapping[str, tuple[str, str]],
    parents: Mapping[str, str],
    keep: Callable[[str, bytes], None],
    *,
    port: int = 0,
) -> str:
    """Get instances of one series by C-GET, or by C-MOVE to our ``port`` from a peer that does not offer C-GET.

    ``wanted`` has their SOP classes and transfer syntaxes ("" where the archive does not tell), since a C-GET names
    both beforehand; ``parents`` has the UIDs of their study and series. Returns why it stopped early, or nothing.
    """
    pynetdicom, trouble, lock = optional("pynetdicom"), [], threading.Lock()

    def on_store(event: Any) -> int:
        try:
            with lock:
                keep(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())
        except ArchiveError as error:
            trouble.append(str(error))
            return 0xA700
        return 0x0000

    handlers = {pynetdicom.evt.EVT_C_STORE: on_store}
    compressed = [(one,) for one in pynetdicom.ALL_TRANSFER_SYNTAXES[2:] if not one.startswith(_VIDEO)]
    pairs: list[tuple[str, tuple[str, Syntaxes]]]
    pairs = [(uid, (sop_class, (syntax,) if syntax else ())) for uid, (sop_class, syntax) in wanted.items()]
    for batch in batches(pairs, CONTEXTS if all(syntax for _, syntax in wanted.values()) else CONTEXTS // 25):
        request = identifier({"QueryRetrieveLevel": "IMAGE", **parents, "SOPInstanceUID": "\\".join(batch)})
        contexts: list[tuple[str, Syntaxes | None]] = [(GET, None)]
        for sop_class, syntaxes in dict.fromkeys(batch.values()):
            if not sop_class:  # not told either: the commonest are offered, uncompressed
                common = pynetdicom.StoragePresentationContexts[:CONTEXTS]
                contexts = [(GET, None), *((one.abstract_syntax, UNCOMPRESSED) for one in common)]
                break
            contexts += [(sop_class, one) for one in ([syntaxes] if syntaxes else [UNCOMPRESSED, *compressed])]
        try:
            try:
                with associate(peer, contexts, handlers=handlers, taking=True) as assoc:
                    answers = [status.get("Status") for status, _ in assoc.send_c_get(request, GET)]
            except Unsupported as error:
                if not port:
                    how = f"open it with dicom_port=, where it knows {peer.caller} to listen, and it can send by C-MOVE"
                    raise ArchiveError(f"{error}; {how}") from None
                with listen(peer, port, handlers), associate(peer, [(MOVE, None)]) as assoc:
                    answers = [status.get("Status") for status, _ in assoc.send_c_move(request, peer.caller, MOVE)]
        except ArchiveUnavailable as error:
            return str(error)
        if trouble or (reason := _ended(peer, peer.caller, answers)):
            return trouble[0] if trouble else reason
    return ""


def _ended(peer: Peer, to: str, answers: list[int | None]) -> str:
    """Say how a retrieval ended, by its last status (PS3.4, tables C.4-2 and C.4-3); nothing if it ran to its end."""
    if not answers or (last := answers[-1]) is None:
        return "the association was lost"
    if last == 0xA801:
        return f"{peer.ae_title} does not know where {to} listens: enter its AE title, host and port there"
    return "" if last in (0x0000, 0xB000) else f"{peer.ae_title} ended the retrieval with 0x{last:04X}"


def move(peer: Peer, study: str, to: str, expected: tuple[str, ...]) -> int:
    """Let the peer send a study to an AE title that it knows; return how many instances arrived: all ``expected``."""
    request = identifier({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study})
    with associate(peer, [(MOVE, None)]) as assoc:
        answers = [status for status, _ in assoc.send_c_move(request, to, MOVE)]
    reason = _ended(peer, to, [status.get("Status") for status in answers])
    last = answers[-1] if answers else Dataset()
    done = (last.get("NumberOfCompletedSuboperations") or 0) + (last.get("NumberOfWarningSuboperations") or 0)
    failed = last.get("NumberOfFailedSuboperations") or 0
    if reason or failed or done < len(expected):
        reason = reason or f"{failed} of its C-STOREs failed"
        raise TransferError(f"{done} of {len(expected)} instances arrived at {to}: {reason}.", missing=expected)
    return done


@contextmanager
def listen(peer: Peer, port: int, handlers: Mapping[Any, Callable[[Any], Any]]) -> Iterator[tuple[str, int]]:
    """Take what ``peer`` alone sends to us, at the address that faces it; yield the address and port."""
    pynetdicom = optional("pynetdicom")
    if peer.tls:
        raise ArchiveError(f"{peer.ae_title} would send it unencrypted, to a port of ours: by TLS, only C-GET is used")
    ae = pynetdicom.AE(peer.caller)
    ae.network_timeout, ae.maximum_pdu_size = peer.timeout, PDU
    ae.require_called_aet, ae.require_calling_aet = True, [peer.ae_title]
    for context in pynetdicom.AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, pynetdicom.ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(COMMIT, scu_role=True, scp_role=True)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((peer.host, peer.port))  # sends nothing: it asks our own system for the way
            address = probe.getsockname()[0]
        events = [*guards(), *handlers.items()]
        server = ae.start_server((address, port), block=False, evt_handlers=events)
    except OSError as error:
        raise ArchiveUnavailable(f"Port {port} cannot be listened on ({error.strerror}): is it in use?") from error
    try:
        yield server.server_address[:2]
    finally:
        server.shutdown()
        for caller in server.active_associations:  # whoever stays on the line; Python's end would wait for him
            caller.dul.socket._shutdown_socket()


def commit(
    peer: Peer,
    classes: Mapping[str, str],
    *,
    port: int = 0,
    announce: Callable[[tuple[str, int]], object] | None = None,
) -> dict[str, Any]:
    """Ask for storage commitment (PS3.4, annex J) of instances, given with their SOP classes; wait for the report.

    It comes over the same association or to our ``port``; ``announce`` tells the peer which that is.
    """
    pynetdicom, reports = optional("pynetdicom"), Queue()  # type: ignore[var-annotated]
    request = Dataset()
    request.TransactionUID, request.ReferencedSOPSequence = generate_uid(), []
    for uid, sop_class in classes.items():
        item = identifier({"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": uid})
        request.ReferencedSOPSequence.append(item)

    def on_report(event: Any) -> tuple[int, None]:
        if event.event_information.get("TransactionUID") == request.TransactionUID:
            reports.put((event.event_information, threading.current_thread()))
        return 0x0000, None

    handlers = {pynetdicom.evt.EVT_N_EVENT_REPORT: on_report}
    with ExitStack() as stack:
        if port or announce:
            address = stack.enter_context(listen(peer, port, handlers))
            if announce:
                announce(address)
        assoc = stack.enter_context(associate(peer, [(COMMIT, None)], handlers=handlers))
        status, _ = assoc.send_n_action(request, 1, COMMIT, COMMIT_INSTANCE)
        if (code := status.get("Status")) != 0:
            how = "did not answer" if code is None else f"refused (0x{code:04X})"
            raise ArchiveError(f"{peer.ae_title} {how} the request for storage commitment.")
        try:
            report, thread = reports.get(timeout=peer.timeout)
            thread.join(peer.timeout)  # what it answers has to leave before our wish to end the association
        except Empty:
            where = f"Does it know where {peer.caller} listens (dicom_port)?"
            raise ArchiveError(f"No report of storage commitment within {peer.timeout:g} s. {where}") from None
    words, failed = {0x0112: "the archive does not hold it", 0x0119: "the archive holds it as another SOP class"}, {}
    for one in report.get("FailedSOPSequence", []):
        why = one.get("FailureReason", 0)
        failed[str(one.ReferencedSOPInstanceUID)] = words.get(why, f"reason 0x{why:04X} (PS3.3, C.14.1.1)")
    kept = [str(one.ReferencedSOPInstanceUID) for one in report.get("ReferencedSOPSequence", [])]
    return {"committed": kept, "failed": failed}
