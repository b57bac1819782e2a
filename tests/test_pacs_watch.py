"""The watcher: every study once, whatever is killed, poisonous or fed back; held against both archives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from test_pacs import KINDS, opened
from test_pacs_faults import place  # noqa: F401

import radkit as rk
from radkit.errors import ArchiveError, InputRefused


def instance(study, modality="CT", series=None, **more):
    """The smallest thing that an archive takes for an image (or a report)."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = ComprehensiveSRStorage if modality == "SR" else CTImageStorage
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = study, series or generate_uid(), generate_uid()
    made.PatientID, made.PatientName, made.Modality = "SECRET-1", "SECRET^NAME", modality
    made.StudyID, made.AccessionNumber, made.InstanceNumber = "1", "1", 1
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def studies(count, **more):
    """Studies of one series of two images each: their UIDs, and what to send."""
    uids = [generate_uid() for _ in range(count)]
    series = {uid: generate_uid() for uid in uids}
    return uids, [instance(uid, series=series[uid], **more) for uid in uids for _ in range(2)]


def report(input_folder, output_folder):
    """An application whose results have other UIDs each time: a second run would show."""
    study = dcmread(next(input_folder.iterdir())).StudyInstanceUID
    for name in ("a.dcm", "b.dcm"):
        instance(study, "SR").save_as(output_folder / name, enforce_file_format=True)
    (output_folder / "result.json").write_text("{}")


def results(archive, study):
    found = archive.find("series", StudyInstanceUID=study, Modality="SR")
    return len({one.SeriesInstanceUID for one in found})


def watched(archive, run, journal, **options):
    return rk.pacs.watch(archive, run, journal=journal, **{"poll_s": 0.2, "backoff_s": 0.1, **options})


def states(watcher):
    return {one.uid: one.state for one in watcher.studies}


def until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.fixture(scope="module", params=KINDS)
def archive(request):
    with opened(request.param) as archive:
        yield archive


@pytest.fixture(scope="module")
def orthanc():
    with opened("orthanc") as archive:
        yield archive


@pytest.mark.slow
def test_a_burst_comes_back_whole_and_the_results_start_nothing(archive, tmp_path):
    uids, images = studies(50 if archive.kind == "orthanc" else 2)
    with watched(archive, report, tmp_path, poll_s=0.5) as watcher:
        archive.send(images, progress=False)
        watcher.wait(len(uids))
        for uid in uids:  # stable for a second time, by what was stored
            archive.wait_stable(uid, instances=4)
        time.sleep(1)
    assert [one.attempts for one in watcher.studies] == [1] * len(uids)
    assert {results(archive, uid) for uid in uids} == {2} and set(states(watcher).values()) == {"stored"}
    with watched(archive, report, tmp_path) as again:
        until(lambda: again._sweep_at and not again._pending)
    assert again.studies == watcher.studies
    assert {path.name for path in tmp_path.iterdir()} == {"in-use", "journal.sqlite"}


WATCH = """
import os, signal, sys, threading
from pathlib import Path
import radkit as rk
from test_pacs_watch import report, watched

moment, journal, uids = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]

def die(where):
    if where == moment:
        os.kill(os.getpid(), signal.SIGKILL)

def run(images, output):
    report(images, output)
    die("in the run")

archive = rk.pacs.open_archive("orthanc")
send = archive.send
def dying(files, **options):
    if moment == "half sent":
        send(files[:1], **options)
    die("half sent")
    send(files, **options)
    die("sent")
archive.send = dying
told = lambda study: die(("made" if study.made else "begun") if study.state == "running" else study.state)
with watched(archive, run, journal, progress=told) as watcher:
    watcher.wait(len(uids))
"""


