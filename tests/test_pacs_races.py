"""Peers that are gone, silent or mad at the worst moment: each is made to be so, and is told in words."""

import contextlib
import os
import signal
import socket
import threading
import time
from queue import Queue

import pytest
from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_ECHO
from test_pacs_kills import small_study

import radkit as rk
from radkit.errors import ArchiveError, ArchiveUnavailable
from radkit.pacs import dimse, receiving
from radkit.pacs.instances import instances


@contextlib.contextmanager
def peer(timeout=5.0, **handlers):
    """A peer with handlers by the name of their event; yield how to call it."""
    ae = AE("PEER")
    ae.supported_contexts = AllStoragePresentationContexts[:100]
    for sop_class in (dimse.ECHO, dimse.FIND, receiving.COMMIT):
        ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
    events = [(getattr(evt, f"EVT_{name}"), handler) for name, handler in handlers.items()]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=events)
    try:
        yield dimse.Peer("PEER", "127.0.0.1", server.server_address[1], "RADKIT", timeout)
    finally:
        ae.shutdown()


def test_a_peer_that_accepts_and_is_gone_is_told():
    wait = {evt.EVT_ACCEPTED: lambda _: time.sleep(0.5)}

    def leave(event):
        time.sleep(0.1)  # until the acceptance has left
        event.assoc.abort()

    with (
        peer(ESTABLISHED=leave) as gone,
        pytest.raises(ArchiveUnavailable, match="broke the association off"),
        dimse.associate(gone, [(dimse.ECHO, None)], handlers=wait),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="interrupts by a POSIX signal")
def test_an_interrupt_while_a_peer_is_silent_leaves_no_thread():
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            rk.pacs.open_archive(f"dicom://X@127.0.0.1:{silent.getsockname()[1]}", timeout=30)
        deadline = time.monotonic() + 10
        while threading.active_count() > before:
            assert time.monotonic() < deadline, threading.enumerate()
            time.sleep(0.05)


def test_a_host_that_is_none_is_told():
    with pytest.raises(ArchiveUnavailable, match="cannot be called"):
        rk.pacs.open_archive("dicom://X@no-such-host.invalid:104")


def test_a_question_is_no_answer_to_a_store():
    def ask(event):
        question = C_ECHO()
        question.MessageID, question.AffectedSOPClassUID = 7, dimse.ECHO
        event.assoc.dimse.send_msg(question, event.context.context_id)
        return 0xC000

    _, made = small_study(2)
    with peer(C_STORE=ask) as mad:
        assert set(dimse.store(mad, instances(made), lambda: None)) == {one.SOPInstanceUID for one in made}


def test_an_answer_that_names_nothing_is_told():
    answer = Dataset()
    answer.QueryRetrieveLevel = "SERIES"
    with peer(C_FIND=lambda _: iter([(0xFF00, answer)])) as mad:
        archive = rk.pacs.open_archive(f"dicom://PEER@127.0.0.1:{mad.port}")
        with pytest.raises(ArchiveError, match="Expected StudyInstanceUID"):
            archive.fetch(study="1.2.3", retries=0)


def test_the_answer_to_a_report_leaves_before_the_association_is_released(monkeypatch):
    class Slow(Queue):
        def put(self, one):
            super().put(one)
            time.sleep(0.3)  # while we could release already

    def on_action(event):
        report = Dataset()
        report.TransactionUID = event.action_information.TransactionUID
        report.ReferencedSOPSequence = event.action_information.ReferencedSOPSequence
        what = (report, 1, receiving.COMMIT, receiving.COMMIT_INSTANCE)
        threading.Timer(0.2, lambda: answers.append(event.assoc.send_n_event_report(*what)[0])).start()
        return 0x0000, None

    answers = []
    monkeypatch.setattr(receiving, "Queue", Slow)
    with peer(N_ACTION=on_action) as archive:
        assert receiving.commit(archive, {"1.2.3": "1.2.840.10008.5.1.4.1.1.2"})["committed"] == ["1.2.3"]
        deadline = time.monotonic() + 10
        while not answers and time.monotonic() < deadline:
            time.sleep(0.05)
    assert [answer.get("Status") for answer in answers] == [0]
