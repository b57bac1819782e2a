"""Who may talk to an archive, what shows, and what a peer that means harm, or has gone mad, can do."""

import asyncio
import contextlib
import http.server
import logging
import socket
import struct
import subprocess
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
import requests
from pydicom.uid import DeflatedExplicitVRLittleEndian
from test_pacs import KINDS, contents, copies, dcmtk, opened  # noqa: F401
from test_pacs_faults import place  # noqa: F401
from test_pacs_kills import small_study

import radkit as rk
from radkit.errors import ArchiveError, ArchiveUnavailable, DicomError, TransferError
from radkit.pacs import dimse, embedded, instances, orthanc, session
from radkit.pacs.tls import context

pytestmark = pytest.mark.slow  # together too long for `make check`


def addresses():
    """This machine's addresses other than loopback."""
    told = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    return [one for one in told if ":" not in one]


def listening(pid):
    """The addresses, in /proc's words, where a process listens."""
    sockets = {str(link.readlink())[8:-1] for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    return {row[1].split(":")[0] for row in rows[1:] if row[3] == "0A" and row[9] in sockets}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_the_embedded_archive_listens_on_loopback_and_nowhere_else():
    with opened("embedded") as archive:
        assert listening(archive.server.pid) == {"0100007F"}


def test_orthanc_refuses_every_other_address_of_this_machine():
    for address in addresses() or pytest.skip("this machine has no address but loopback"):
        with opened("orthanc") as archive:
            port = archive.url.rpartition(":")[2]
            try:
                answer = requests.get(f"http://{address}:{port}/system", auth=archive.session.auth, timeout=60)
                assert answer.status_code in (401, 403)  # even with the password
            except requests.ConnectionError:
                pass
            assert not dimse.echo(dimse.Peer(archive.ae_title, address, archive.dicom_port, "RADKIT", 5))
            assert dimse.echo(dimse.Peer(archive.ae_title, "127.0.0.1", archive.dicom_port, "RADKIT", 30))


def test_a_password_shows_nowhere(caplog, place, monkeypatch):  # noqa: F811
    caplog.set_level(logging.DEBUG)
    with opened("orthanc", folder=place) as archive:
        user, password = archive.session.auth
        _uid, made = small_study(2)
        archive.send(made)
        archive.dicomweb.search_for_studies()
        monkeypatch.setenv("ORTHANC_USER", user)
        monkeypatch.setenv("ORTHANC_PASSWORD", f"wrong{password}")
        with pytest.raises(ArchiveUnavailable) as caught:
            rk.pacs.open_archive(archive.url)
        frames = traceback.walk_tb(caught.value.__traceback__.tb_next)  # radkit's own, without this test's
        told = traceback.StackSummary.extract(frames, capture_locals=True)
        shown = "".join(told.format()) + caplog.text + repr(archive) + repr(vars(archive)) + repr(archive.session.auth)
        process = [Path(f"/proc/{archive.server.pid}/{name}") for name in ("cmdline", "environ")]
        assert all(file.read_bytes() for file in process)
        assert not any(password.encode() in content for content in contents(*process, *place.rglob("*")))
        assert archive.server.home.secret({"a": 1}).stat().st_mode & 0o177 == 0
    assert password not in shown


@pytest.mark.parametrize("kind", KINDS)
def test_tls_is_spoken_when_asked_and_only_with_the_certificate(kind, place):  # noqa: F811
    uid, made = small_study(3)
    with opened(kind, tls=True, folder=place) as archive:
        archive.send(made)
        assert archive.fetch(study=uid) == made
        where = (archive.ae_title, archive.host, archive.dicom_port, "RADKIT", 5)
        assert dimse.echo(dimse.Peer(*where, context(archive.certificate)))
        assert not dimse.echo(dimse.Peer(*where)) and not dimse.echo(dimse.Peer(*where, context(True)))
        who = ["-aet", "RADKIT", "-aec", archive.ae_title, archive.host, archive.dicom_port]
        assert dcmtk("echoscu", "--anonymous-tls", "+cf", archive.certificate, *who).returncode == 0
        assert all(file.stat().st_mode & 0o177 == 0 for file in place.glob("*key*"))
        if archive.url:
            assert archive.url.startswith("https://") and len(archive.dicomweb.search_for_studies()) == 1
            with pytest.raises(requests.exceptions.SSLError):
                requests.get(archive.url, timeout=60)
            reached = archive.url.replace("//", "//{}:{}@".format(*archive.session.auth))
            with rk.pacs.open_archive(reached, tls=archive.certificate) as client:
                assert client.find()
            with pytest.raises(ArchiveUnavailable, match="certificate"):
                rk.pacs.open_archive(reached)
    with pytest.raises(ArchiveUnavailable, match="PEM"):
        context(place / "nothing.pem")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("kind", KINDS)
def test_strangers_that_say_nothing_keep_nobody_out(kind, tls, place):  # noqa: F811
    uid, made = small_study(3)
    with opened(kind, tls=tls, folder=place) as archive, contextlib.ExitStack() as strangers:
        ports = [archive.dicom_port, *([int(archive.url.rpartition(":")[2])] if archive.url else ())]
        for port in 3 * ports:
            strangers.enter_context(socket.create_connection((archive.host, port)))
        assert archive.echo()  # Orthanc's DICOM port waits for each in turn; what it stores comes by HTTP
        archive.send(made)
        assert archive.fetch(study=uid) == made


class Mad(http.server.BaseHTTPRequestHandler):
    """Answers as ``answer`` says: bytes, or a function that writes what it likes."""

    answer: object = b""
    whole = False  # whether one that comes drop by drop was heard to its end

    def do_GET(self):
        type(self).answer(self.wfile) if callable(self.answer) else self.wfile.write(self.answer)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def test_tls_is_spoken_in_a_notebook_too_whose_loop_runs(place):  # noqa: F811
    async def cell():
        with opened("orthanc", tls=True, folder=place) as archive:
            return archive.url, archive.find("study")

    with ThreadPoolExecutor() as elsewhere:  # a browser's test may have left a loop in this thread
        url, found = elsewhere.submit(asyncio.run, cell()).result()
    assert url.startswith("https://") and found == []


@pytest.fixture
def mad():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mad) as peer:
        peer.daemon_threads = True
        threading.Thread(target=peer.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{peer.server_port}"
        peer.shutdown()


def dripping(head):
    def drip(file):
        for byte in head + b" " * 2000:
            file.write(bytes([byte]))
            file.flush()
            time.sleep(0.05)
        Mad.whole = True

    return drip


OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"
GARBAGE = {
    "html": b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Log in</html>",
    "500": b"HTTP/1.0 500 Oops\r\n\r\n",
    "cut": OK + b"Content-Length: 99\r\n\r\n{",
    "half": OK + b'\r\n{"DicomAet": ',
    "other": OK + b"\r\n{}",
    "list": OK + b"\r\n[]",
    "noise": bytes(range(256)),
    "slow head": dripping(b"HTTP/1.0 200 OK\r\nX: "),
    "slow body": dripping(OK + b"\r\n"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_an_orthanc_that_answers_garbage_is_unavailable_within_its_timeout(what, mad, monkeypatch):
    monkeypatch.setattr(Mad, "answer", GARBAGE[what])
    monkeypatch.setattr(Mad, "whole", False)
    with pytest.raises(ArchiveUnavailable):
        orthanc.connect(mad, timeout=0.5)
    assert not Mad.whole  # after a hundred seconds


def test_an_answer_without_an_end_is_cut_off(mad, monkeypatch):
    def endless(file):
        file.write(OK + b"\r\n")
        while True:
            file.write(b"[" * 2**16)

    monkeypatch.setattr(session, "MOST_TOLD", 2**20)
    monkeypatch.setattr(Mad, "answer", lambda file: endless(file))
    with pytest.raises(ArchiveUnavailable, match="longer than 1 MB"):
        orthanc.connect(mad, timeout=120)


def test_a_query_with_too_many_answers_is_cut_off(monkeypatch):
    monkeypatch.setattr(dimse, "MOST_ANSWERS", 3)
    with opened("embedded") as archive:
        archive.send(small_study(5)[1])
        with pytest.raises(ArchiveError, match="more than 3 answers"):
            archive.find("instance")
        assert len(archive.find("study")) == 1


def bomb():
    """A deflated instance of some kilobytes that inflates to a megabyte and more."""
    one = small_study(1)[1][0]
    one.PixelData = bytes(2**20)
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_a_bomb_and_a_file_cut_short_are_told_from_an_instance(small_ct, monkeypatch):
    data = bomb()
    assert len(data) < 2**14 and instances.parse(data).PixelData
    monkeypatch.setattr(instances, "MOST_INFLATED", 2**19)
    with pytest.raises(DicomError, match="inflate"):
        instances.parse(data)
    whole = small_ct.files[0].read_bytes()
    for cut in (whole[:-100], whole[:200], b"", b"<html>"):
        with pytest.raises(DicomError):
            instances.parse(cut)


def test_the_embedded_archive_goes_on_after_what_strangers_send(place, monkeypatch):  # noqa: F811
    monkeypatch.setattr(embedded, "QUOTA", 60_000)
    _uid, made = small_study(5)
    with opened("embedded", folder=place) as archive:
        with socket.create_connection((archive.host, archive.dicom_port)) as stranger:
            stranger.settimeout(60)
            with contextlib.suppress(ConnectionError):  # it may be closed before all is sent
                stranger.sendall(struct.pack(">BBL", 1, 0, 2**31) + bytes(2**16))  # a PDU of two gigabytes
                assert stranger.recv(1) in (b"", b"\x07")  # closed, or told to go
        with pytest.raises(TransferError, match=r"[23] of 5.*out of resources"):
            archive.send(made, retries=0)
        assert 2 <= len(archive.find("instance")) <= 3