@pytest.mark.slow
def test_a_watcher_killed_at_every_worst_moment_stores_each_result_once(orthanc, tmp_path):
    uids, images = studies(8)
    orthanc.send(images, progress=False)
    for uid in uids:
        orthanc.wait_stable(uid)
    user, password = orthanc.session.auth
    environment = {
        **os.environ,
        "ORTHANC_URL": orthanc.url.replace("://", f"://{user}:{password}@"),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    ends = []
    for moment in ("begun", "in the run", "made", "half sent", "sent", "never"):
        command = [sys.executable, "-c", WATCH, moment, str(tmp_path), *uids]
        ends.append(subprocess.run(command, env=environment, timeout=600).returncode)
    assert ends == [-signal.SIGKILL] * 5 + [0]
    assert {uid: results(orthanc, uid) for uid in uids} == dict.fromkeys(uids, 2)


def test_a_poisonous_study_is_parked_a_refused_one_left_and_the_others_go_on(orthanc, tmp_path):
    uids, images = studies(3)
    good, poison, wrong = uids
    tried, cured = [], []

    def run(input_folder, output_folder):
        study = str(dcmread(next(input_folder.iterdir())).StudyInstanceUID)
        tried.append(study)
        if study == wrong:
            raise InputRefused("The application refused its input: no axial CT.\nSECRET^NAME")
        if study == poison and not cured:
            raise ValueError("cannot read SECRET^NAME")
        report(input_folder, output_folder)

    told = []
    options = {"workers": 1, "retries": 1, "progress": told.append}
    with watched(orthanc, run, tmp_path, where={"StudyInstanceUID": uids}, **options) as watcher:
        orthanc.send(images, progress=False)
        watcher.wait(3)
        assert states(watcher) == {good: "stored", poison: "parked", wrong: "refused"}
        assert [tried.count(uid) for uid in (good, poison, wrong)] == [1, 2, 1]
        assert "ValueError in test_pacs_watch.py, line" in repr(watcher) and "no axial CT" in watcher._repr_html_()
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"SECRET" not in kept + repr(watcher).encode() and not list(tmp_path.rglob("*.dcm"))
        cured.append(watcher.retry(poison))
        until(lambda: states(watcher)[poison] == "stored")
        with pytest.raises(ArchiveError, match="parked, refused or failed"):
            watcher.retry(good)
    assert {"seen", "running", "failed", "parked", "stored", "refused"} == {one.state for one in told}


@pytest.mark.slow
def test_new_images_run_again_and_reports_of_others_do_not(orthanc, tmp_path):
    (uid, other), images = studies(2)
    seen = []

    def run(input_folder, output_folder):
        seen.append(len(list(input_folder.iterdir())))
        report(input_folder, output_folder)

    rule = {"StudyInstanceUID": uid, "Modality": ["C?", "PT"], "AccessionNumber": "1"}
    with watched(orthanc, run, tmp_path, where=rule) as watcher:
        orthanc.send(images, progress=False)
        watcher.wait(1)
        orthanc.send([instance(uid, "SR"), instance(uid, "MR"), instance(uid, AccessionNumber="2")], progress=False)
        orthanc.wait_stable(uid, instances=7)
        time.sleep(1)
        assert seen == [2]
        orthanc.send([instance(uid, "PT")], progress=False)
        until(lambda: len(seen) == 2 and states(watcher)[uid] == "stored")
    assert seen == [2, 3] and other not in states(watcher)


def test_one_journal_has_one_watcher_and_a_rule_knows_its_keywords(orthanc, tmp_path):
    with watched(orthanc, report, tmp_path, where={"Modality": "XX"}) as watcher:
        with pytest.raises(ArchiveError, match="Another watcher"):
            watched(orthanc, report, tmp_path).start()
        assert "0 studies" in repr(watcher)
    with pytest.raises(ArchiveError, match="Did you mean Modality"):
        watched(orthanc, report, tmp_path, where={"Modalty": "CT"}).start()
    watched(orthanc, report, tmp_path, where={"Modality": "XX"}).start().stop()


@pytest.mark.slow
def test_an_archive_that_is_away_costs_a_study_no_attempt(place, tmp_path):  # noqa: F811
    (uid,), images = studies(1)
    runs = []

    def run(input_folder, output_folder):
        runs.append(report(input_folder, output_folder))
        os.kill(archive.server.pid, signal.SIGKILL)

    with opened("orthanc", folder=place) as archive, watched(archive, run, tmp_path) as watcher:
        archive.send(images, progress=False)
        until(lambda: watcher.studies and watcher.studies[0].state == "failed")
        assert watcher.studies[0].attempts == 0 and watcher.studies[0].made
        archive.restart()
        watcher.wait(1)
        assert results(archive, uid) == 2 and len(runs) == 1
