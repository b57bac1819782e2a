"""Twenty kills in a row of each kind, at random moments of a transfer: no instance is lost, none is there twice."""

import itertools
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from test_pacs import KINDS, opened
from test_pacs_faults import place  # noqa: F401

from radkit.pacs import orthanc, scp
from radkit.pacs.instances import Instance

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the faults are made with POSIX signals")
KILLS, ENCODED = 20, Instance.encoded
FORK = multiprocessing.get_context("forkserver")  # a real process, without half a minute of imports
FORK.set_forkserver_preload(["radkit.pacs.scp", "radkit.pacs.orthanc", "pynetdicom", "dicomweb_client"])


def small_study(count=12):
    """A study of small instances; each says which it is."""
    study, series, made = generate_uid(), generate_uid(), []
    for number in range(count):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.PatientID, one.PatientName, one.Modality, one.InstanceNumber = "T", "T^T", "OT", number
        one.Rows, one.Columns, one.SamplesPerPixel, one.PixelRepresentation = 128, 128, 1, 0
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PhotometricInterpretation = 8, 8, 7, "MONOCHROME2"
        one.PixelData = bytes([number]) * 128 * 128
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        made.append(one)
    return study, made


class Forked:
    """The embedded archive's server as a forked process, so that it is there again at once."""

    def __init__(self, order, home):
        self.process, self.home = FORK.Process(target=scp.serve, kwargs=order), home
        self.process.start()
        self.pid, self.again = self.process.pid, lambda: Forked(order, home)

    def alive(self, patience=0.0):
        self.process.join(patience)
        return self.process.is_alive()

    def stop(self):
        self.process.kill()
        self.process.join()


def quick_restart(archive):
    """Let the embedded archive come back by a fork."""
    archive.server.stop()
    home = archive.server.home
    order = {"folder": str(home.store), "account": None, "port": archive.dicom_port, "ae_title": archive.ae_title}
    order |= {"callers": ["RADKIT"], "quota": 2**40, "tls": []}
    archive.server = Forked(order, home)


def check(archive, studies, killed):
    lost = doubled = 0
    for study, made in studies:
        held = [str(one.SOPInstanceUID) for one in archive.find("instance", StudyInstanceUID=study)]
        lost += len({str(one.SOPInstanceUID) for one in made} - set(held))
        doubled += len(held) - len(set(held))
    assert archive.fetch(study=study, progress=False) == made
    print(f"\n{archive.kind}: {killed}; {sum(len(made) for _, made in studies)} sent, {lost} lost, {doubled} doubled")
    assert lost == doubled == 0


def telling(encoded, number, tell):
    """Return ``encoded``, which also tells when it is at the ``number``-th instance to be sent."""
    numbers = itertools.count(1)

    def told(self):
        if next(numbers) == number:
            tell()
        return encoded(self)

    return told


def impatient(retries):
    """Try again every 0.05 s, as long as the pauses that a learner gets would last."""
    for _ in range(60 * retries):
        yield
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_kills_of_the_archive_lose_and_double_nothing(kind, place, monkeypatch):  # noqa: F811
    monkeypatch.setattr("radkit.pacs.archive.pauses", impatient)
    studies, struck = [], 0
    with opened(kind, folder=place) as archive:
        if kind == "embedded":
            quick_restart(archive)
        for _ in range(KILLS):
            studies.append(small_study())
            begun = threading.Event()
            monkeypatch.setattr(Instance, "encoded", telling(ENCODED, random.randint(1, 6), begun.set))
            sender = threading.Thread(
                target=archive.send, args=(studies[-1][1],), kwargs={"retries": 8, "progress": False}
            )
            sender.start()
            begun.wait()
            time.sleep(random.uniform(0, 0.003))
            struck += sender.is_alive()
            os.kill(archive.server.pid, signal.SIGKILL)
            archive.restart()
            sender.join()
        assert struck > KILLS / 2
        check(archive, studies, f"{KILLS} kills of the archive, {struck} in mid-transfer")


def _send(url, folder, number, seconds):
    """Send a study, and be killed so many seconds after its ``number``-th instance was begun."""
    end = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    end.daemon = True
    Instance.encoded = telling(ENCODED, number, end.start)
    orthanc.connect(url, timeout=60).send(Path(folder), progress=False)
    os._exit(0)


@pytest.mark.slow
def test_twenty_kills_of_the_sender_lose_and_double_nothing(place):  # noqa: F811
    studies, struck = [], 0
    with opened("orthanc") as archive:
        url = archive.url.replace("//", "//{}:{}@".format(*archive.session.auth))
        for number in range(KILLS):
            study, made = small_study()
            studies.append((study, made))
            folder = place / str(number)
            folder.mkdir()
            for one in made:
                one.save_as(folder / f"{one.InstanceNumber:02}.dcm", enforce_file_format=True)
            moment = random.randint(1, 6), random.uniform(0, 0.003)
            sender = FORK.Process(target=_send, args=(url, str(folder), *moment))
            sender.start()
            sender.join()
            struck += sender.exitcode == -signal.SIGKILL
            archive.send(folder, progress=False)
        assert struck > KILLS / 2
        check(archive, studies, f"{KILLS} kills of the sender, {struck} in mid-transfer")
