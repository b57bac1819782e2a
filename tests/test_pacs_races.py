"""Peers that are gone, silent or mad at the worst moment: each is made to be so, and is told in words."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Queue

import pytest
from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_ECHO
from test_pacs import KINDS, opened
from test_pacs_faults import place  # noqa: F401
from test_pacs_kills import small_study
from test_pacs_watch import report, states, studies, until, watched

import radkit as rk
from radkit.errors import ArchiveError, ArchiveUnavailable
from radkit.pacs import dimse, receiving, server
from radkit.pacs.instances import instances
from radkit.pacs.scp import Store
from radkit.pacs.transfer import Incoming
from radkit.pacs.watching import Study


@contextlib.contextmanager
def peer(timeout=5.0, **handlers):
    """A peer with handlers by the name of their event; yield how to call it."""
    ae = AE("PEER")
    ae.supported_contexts = AllStoragePresentationContexts[:100]
    for sop_class in (dimse.ECHO, dimse.FIND, receiving.COMMIT):
        ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
    events = [(getattr(evt, f"EVT_{name}"), handler) for name, handler in handlers.items()]
    listener = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=events)
    try:
        yield dimse.Peer("PEER", "127.0.0.1", listener.server_address[1], "RADKIT", timeout)
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
    code = """
import sys, radkit as rk
try:
    rk.pacs.open_archive(f"dicom://X@127.0.0.1:{sys.argv[1]}", timeout=600)
except KeyboardInterrupt:
    print("interrupted")
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-c", code, str(silent.getsockname()[1])]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # not this process: a lock might stay held
        try:
            with silent.accept()[0] as caller:
                caller.recv(1)  # it has asked, and now it waits
                time.sleep(0.3)
                child.send_signal(signal.SIGINT)
                assert child.communicate(timeout=120) == ("interrupted\n", None)  # Python's end waits for its threads
        finally:
            child.kill()


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


def test_of_two_senders_of_one_instance_one_wins(tmp_path, monkeypatch):
    _, (first, second) = small_study(2)
    second.SOPInstanceUID, second.StudyInstanceUID = first.SOPInstanceUID, "1.2.3"
    data, answers, fsync = [one.encoded() for one in instances([first]) + instances([second])], [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: time.sleep(0.2) or fsync(file))  # while the other one comes
    store = Store(tmp_path, 10**6)
    add = lambda one: answers.append(store.add(str(first.SOPInstanceUID), one))  # noqa: E731
    threads = [threading.Thread(target=add, args=(one,)) for one in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (kept,) = tmp_path.iterdir()
    assert sorted(answers) == [0, 0xA900] and store.room == 10**6 - len(kept.read_bytes())


@pytest.mark.slow
def test_two_archives_told_the_same_port_at_once_do_not_become_one(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(server, "_taken", lambda port: False)  # as both find before either listens
    with rk.pacs.open_archive("embedded", dicom_port=port), pytest.raises(ArchiveUnavailable, match="ended at its"):
        rk.pacs.open_archive("embedded", dicom_port=port)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_that_ends_leaves_the_archive_alone():
    code = """
import os, radkit as rk
archive = rk.pacs.open_archive("embedded")
if not os.fork():
    raise SystemExit  # at which Python ends what the parent has begun
os.wait()
assert archive.echo() and archive.server.home.folder.exists()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_an_archive_that_finds_its_folder_in_use_leaves_no_password_there(place):  # noqa: F811
    with opened("orthanc", folder=place):
        before = set(place.iterdir())
        with pytest.raises(ArchiveUnavailable, match="in use by another archive"):
            opened("orthanc", folder=place)
        assert set(place.iterdir()) == before


@pytest.mark.slow
def test_two_senders_of_one_study_do_not_refuse_each_other(monkeypatch):
    _, made = small_study(3)
    with opened("orthanc") as archive:
        store = archive._store

        def late(items, tick):  # the other one sends it all between our question and our answer
            monkeypatch.setattr(archive, "_store", store)
            archive.send(made)
            return store(items, tick)

        monkeypatch.setattr(archive, "_store", late)
        assert len(archive.send(made, retries=0)) == 3


def test_two_fetches_into_one_folder_help_each_other(tmp_path, monkeypatch):
    _, made = small_study(1)
    ours, theirs = (Incoming({}, tmp_path, lambda: None) for _ in range(2))
    ours.located = theirs.located = {made[0].SOPInstanceUID: None}
    data, write = instances(made)[0].encoded(), Path.write_bytes

    def late(self, data):  # the other one writes the same file just now
        monkeypatch.setattr(Path, "write_bytes", write)
        write(self, data)
        theirs.keep(made[0].SOPInstanceUID, data)

    monkeypatch.setattr(Path, "write_bytes", late)
    gone = ours.failed("the peer was gone")
    ours.keep(made[0].SOPInstanceUID, data)
    assert ours.everything() == theirs.everything() == list(tmp_path.iterdir())
    ours.got.clear()
    assert gone.missing == ours.failed("the peer was gone").missing == (made[0].SOPInstanceUID,)


@pytest.mark.slow
def test_a_watcher_outlives_mad_answers_and_a_failure_that_passes_and_clears_up(tmp_path, monkeypatch):
    (uid,), images = studies(1)
    (tmp_path / "1.2.3" / "output").mkdir(parents=True)
    with opened("embedded") as archive:
        watcher = watched(archive, report, tmp_path)
        watcher._set(Study("1.2.3", state="stored"))  # and killed at once
        ask, locate, trouble = archive.find, archive._locate, []
        monkeypatch.setattr(archive, "find", lambda *level, **keys: [1] if level == ("study",) else ask(*level, **keys))

        def stumble(query):
            if "SeriesInstanceUID" in query:
                monkeypatch.setattr(archive, "_locate", locate)
                trouble.append(query)
                raise ArchiveError("did not finish the query (status 0xA700).")
            return locate(query)

        archive.send(images, progress=False)
        with watcher:
            until(lambda: "AttributeError" in repr(watcher))
            monkeypatch.setattr(archive, "_locate", stumble)
            monkeypatch.setattr(archive, "find", ask)
            watcher.wait(2, timeout=30)
        assert trouble and states(watcher) == {uid: "stored", "1.2.3": "stored"}
    assert {path.name for path in tmp_path.iterdir()} == {"in-use", "journal.sqlite"}


def test_who_stays_on_the_line_is_hung_up_on():
    def waited_for():  # by Python, at its end
        return sum(not thread.daemon for thread in threading.enumerate())

    before, us = waited_for(), dimse.Peer("PEER", "127.0.0.1", 104, "RADKIT", 30)
    with contextlib.ExitStack() as line:
        with receiving.listen(us, 0, {}) as where:
            line.enter_context(socket.create_connection(where))
            until(lambda: waited_for() > before)
        until(lambda: waited_for() <= before, 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_while_an_archive_starts_leaves_nothing(kind, place, monkeypatch):  # noqa: F811
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(place)
    monkeypatch.setattr(server.Server, "alive", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:  # as a notebook keeps the traceback
        opened(kind)
    assert kept and not list(place.glob(".radkit/archive/*"))


def test_an_archive_that_cannot_have_tls_leaves_no_folder(place, monkeypatch):  # noqa: F811
    monkeypatch.chdir(place)
    monkeypatch.setattr("radkit.pacs.tls.shutil.which", lambda _: None)
    with pytest.raises(ArchiveUnavailable, match="needs the program openssl"):
        opened("embedded", tls=True)
    assert not list(place.glob(".radkit/archive/*"))
