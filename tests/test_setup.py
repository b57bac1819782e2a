"""The set-up script: quick the second time, plain words where something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import setup  # noqa: E402


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Collect the commands that the script would run; each one succeeds."""
    seen = []
    monkeypatch.setattr(setup, "run", lambda command, **_: seen.append(" ".join(map(str, command))) or 0)
    monkeypatch.setattr(setup, "LOG", tmp_path / "setup.log")
    setup.LOG.write_text("the last words of pip\n")
    return seen


@pytest.fixture
def python(tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    return tmp_path / "venv" / "bin" / "python"


def test_the_second_set_up_installs_nothing(calls, python):
    assert setup.install_packages(python, "lab", "cpu") is True
    calls.clear()
    assert setup.install_packages(python, "lab", "cpu") is False
    assert calls == []


def test_what_tests_need_is_added_to_a_lab_and_a_lab_takes_nothing_away(calls, python):
    setup.install_packages(python, "lab", "cpu")
    assert setup.install_packages(python, "test", "cpu") is True
    assert setup.install_packages(python, "lab", "cpu") is False


def test_cuda_takes_the_build_of_the_index_and_cpu_lets_an_index_offer_a_smaller_one(calls, python):
    setup.install_packages(python, "lab", "cpu")
    setup.install_packages(python, "lab", "cuda")
    cpu, cuda = (call for call in calls if "pip install" in call)
    assert " torch==" in cpu and " torch===" in cuda


def test_a_failed_install_shows_the_last_lines_and_is_tried_again(calls, python, monkeypatch):
    monkeypatch.setattr(setup, "run", lambda command, **_: 1)
    with pytest.raises(setup.SetupError, match="the last words of pip"):
        setup.install_packages(python, "lab", "cpu")
    assert not (python.parent.parent / "radkit-setup").exists()


def test_without_root_it_names_the_command_and_what_stands_in(calls, monkeypatch, capsys):
    monkeypatch.setattr(setup, "is_there", lambda command: False)
    monkeypatch.setattr(setup, "apt_works", lambda: False)
    setup.install_system_packages("lab")
    said = capsys.readouterr().out
    assert "sudo apt-get install orthanc orthanc-dicomweb" in said and "embedded archive" in said
    assert calls == []


def test_help_says_what_it_does():
    child = subprocess.run([sys.executable, ROOT / "tools" / "setup.py", "--help"], capture_output=True, text=True)
    assert child.returncode == 0 and "virtual environment" in child.stdout
