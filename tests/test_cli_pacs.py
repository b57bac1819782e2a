"""``radkit pacs``: an archive that outlives the command, and one plain sentence for whatever is missing."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread
from test_pacs import need
from test_pacs_watch import studies, until

from radkit.cli import main
from radkit.cli_pacs import STATE, _size

COMMANDS = ("start", "stop", "status", "send", "find", "fetch", "watch")
APPLICATION = """
import os, pydicom, pathlib
source, target = (pathlib.Path(os.environ[f"HOLOSCAN_{end}_PATH"]) for end in ("INPUT", "OUTPUT"))
made = pydicom.dcmread(next(source.iterdir()))
made.Modality, made.SeriesInstanceUID = "SR", pydicom.uid.generate_uid()
made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
made.save_as(target / "made.dcm")
"""


def pacs(*words):
    return CliRunner().invoke(main, ["pacs", *map(str, words)])


@pytest.fixture
def project(monkeypatch):
    """A folder to work in, that other accounts can enter; an archive that still runs for it is stopped."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        monkeypatch.delenv("ORTHANC_URL", raising=False)
        yield Path(folder)
        pacs("stop")
        monkeypatch.undo()


def files(folder, count=2, **more):
    folder.mkdir()
    uids, images = studies(count, **more)
    for image in images:
        image.save_as(folder / f"{image.SOPInstanceUID}.dcm", enforce_file_format=True)
    return uids


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    answer = pacs(command, "--help")
    assert answer.exit_code == 0 and len(answer.output.splitlines()) >= 5


@pytest.mark.parametrize("words", [("stop",), ("status",), ("find",), ("fetch", "--study", "1.2", "--out", "x")])
def test_without_an_archive_one_sentence_says_so(project, words):
    answer = pacs(*words)
    assert answer.exit_code == 1 and answer.output.count("\n") == 1 and "radkit pacs start" in answer.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("find", "--archive", "orthanc"), "expected http://host:port or dicom://AET@host:port"),
        (("find", "Modality"), "expected KEYWORD=VALUE"),
        (("fetch", "--out", "x"), "--study or --series"),
        (("watch", "."), "no MAP folder"),
        (("start", "--foreground"), ".radkit: File exists."),
    ],
)
def test_a_wrong_word_is_told_before_anything_happens(project, words, said):
    (project / ".radkit").write_text("a file where a folder should be")
    answer = pacs(*words)
    (project / ".radkit").unlink()
    assert answer.exit_code in (1, 2) and said in answer.output and isinstance(answer.exception, SystemExit)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["orthanc", "embedded"])
def test_an_archive_outlives_the_command_and_keeps_what_it_was_sent(project, kind):
    need(kind)
    uids = files(project / "in", StudyDescription="CT of the chest")
    assert pacs("start", "--kind", kind).exit_code == 0
    assert stat.S_IMODE(STATE.stat().st_mode) == 0o600
    again = pacs("start")
    assert again.exit_code == 1 and "runs already" in again.output
    assert "Nothing matches" in pacs("find").output
    assert pacs("send", "in").output.strip() == "The archive holds all 4 instances."
    found = pacs("find", "StudyDescription=*chest", "--json")
    assert {one["StudyInstanceUID"] for one in json.loads(found.output)} == set(uids) and "SECRET" not in found.output
    assert all(uid in pacs("find").output for uid in uids) and pacs("find", "StudyDescription=MR").exit_code == 1
    assert pacs("fetch", "--study", uids[0], "--out", "out").exit_code == 0
    assert all(dcmread(path) == dcmread(Path("in") / path.name) for path in Path("out").iterdir())
    assert pacs("fetch", "--study", "1.2.3", "--out", "none").exit_code == 1 and not Path("none").exists()
    told = pacs("status")
    assert told.exit_code == 0 and "2 studies, 4 instances" in told.output and "MB" in told.output
    secret = json.dumps(json.loads(STATE.read_text())["open"]).partition("radkit:")[2].partition("@")[0]
    assert not secret or secret not in told.output + again.output
    assert uids[0] in completed("radkit pacs fetch --study", uids[0][:-3])
    assert pacs("stop").exit_code == 0 and pacs("status").exit_code == 1
    assert pacs("start", "--kind", kind).exit_code == 0 and "2 studies" in pacs("status").output


def test_a_file_that_goes_while_an_archives_bytes_are_counted_counts_for_nothing(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "kept").write_bytes(b"kept")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # listed, and not there when it is looked at
    assert _size(tmp_path) == 4


def completed(words, begun):
    shell = {
        "_RADKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": f"{words} {begun}",
        "COMP_CWORD": str(len(words.split())),
    }
    return CliRunner().invoke(main, prog_name="radkit", env=shell).output


@pytest.mark.slow
def test_a_map_watches_until_it_is_told_to_end_and_an_archive_that_was_killed_is_started_again(project):
    need("orthanc")
    application, manifest = project / "map/opt/holoscan/app/app.py", project / "map/etc/holoscan/app.json"
    for folder in (application.parent, manifest.parent, project / "map/var/holoscan"):
        folder.mkdir(parents=True)
    application.write_text(APPLICATION)
    manifest.write_text(json.dumps({"command": "python /opt/holoscan/app/app.py", "environment": {}}))
    pacs("start")
    uids = files(project / "in")
    pacs("send", "in")
    command = [sys.executable, "-m", "radkit.cli", "pacs", "watch", "map", "--where", "Modality=CT"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: pacs("find", "--level", "series", "Modality=SR", "--json").output.count("SeriesInstanceUID") == 2)
    os.kill(json.loads(STATE.read_text())["pid"], signal.SIGKILL)
    until(lambda: pacs("status").exit_code == 1)
    assert "ended by itself" in pacs("stop").output and not STATE.exists()
    until(lambda: pacs("start").exit_code == 0)  # as soon as the killed one's Orthanc has let go of the folder
    assert "2 studies, 6 instances" in pacs("status").output
    uids += files(project / "later")  # the watcher finds the archive at its new address
    pacs("send", "later")
    until(lambda: pacs("find", "--level", "series", "Modality=SR", "--json").output.count("SeriesInstanceUID") == 4)
    watching.send_signal(signal.SIGTERM)
    told, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0 and "4 studies; 4 stored" in told and all(f"{uid} stored" in told for uid in uids)
    assert 1 <= told.count(" waiting ") < 5


@pytest.mark.slow
def test_an_archive_elsewhere_is_believed_by_its_certificate(project):
    need("orthanc")
    pacs("start", "--tls")
    where = json.loads(STATE.read_text())["open"]
    asked = ("find", "--archive", where["kind"])
    assert "Nothing matches" in pacs(*asked, "--certificate", where["tls"]).output
    assert "certificate" in pacs(*asked).output
