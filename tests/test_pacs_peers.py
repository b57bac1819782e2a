"""Archives that run elsewhere: dcmtk's programs, Orthanc by DIMSE alone, Orthanc's DICOMweb as any DICOMweb service."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import evt
from test_pacs import copies, opened  # noqa: F401  (copies is a fixture)

import radkit as rk
from radkit.errors import ArchiveError, ArchiveUnavailable, TransferError
from radkit.pacs import dimse

pytestmark = pytest.mark.slow  # together too long for `make check`


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def running(program, arguments):
    """Start a program that listens; ``arguments`` gives its arguments for a port, and the port is yielded."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed: apt-get install dcmtk")
    for _ in range(5):  # somebody else may take the port before the program does: it ends then, and gets another one
        port = free_port()
        process = subprocess.Popen([program, *map(str, arguments(port))], stdout=subprocess.DEVNULL)
        if listens(process, port):
            break
    try:
        assert process.poll() is None, f"{program} does not listen"
        yield port
    finally:
        process.kill()
        process.wait()


def listens(process, port):
    """Wait until a process that was just started listens; False if it ends before."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)  # until it would have ended, if it is another that listens there
                return process.poll() is None
        time.sleep(0.05)
    return False


@pytest.fixture
def storescp(tmp_path):
    """Return a function that starts storescp and opens it; what it got lies in ``tmp_path / "got"``."""
    with contextlib.ExitStack() as stack:

        def start(*options, timeout=30):
            (tmp_path / "got").mkdir()
            words = ["-od", tmp_path / "got", *options]
            port = stack.enter_context(running("storescp", lambda port: [*words, port]))
            return stack.enter_context(rk.pacs.open_archive(f"dicom://STORESCP@127.0.0.1:{port}", timeout=timeout))

        yield start


@pytest.fixture
def dcmqrscp(tmp_path):
    """Return a function that starts dcmqrscp, which knows us by AE title and port, and opens it."""
    with contextlib.ExitStack() as stack:

        def start(*options, caller="RADKIT", other=("OTHER", 1)):
            ours, store = free_port(), tmp_path / "qr"
            store.mkdir()
            (tmp_path / "qr.cfg").write_text(
                "MaxPDUSize = 131072\nMaxAssociations = 16\n"
                f"HostTable BEGIN\nus = (RADKIT, 127.0.0.1, {ours})\nother = ({other[0]}, 127.0.0.1, {other[1]})\n"
                f"HostTable END\nAETable BEGIN\nQR {store} RW (200, 1024mb) ANY\nAETable END\n"
            )
            words = ["-c", tmp_path / "qr.cfg", *options]
            port = stack.enter_context(running("dcmqrscp", lambda port: [*words, port]))
            address = f"dicom://QR@127.0.0.1:{port}"
            return stack.enter_context(
                rk.pacs.open_archive(address, caller=caller, dicom_port=ours, stable_age=1, timeout=60)
            )

        yield start


def same(back, files):
    key = lambda one: one.SOPInstanceUID  # noqa: E731
    return sorted(back, key=key) == sorted(map(dcmread, files), key=key)


@pytest.mark.parametrize("options", [(), ("--disable-get",)], ids=["C-GET", "C-MOVE"])
def test_dcmqrscp_takes_finds_and_gives_back(dcmqrscp, copies, options):  # noqa: F811
    archive, (uid, files) = dcmqrscp(*options), copies(3)
    assert archive.echo()
    assert set(archive.send(files)) == {file.stem for file in files}
    assert len(archive.find("study", StudyInstanceUID=uid)) == len(archive.find("series", StudyInstanceUID=uid)) == 1
    assert len(archive.find("instance", StudyInstanceUID=uid)) == 3
    assert archive.wait_stable(uid, instances=3) == 3
    assert same(archive.fetch(study=uid), files)
    with opened("embedded") as other:
        assert archive.forward(uid, other) == 3 and len(other.fetch(study=uid)) == 3
    with pytest.raises(ArchiveError, match=r"storage commitment|Storage Commitment"):
        archive.commit(files)


def test_an_archive_sends_on_by_c_move_to_whom_it_knows(dcmqrscp, copies):  # noqa: F811
    uid, files = copies(2)
    with opened("embedded", peers={"QR": ("127.0.0.1", 104)}) as other:
        archive = dcmqrscp(other=(other.ae_title, other.dicom_port))
        archive.send(files)
        assert archive.forward(uid, other.ae_title) == 2 and same(other.fetch(study=uid), files)
        with pytest.raises(TransferError, match="does not know where NOBODY listens"):
            archive.forward(uid, "NOBODY")


def test_storescp_takes_and_says_that_it_answers_no_queries(storescp, copies, tmp_path):  # noqa: F811
    archive, (uid, files) = storescp(), copies(3)
    archive.send(files)
    assert same([dcmread(path) for path in (tmp_path / "got").iterdir()], files)
    for asked in (archive.find, lambda: archive.fetch(study=uid)):
        with pytest.raises(ArchiveError, match="does not offer Study Root"):
            asked()


def test_what_a_peer_refuses_compressed_it_gets_uncompressed_with_the_same_uid_and_pixels(storescp, tmp_path):
    sent = [get_testdata_file(name) for name in ("MR_small_RLE.dcm", "JPEG2000.dcm")]
    archive = storescp()  # takes uncompressed alone, as it is started by default
    assert len(archive.send(sent[0])) == 1
    [path] = (tmp_path / "got").iterdir()
    got, was = dcmread(path), dcmread(sent[0])
    assert not got.file_meta.TransferSyntaxUID.is_compressed and got.SOPInstanceUID == was.SOPInstanceUID
    assert (got.pixel_array == was.pixel_array).all()


def test_what_a_peer_takes_compressed_keeps_its_bytes(storescp, tmp_path):
    sent = get_testdata_file("MR_small_RLE.dcm")
    storescp("+xa").send(sent)
    [path] = (tmp_path / "got").iterdir()
    assert dcmread(path).PixelData == dcmread(sent).PixelData


def test_more_kinds_of_instances_than_one_association_can_name_all_arrive(storescp, small_ct, tmp_path):
    from pynetdicom import AllStoragePresentationContexts

    datasets = []
    for context in AllStoragePresentationContexts[:140]:
        one = dcmread(small_ct.files[0])
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = context.abstract_syntax
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.Rows = one.Columns = 2
        one.PixelData = b"\0" * 8
        datasets.append(one)
    try:
        arrived = set(storescp("-pm").send(datasets, retries=0))
        missing = set()
    except TransferError as error:
        missing = set(error.missing)
        assert "the peer takes no" in str(error)  # newer than this dcmtk
        arrived = {one.SOPInstanceUID for one in datasets} - missing
    got = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in (tmp_path / "got").iterdir()}
    assert got == arrived and len(got) > 100


def test_rejected_aborted_and_silent_peers_are_told_apart(storescp, dcmqrscp, copies):  # noqa: F811
    _, files = copies(2)
    archive = dcmqrscp()
    where = f"{archive.host}:{archive.dicom_port}"
    with pytest.raises(ArchiveUnavailable, match="does not go by the AE title WRONG"):
        rk.pacs.open_archive(f"dicom://WRONG@{where}")
    late = {evt.EVT_REQUESTED: lambda _: time.sleep(0.5)}  # until the peer has rejected us and is gone
    unknown = dimse.Peer("WRONG", archive.host, archive.dicom_port, "RADKIT", 30)
    with (
        pytest.raises(ArchiveUnavailable, match="does not go by the AE title WRONG"),
        dimse.associate(unknown, [(dimse.ECHO, None)], handlers=late),
    ):
        pass
    with pytest.raises(ArchiveUnavailable, match="does not answer"):
        rk.pacs.open_archive("dicom://NOBODY@127.0.0.1:9")
    with pytest.raises(ArchiveError, match="dicom://AETITLE@"):
        rk.pacs.open_archive("dicom://127.0.0.1")
    aborting = storescp("--abort-during")
    with pytest.raises(TransferError, match="association was lost") as caught:
        aborting.send(files, retries=0)
    assert len(caught.value.missing) == 2
    silent = dimse.Peer("STORESCP", aborting.host, aborting.dicom_port, "RADKIT", 30)
    with dimse.associate(silent, [(dimse.ECHO, None)]):
        pass


def test_a_caller_that_an_archive_does_not_know_is_told_so():
    told = pytest.raises(ArchiveUnavailable, match="does not know the AE title STRANGER")
    with opened("embedded") as archive, told:
        rk.pacs.open_archive(f"dicom://{archive.ae_title}@127.0.0.1:{archive.dicom_port}", caller="STRANGER")


def test_a_peer_that_stops_answering_is_given_up(storescp, copies):  # noqa: F811
    _, files = copies(2)
    with pytest.raises(TransferError, match=r"did not answer|was lost") as caught:
        storescp("--sleep-during", 60, timeout=5).send(files, retries=0)
    assert len(caught.value.missing) == 2


def test_orthanc_by_dimse_alone_takes_gives_back_and_commits(copies):  # noqa: F811
    ours, (uid, files) = free_port(), copies(3)
    with opened("orthanc", peers={"US": ("127.0.0.1", ours)}) as orthanc:
        address = f"dicom://{orthanc.ae_title}@127.0.0.1:{orthanc.dicom_port}"
        with rk.pacs.open_archive(address, caller="US", dicom_port=ours, timeout=60) as archive:
            uids = archive.send(files)
            assert same(archive.fetch(study=uid), files)
            assert same(archive.fetch(series=dcmread(files[0]).SeriesInstanceUID), files)
            told = archive.commit(files)
            assert sorted(told["committed"]) == sorted(uids) and not told["failed"]
            gone = dcmread(files[0])
            gone.SOPInstanceUID = generate_uid()
            told = archive.commit([gone])
            assert told == {"committed": [], "failed": {gone.SOPInstanceUID: "the archive does not hold it"}}
        assert sorted(orthanc.commit(files)["committed"]) == sorted(uids)


def test_any_dicomweb_service_is_an_archive(copies, small_ct):  # noqa: F811
    uid, files = copies(3)
    with opened("orthanc") as orthanc:
        user, password = orthanc.session.auth
        root = orthanc.url.replace("//", f"//{user}:{password}@")
        assert rk.pacs.open_archive(root).kind == "orthanc"
        with rk.pacs.open_archive(f"{root}/dicom-web", stable_age=1) as archive:
            assert archive.kind == "dicomweb" and password not in repr(archive) and archive.echo()
            archive.send(files)
            assert len(archive.find("instance", StudyInstanceUID=uid)) == 3
            assert archive.wait_stable(uid, instances=3) == 3
            assert same(archive.fetch(study=uid), files)
            with opened("embedded") as other:
                assert archive.forward(uid, other) == 3
            with pytest.raises(ArchiveError, match="no storage commitment"):
                archive.commit(files)


def test_dcmtks_own_tools_talk_to_the_embedded_archive(small_ct, tmp_path):
    with opened("embedded", peers={"TOOL": ("127.0.0.1", 104)}) as archive:
        where = ["-aet", "TOOL", "-aec", archive.ae_title, archive.host, str(archive.dicom_port)]
        environment = {**os.environ, "TCP_NODELAY": "1"}
        subprocess.run(["storescu", *where, *map(str, small_ct.files)], check=True, env=environment)
        uid = dcmread(small_ct.files[0]).StudyInstanceUID
        keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}"]
        subprocess.run(["getscu", *keys, "-od", str(tmp_path), *where], check=True, env=environment)
    assert same([dcmread(path) for path in Path(tmp_path).iterdir()], small_ct.files)
