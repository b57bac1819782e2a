"""The archive's interface, held against both archives; and dcmtk's programs as an independent peer."""

import os
import shutil
import subprocess
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import radkit as rk
from radkit.errors import ArchiveError, ArchiveUnavailable, DicomError, MissingDependency, TransferError
from radkit.pacs import orthanc
from radkit.pacs.dimse import ECHO, Peer, associate, echo
from radkit.pacs.instances import is_uid

KINDS = ("orthanc", "embedded")
ENCODED = ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "image_dfl.dcm"]
ENCODED += ["MR_small_bigendian.dcm", "MR_small_implicit.dcm", "SC_rgb_jpeg_gdcm.dcm"]


def need(kind):
    if kind == "orthanc":
        try:
            orthanc.installed()
        except orthanc.NotInstalled as error:
            pytest.skip(str(error))


def opened(kind, **options):
    need(kind)
    return rk.pacs.open_archive(kind, **{"stable_age": 1, **options})


@pytest.fixture(scope="module", params=KINDS)
def archive(request):
    with opened(request.param, peers={"WORKSTATION": ("127.0.0.1", 104)}) as archive:
        yield archive


@pytest.fixture(scope="module")
def study(archive, small_ct):
    archive.send(small_ct.files, progress=False)
    return dcmread(small_ct.files[0]).StudyInstanceUID


@pytest.fixture
def copies(small_ct, tmp_path):
    """Return a function that writes a few slices as a study of its own."""

    def write(count=3):
        uid, series, files = generate_uid(), generate_uid(), []
        for file in small_ct.files[:count]:
            dataset = dcmread(file)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid, series, generate_uid()
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            files.append(tmp_path / f"{dataset.SOPInstanceUID}.dcm")
            dataset.save_as(files[-1])
        return uid, files

    return write


def contents(*paths):
    """Yield what is in the files among some paths; a running archive may have removed one that was listed."""
    for path in paths:
        with suppress(FileNotFoundError, IsADirectoryError):
            yield path.read_bytes()


def dcmtk(program, *arguments):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed: apt-get install dcmtk")
    return subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def segmentation(small_ct):
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="nodule",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Nodule,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        source_images=[dcmread(file) for file in small_ct.files],
        pixel_array=small_ct.mask.array.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[description],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="radkit",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )


def test_a_study_is_sent_found_and_fetched_unchanged(archive, study, small_ct, tmp_path):
    [found] = archive.find("study", StudyInstanceUID=study)
    assert int(found.NumberOfStudyRelatedInstances) == len(small_ct.files)
    assert archive.fetch(study=study, progress=False) == [dcmread(file) for file in small_ct.files]
    paths = archive.fetch(study=study, folder=tmp_path / "back", progress=False)
    assert [dcmread(path).pixel_array.sum() for path in paths] == [dcmread(f).pixel_array.sum() for f in small_ct.files]
    assert sorted(tmp_path.joinpath("back").iterdir()) == sorted(paths)


def test_sending_the_same_again_stores_nothing_twice(archive, study, small_ct):
    assert archive.send(small_ct.folder, progress=False) == archive.send(small_ct.files, progress=False)
    [found] = archive.find("study", StudyInstanceUID=study)
    assert int(found.NumberOfStudyRelatedInstances) == len(small_ct.files)


def test_what_is_held_is_not_changed_by_another_object_of_the_same_uid(archive, copies):
    uid, files = copies(1)
    archive.send(files)
    impostor = dcmread(files[0])
    impostor.SeriesDescription = "another"
    archive.send(impostor)
    assert archive.fetch(study=uid) == [dcmread(files[0])]


