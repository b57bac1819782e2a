"""What goes wrong around an archive: each fault is made for real, and nothing is lost or left behind."""

import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread
from test_pacs import KINDS, copies, need, opened  # noqa: F401  (copies is a fixture)

import radkit as rk
from radkit.errors import ArchiveError, ArchiveUnavailable, DicomError, TransferError
from radkit.pacs import dimse, server
from radkit.pacs.instances import Instance
from radkit.pacs.scp import Store

pytestmark = [
    pytest.mark.slow,  # together too long for `make check`
    pytest.mark.skipif(os.name != "posix", reason="the faults are made with POSIX signals"),
]

OPEN = """
import os, sys, time
import radkit as rk
archive = rk.pacs.open_archive(sys.argv[1])
print(archive.server.pid, archive.server.supervisor, archive.server.home.folder, flush=True)
"""


@pytest.fixture
def place():
    """A folder that other accounts can enter: a server that root starts does not run as root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def interrupt(monkeypatch, method, at, action):
    """Do ``action`` when the ``at``-th instance is being read for sending."""
    calls, real = [], getattr(Instance, method)

    def counted(self):
        calls.append(self)
        if len(calls) == at:
            action()
        return real(self)

    monkeypatch.setattr(Instance, method, counted)


def kill(archive):
    os.kill(archive.server.pid, signal.SIGKILL)
    until(lambda: not archive.server.alive())


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_killed_in_mid_transfer_loses_nothing(kind, small_ct, place, monkeypatch):
    wanted = {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in small_ct.files}
    with opened(kind, folder=place) as archive, monkeypatch.context() as patch:
        interrupt(patch, "encoded", 9, lambda: kill(archive))
        with pytest.raises(TransferError, match=rf"\d+ of {len(wanted)} instances arrived") as caught:
            archive.send(small_ct.files, retries=0, progress=False)
        missing = set(caught.value.missing)
        assert missing and missing < wanted and f"{len(wanted) - len(missing)} of" in str(caught.value)
        with pytest.raises(ArchiveUnavailable):
            archive.find()
    with opened(kind, folder=place) as archive:
        before = {str(one.SOPInstanceUID) for one in archive.find("instance")}
        assert wanted - missing <= before  # what was said to have arrived has survived the kill
        archive.send(small_ct.files, progress=False)
        after = [str(one.SOPInstanceUID) for one in archive.find("instance")]
        assert sorted(after) == sorted(wanted)  # every instance, and each once
        fetched = archive.fetch(study=dcmread(small_ct.files[0]).StudyInstanceUID, progress=False)
        assert fetched == [dcmread(file) for file in small_ct.files]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_killed_while_it_gives_back_says_what_is_missing(kind, copies, tmp_path):  # noqa: F811
    uid, files = copies(3)
    with opened(kind) as archive:
        archive.send(files)
        located = archive._locate({"StudyInstanceUID": uid})
        archive._locate = lambda query: [kill(archive), located][1]
        with pytest.raises(TransferError, match="0 of 3 instances came back") as caught:
            archive.fetch(study=uid, folder=tmp_path / "back", retries=0)
        assert len(caught.value.missing) == 3
        assert not list(tmp_path.glob("back/*"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_hangs_is_given_up_after_its_timeout(kind, copies):  # noqa: F811
    _, files = copies(3)
    with opened(kind) as archive:
        archive.timeout = 0.5
        archive._peer = dimse.Peer(archive.ae_title, archive.host, archive.dicom_port, "RADKIT", 0.5)
        os.kill(archive.server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TransferError, match="0 of 3") as caught:
                archive.send(files, retries=0)
            assert len(caught.value.missing) == 3
        finally:
            os.kill(archive.server.pid, signal.SIGCONT)


ENDS = [("orthanc", end) for end in ("kill", "exit", "kill with a worker left", "terminate", "supervisor")]


@pytest.mark.parametrize("kind, end", [*ENDS, ("embedded", "kill"), ("embedded", "supervisor")])
def test_no_process_and_no_file_outlives_its_notebook(kind, end, tmp_path):
    need(kind)
    worker = "os.fork() or (time.sleep(150), os._exit(0))\n" if "worker" in end else ""
    code = OPEN + worker + ("" if end == "exit" else "time.sleep(300)")
    notebook = subprocess.Popen([sys.executable, "-c", code, kind], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        pid, supervisor, folder = notebook.stdout.readline().split()
        assert Path(folder).is_relative_to(tmp_path) or os.geteuid() == 0
        if end == "supervisor":
            os.kill(int(supervisor), signal.SIGKILL)
            until(lambda: gone(pid))
            notebook.terminate()
            return shutil.rmtree(folder)  # nobody else is left to remove it
        if end != "exit":
            notebook.send_signal(signal.SIGTERM if end == "terminate" else signal.SIGKILL)
        until(lambda: gone(pid) and gone(supervisor) and not Path(folder).exists())
    finally:
        notebook.kill()
        notebook.wait()
        notebook.stdout.close()


def test_interrupting_a_cell_does_not_stop_the_archive(tmp_path):
    wait = "try:\n    print(flush=True)\n    time.sleep(600)\n"
    code = OPEN + wait + "except KeyboardInterrupt:\n    print(len(archive.find()), flush=True)"
    notebook = subprocess.Popen(
        [sys.executable, "-c", code, "embedded"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    assert notebook.stdout.readline() and notebook.stdout.readline()
    time.sleep(0.5)  # it sleeps now: an interrupt that came while Python tidies up would be swallowed
    for _ in range(4):
        os.killpg(notebook.pid, signal.SIGINT)  # what Jupyter does: the whole process group
        with suppress(subprocess.TimeoutExpired):  # swallowed all the same, on a busy machine: pressed again
            assert notebook.communicate(timeout=60)[0].strip() == "0"
            return
    raise AssertionError("The interrupted cell did not end.")


@pytest.mark.parametrize("kind", KINDS)
def test_closing_leaves_nothing_and_can_be_done_twice(kind):
    archive = opened(kind)
    home = archive.server.home
    archive.close()
    archive.close()
    assert gone(archive.server.pid) and not Path(f"/proc/{archive.server.supervisor}").exists()
    assert not home.folder.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_in_use_is_named(kind):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ArchiveUnavailable, match=f"Port {port} is in use"):
            opened(kind, dicom_port=port)


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_taken_between_choosing_and_binding_is_replaced(kind, monkeypatch):
    choose, given = server._free_ports, []
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()

        def unlucky(wanted):
            given.append((*choose(wanted)[:-1], other.getsockname()[1]) if not given else choose(wanted))
            return given[-1]

        monkeypatch.setattr(server, "_free_ports", unlucky)
        with opened(kind) as archive:
            assert archive.find() == [] and len(given) == 2


def test_orthanc_that_ends_at_its_start_is_quoted(place):
    store = place / "orthanc"
    store.mkdir()
    (store / "index").write_text("this is no database")
    if os.geteuid() == 0:
        os.chown(store / "index", *server._unprivileged())
    with pytest.raises(ArchiveUnavailable, match=r"(?s)ended at its start.*end of its log.*[Ss][Qq][Ll]ite|database"):
        opened("orthanc", folder=place)


@pytest.mark.parametrize("kind", KINDS)
def test_two_archives_do_not_share_a_folder(kind, place):
    with opened(kind, folder=place) as first:
        with pytest.raises(ArchiveUnavailable, match="in use by another archive"):
            opened(kind, folder=place)
        assert first.find() == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveUnavailable, match=r"cannot|none.*open_archive\(folder"):
        rk.pacs.open_archive("embedded", folder=tmp_path / "file" / "store")


@pytest.fixture
def mount(place):
    """Return a function that mounts a small file system, as only root can."""
    mounted = []

    def mount(options):
        (place / "mounted").mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place / "mounted"], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a file system needs root")
        mounted.append(place / "mounted")
        return mounted[-1]

    yield mount
    for one in mounted:
        subprocess.run(["umount", "-l", one], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_and_the_archive_goes_on(kind, mount, small_ct):
    disk = mount("size=512k,mode=755")
    with opened(kind, folder=disk) as archive:
        with pytest.raises(TransferError, match=rf"\d+ of {len(small_ct.files)} instances arrived") as caught:
            archive.send(small_ct.files, retries=0, progress=False)
        held = {str(one.SOPInstanceUID) for one in archive.find("instance")}
        assert held and not held & set(caught.value.missing)
        assert len(held) + len(caught.value.missing) == len(small_ct.files)
        assert not list(disk.rglob("*.part"))


def test_a_read_only_disk_is_told(mount):
    with pytest.raises(ArchiveUnavailable, match="Read-only"):
        rk.pacs.open_archive("embedded", folder=mount("ro") / "store")


def test_an_address_where_no_orthanc_is_is_told(monkeypatch):
    monkeypatch.setenv("ORTHANC_URL", "http://127.0.0.1:9")
    with pytest.raises(ArchiveUnavailable, match="does not answer"):
        rk.pacs.open_archive("orthanc")
    monkeypatch.setenv("ORTHANC_URL", "127.0.0.1:8042")
    with pytest.raises(ArchiveUnavailable, match="ORTHANC_URL like"):
        rk.pacs.open_archive("orthanc")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever).start()
        monkeypatch.setenv("ORTHANC_URL", f"http://me:secret@127.0.0.1:{other.server_port}")
        with pytest.raises(ArchiveUnavailable, match="Expected Orthanc"):
            rk.pacs.open_archive("orthanc")
        other.shutdown()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_name_from_the_network_never_becomes_a_path(small_ct, place):
    folder = place / "deep" / "store"
    evil = dcmread(small_ct.files[0])
    with opened("embedded", folder=folder) as archive:
        for name in ("../../evil", "/tmp/evil", "1.2/../../evil"):
            evil.SOPInstanceUID = name
            with pytest.raises(DicomError, match="SOPInstanceUID"):
                archive.send(evil)
            with dimse.associate(archive._peer, [(evil.SOPClassUID, evil.file_meta.TransferSyntaxUID)]) as assoc:
                assert assoc.send_c_store(evil).get("Status") != 0  # past our own check, as a stranger would
        evil.SOPInstanceUID, evil.StudyInstanceUID = "1.2.3.4", "../5"
        with pytest.raises(TransferError, match="0 of 1"):
            archive.send(evil)
        assert archive.find("instance") == []
        assert not list(place.rglob("*evil*")) and not list(folder.rglob("*.dcm"))


def test_the_embedded_archive_starts_over_what_a_crash_left(small_ct, tmp_path):
    whole = dcmread(small_ct.files[0])
    (tmp_path / f"{whole.SOPInstanceUID}.dcm").write_bytes(small_ct.files[0].read_bytes())
    (tmp_path / "1.2.3.dcm").write_bytes(b"half")
    (tmp_path / "x.part").write_bytes(b"half")
    store = Store(tmp_path)
    assert list(store.headers) == [whole.SOPInstanceUID] and not (tmp_path / "x.part").exists()


def test_a_folder_to_fetch_into_that_cannot_be_written_is_told(copies, tmp_path):  # noqa: F811
    uid, files = copies(1)
    (tmp_path / "file").touch()
    for kind in KINDS:
        with opened(kind) as archive:
            archive.send(files)
            with pytest.raises(ArchiveError, match="cannot be written"):
                archive.fetch(study=uid, folder=tmp_path / "file" / "x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_transfer_goes_on_when_a_full_disk_has_room_again(kind, mount, small_ct):
    disk = mount("size=512k,mode=755")
    with opened(kind, folder=disk) as archive:
        room = threading.Timer(1, subprocess.run, (["mount", "-o", "remount,size=64m", disk],))
        room.start()
        archive.send(small_ct.files, retries=8, progress=False)
        room.join()
        assert len(archive.find("instance")) == len(small_ct.files)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_missing_is_sent_and_fetched(kind, copies, tmp_path, monkeypatch):  # noqa: F811
    uid, files = copies(4)
    with opened(kind) as archive:
        archive.send(files[:3])
        sent, store = [], archive._store
        monkeypatch.setattr(archive, "_store", lambda items, tick: sent.extend(items) or store(items, tick))
        archive.send(files)
        assert [one.source for one in sent] == files[3:]
        first = archive.fetch(study=uid, folder=tmp_path / "back")
        first[0].write_bytes(first[0].read_bytes()[:-100])  # cut short
        first[1].unlink()
        first[2].write_bytes(first[3].read_bytes())  # another instance under this name
        asked, retrieve = [], archive._retrieve
        monkeypatch.setattr(archive, "_retrieve", lambda some, keep: asked.extend(some) or retrieve(some, keep))
        again = archive.fetch(study=uid, folder=tmp_path / "back")
        assert sorted(asked) == sorted(path.stem for path in first[:3])
        assert again == first and [dcmread(path).SOPInstanceUID for path in again] == [path.stem for path in again]


@pytest.mark.parametrize("kind", KINDS)
def test_an_instance_is_refused_in_a_second_study_and_the_rest_arrives(kind, copies):  # noqa: F811
    uid, files = copies(2)
    with opened(kind) as archive:
        archive.send(files[0])
        elsewhere = [dcmread(file) for file in files]
        for one in elsewhere:
            one.StudyInstanceUID = f"{uid[:-4]}.7"
        with pytest.raises(TransferError, match="1 of 2 instances arrived") as caught:
            archive.send(elsewhere)
        assert caught.value.missing == (elsewhere[0].SOPInstanceUID,)
        assert len(archive.find("instance", SOPInstanceUID=elsewhere[0].SOPInstanceUID)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_back_as_another_study_or_cut_short_is_not_kept(kind, copies, tmp_path, monkeypatch):  # noqa: F811
    uid, files = copies(2)
    other = dcmread(files[0])
    other.StudyInstanceUID = f"{uid[:-4]}.7"
    other.save_as(tmp_path / "other")
    wrong = [(tmp_path / "other").read_bytes(), files[1].read_bytes()[:-50]]
    with opened(kind) as archive:
        archive.send(files)
        lie = lambda some, keep: [keep(file.stem, data) for file, data in zip(files, wrong, strict=True)] and ""  # noqa: E731
        monkeypatch.setattr(archive, "_retrieve", lie)
        with pytest.raises(TransferError, match=r"0 of 2.*(StudyInstanceUID|cut short)"):
            archive.fetch(study=uid, folder=tmp_path / "back", retries=1)
        assert not list(tmp_path.glob("back/*"))