def test_queries_match_by_value_wild_card_and_range(archive, study, small_ct):
    first = dcmread(small_ct.files[0])
    assert archive.find("series", StudyInstanceUID=study, Modality="CT")
    assert not archive.find("series", StudyInstanceUID=study, Modality="MR")
    assert archive.find("study", PatientID="RADKIT-T*", StudyInstanceUID=study)
    assert not archive.find("study", PatientID="RADKIT.T*", StudyInstanceUID=study)
    assert archive.find("series", PatientName="radkit^te?t", StudyInstanceUID=study)
    assert not archive.find("series", PatientName="RADKIT^TE", StudyInstanceUID=study)
    assert archive.find("study", StudyDate=f"{first.StudyDate}-{first.StudyDate}", StudyInstanceUID=study)
    assert not archive.find("study", StudyDate=f"-{int(first.StudyDate) - 10000}", StudyInstanceUID=study)
    [one] = archive.find("instance", StudyInstanceUID=study, SOPInstanceUID=first.SOPInstanceUID, Rows="")
    assert int(one.Rows) == first.Rows


def test_a_query_that_cannot_be_meant_is_refused_with_a_hint(archive):
    with pytest.raises(ArchiveError, match="Did you mean PatientName"):
        archive.find("study", PatientsName="X")
    with pytest.raises(ArchiveError, match="'patient'"):
        archive.find("patient")
    with pytest.raises(ArchiveError, match="UID"):
        archive.fetch(study="../../etc/passwd")
    with pytest.raises(ArchiveError, match="holds no instance"):
        archive.fetch(study=generate_uid())


def test_one_series_or_one_instance_can_be_fetched(archive, study, small_ct):
    one = dcmread(small_ct.files[5])
    assert len(archive.fetch(series=one.SeriesInstanceUID, study=study, progress=False)) == len(small_ct.files)
    assert archive.fetch(instance=one.SOPInstanceUID) == [one]


@pytest.mark.parametrize("name", ENCODED)
def test_every_encoding_goes_through_unchanged(archive, name, tmp_path):
    sent = dcmread(get_testdata_file(name, download=False))
    sent.SOPInstanceUID = sent.file_meta.MediaStorageSOPInstanceUID = generate_uid()  # some are the same image
    sent.StudyInstanceUID, sent.SeriesInstanceUID = generate_uid(), generate_uid()
    sent.save_as(tmp_path / name)
    archive.send(tmp_path / name)
    [path] = archive.fetch(study=sent.StudyInstanceUID, folder=tmp_path / "back")
    back = dcmread(path)
    assert back.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert back == sent
    assert back.PixelData == sent.PixelData


def test_a_segmentation_joins_its_study(archive, small_ct):
    seg = segmentation(small_ct)
    archive.send(small_ct.files, progress=False)
    assert archive.send(seg) == [seg.SOPInstanceUID]
    [series] = archive.find("series", StudyInstanceUID=seg.StudyInstanceUID, Modality="SEG")
    [back] = archive.fetch(series=series.SeriesInstanceUID)
    assert np.array_equal(hd.seg.Segmentation.from_dataset(back).pixel_array, seg.pixel_array)


@pytest.mark.slow
def test_a_study_becomes_stable_when_nothing_more_arrives(archive, copies):
    uid, files = copies(2)
    archive.send(files[0])
    with pytest.raises(ArchiveError, match="has 1 instances"):
        archive.wait_stable(uid, instances=2, timeout=0.5)
    archive.send(files[1])
    assert archive.wait_stable(uid, instances=2) == 2


def test_a_study_is_forwarded_whole(archive, copies):
    uid, files = copies(3)
    archive.send(files)
    with opened("embedded") as other:
        assert archive.forward(uid, other) == 3
        assert other.fetch(study=uid) == archive.fetch(study=uid)


@pytest.mark.slow
def test_forwarding_to_one_who_is_not_there_fails_with_all_missing(archive, copies):
    uid, files = copies(2)
    archive.send(files)
    with opened("embedded") as nobody:
        nobody.close()
    with pytest.raises(TransferError) as caught:
        archive.forward(uid, nobody)
    assert len(caught.value.missing) == 2


def test_bad_input_never_leaves_for_the_archive(archive, tmp_path):
    text = tmp_path / "notes.dcm"
    text.write_text("no image")
    for what, words in [
        (text, "no DICOM file"),
        (tmp_path, "nothing to send"),
        (7, "got int"),
        ([], "nothing to send"),
    ]:
        with pytest.raises(DicomError, match=words):
            archive.send(what)


def test_dcmtk_is_let_in_by_an_ae_title_that_is_known_and_by_no_other(archive, copies):
    uid, files = copies(2)
    where = ["-aec", archive.ae_title, archive.host, archive.dicom_port]
    assert dcmtk("echoscu", "-aet", "STRANGER", *where).returncode != 0
    assert dcmtk("storescu", "-aet", "STRANGER", *where, *files).returncode != 0
    assert not archive.find("study", StudyInstanceUID=uid)
    assert dcmtk("echoscu", "-aet", "WORKSTATION", *where).returncode == 0
    assert dcmtk("storescu", "-aet", "WORKSTATION", *where, *files).returncode == 0
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}", "-k", "NumberOfStudyRelatedInstances"]
    asked = dcmtk("findscu", "-S", "-aet", "WORKSTATION", *keys, *where)
    assert asked.returncode == 0 and "[2 ]" in asked.stdout + asked.stderr


def test_dcmtk_gets_what_was_sent(archive, study, small_ct, tmp_path):
    asked = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    who = ["-aet", "WORKSTATION", "-aec", archive.ae_title]
    got = dcmtk("getscu", "-S", *who, "-od", tmp_path, *asked, archive.host, archive.dicom_port)
    assert got.returncode == 0, got.stderr
    assert len([dcmread(path).pixel_array for path in tmp_path.iterdir()]) >= len(small_ct.files)


def test_an_unknown_caller_is_refused_by_our_own_client_too(archive):
    known = Peer(archive.ae_title, archive.host, archive.dicom_port, "RADKIT", 30)
    assert echo(known)
    assert not echo(Peer(known.ae_title, known.host, known.port, "STRANGER", 5))


def test_no_answer_is_lost_to_pynetdicoms_own_thread_that_passes_its_checkpoint_late(archive, monkeypatch):
    from pynetdicom.association import Association
    from pynetdicom.dimse import DIMSEServiceProvider

    take, wait, passing = DIMSEServiceProvider.get_msg, threading.Event.wait, []

    def poll(condition):
        end = time.monotonic() + 5
        while not condition() and time.monotonic() < end:
            time.sleep(0.001)

    def late(self, timeout=None):  # it has seen that it may go on, and goes on when we are about to ask
        passed, thread = wait(self, timeout), threading.current_thread()
        if isinstance(thread, Association) and self is thread._reactor_checkpoint:
            passing.append(thread)
            poll(lambda: not self.is_set())
        return passed

    def get_msg(self, block=False):  # and looks for messages when our answer is there, before we do
        if block or not self.assoc._reactor_checkpoint.is_set():
            poll(lambda: not self.msg_queue.empty())
        time.sleep(0.2 * block)
        return take(self, block)

    monkeypatch.setattr(threading.Event, "wait", late)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", get_msg)
    with associate(Peer(archive.ae_title, archive.host, archive.dicom_port, "RADKIT", 5), [(ECHO, None)]) as assoc:
        poll(lambda: assoc in passing)
        assert assoc.send_c_echo().get("Status") == 0


def test_an_archive_says_what_it_speaks_and_never_its_password(archive):
    assert (archive.dicomweb is None) == (archive.kind == "embedded")
    if archive.kind == "embedded":
        assert archive.speaks == ("DIMSE",) and "DIMSE only" in repr(archive) and archive.url is None
    else:
        assert archive.speaks == ("DICOMweb", "DIMSE")
        password = archive.session.auth[1]
        assert len(password) >= 24
        assert password not in repr(archive) + repr(vars(archive)) + repr(archive.session)
        assert rk.pacs.open_archive.__module__  # the password is in no file either once it runs
        assert not any(password.encode() in content for content in contents(*archive.server.home.folder.rglob("*")))


def test_dicomweb_is_the_real_client_and_gets_bulk_data(small_ct):
    with opened("orthanc") as archive:
        archive.send(small_ct.files, progress=False)
        first = dcmread(small_ct.files[0])
        uids = (first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
        metadata = archive.dicomweb.retrieve_instance_metadata(*uids)
        [pixels] = archive.dicomweb.retrieve_bulkdata(
            metadata["7FE00010"]["BulkDataURI"], media_types=("application/octet-stream",)
        )
        assert pixels == first.PixelData


def test_orthanc_shows_nothing_without_the_password():
    import requests

    with opened("orthanc") as archive:
        assert requests.get(f"{archive.url}/system", timeout=60).status_code == 401
        assert requests.get(f"{archive.url}/system", auth=("orthanc", "orthanc"), timeout=60).status_code == 401


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give up being root")
@pytest.mark.parametrize("kind", KINDS)
def test_the_server_is_not_root_where_we_are(kind):
    with opened(kind) as archive:
        status = Path(f"/proc/{archive.server.pid}/status").read_text().splitlines()
        ids = next(line.split()[1:] for line in status if line.startswith("Uid"))
        assert "0" not in ids
        assert archive.server.home.store.stat().st_uid == int(ids[0])
        assert archive.server.home.store.stat().st_mode & 0o077 == 0


def test_a_running_orthanc_is_reached_by_its_address(monkeypatch, copies):
    with opened("orthanc") as running:
        user, password = running.session.auth
        monkeypatch.setenv("ORTHANC_URL", running.url.replace("//", f"//{user}:{password}@"))
        uid, files = copies(1)
        with rk.pacs.open_archive() as archive:
            assert archive.server is None and archive.url == running.url and password not in repr(archive)
            archive.send(files)
        assert running.find("study", StudyInstanceUID=uid)  # closing the second handle did not stop it
        monkeypatch.setenv("ORTHANC_URL", running.url)
        monkeypatch.setenv("ORTHANC_USER", user)
        monkeypatch.setenv("ORTHANC_PASSWORD", "wrong")
        with pytest.raises(ArchiveUnavailable, match="user name or password"):
            rk.pacs.open_archive()


def test_auto_takes_the_embedded_archive_where_orthanc_is_missing_and_says_so(monkeypatch):
    monkeypatch.delenv("RADKIT_ARCHIVE", raising=False)
    monkeypatch.delenv("ORTHANC_URL", raising=False)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.warns(UserWarning, match=r"apt-get install orthanc.*DIMSE only"), rk.pacs.open_archive() as archive:
        assert archive.kind == "embedded"
    with pytest.raises(ArchiveUnavailable, match="apt-get install orthanc orthanc-dicomweb"):
        rk.pacs.open_archive("orthanc")


def test_the_environment_chooses_the_kind_of_auto(monkeypatch):
    monkeypatch.setenv("RADKIT_ARCHIVE", "embedded")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was asked for: nothing to warn of
        with rk.pacs.open_archive() as archive:
            assert archive.kind == "embedded"
    monkeypatch.setenv("RADKIT_ARCHIVE", "vendor")
    with pytest.raises(ArchiveError, match="vendor"):
        rk.pacs.open_archive()


def test_an_ae_title_that_the_standard_forbids_is_refused():
    for title in ("", "SEVENTEEN-LETTERS", "BACK\\SLASH", "ÄRZTE"):
        with pytest.raises(ArchiveError, match="AE title"):
            rk.pacs.open_archive("embedded", ae_title=title)


def test_a_missing_pynetdicom_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynetdicom", None)
    with pytest.raises(MissingDependency, match=r"radkit\[pacs\]"):
        rk.pacs.open_archive("embedded")


def test_only_digits_and_dots_are_a_uid():
    assert is_uid(generate_uid()) and is_uid("1.2.0.3")
    for text in ("", "1", "../1.2", "1.2/3", "1.02", "1..2", "1.2.", "1.2\n", "1." * 32 + "1", "１.２", None):
        assert not is_uid(text), text
