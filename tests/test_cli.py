"""The commands: helpful when asked, one plain sentence and a true exit status when something is wrong."""

import nbformat
import pytest
from click.testing import CliRunner

from radkit.cli import main


def radkit(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("data",),
        ("data", "fetch"),
        ("data", "verify"),
        ("tour",),
        ("lab",),
        ("scan",),
        ("show",),
        ("deid",),
        ("doctor",),
    ],
)
def test_every_command_explains_itself(command):
    answer = radkit(*command, "--help")
    assert answer.exit_code == 0 and len(answer.output.splitlines()) >= 5


def test_the_sources_are_listed_with_what_they_show_and_their_licence():
    answer = radkit("data", "list")
    assert answer.exit_code == 0 and "chest-radiograph" in answer.output and "CC BY 3.0" in answer.output


def test_an_unknown_source_is_one_sentence_and_no_traceback():
    answer = radkit("data", "verify", "chest-cd")
    assert answer.exit_code == 1 and "Did you mean 'chest-ct'?" in answer.output and "Traceback" not in answer.output


def test_names_of_sources_are_completed():
    answer = CliRunner().invoke(
        main,
        prog_name="radkit",
        env={"_RADKIT_COMPLETE": "bash_complete", "COMP_WORDS": "radkit data fetch chest-r", "COMP_CWORD": "3"},
    )
    assert answer.output.split(",")[-1].strip() == "chest-radiograph"


@pytest.mark.slow
def test_a_tour_with_a_failing_notebook_fails_and_says_where(tmp_path):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell("slices = []\nslices[132]")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "08_lost.ipynb")
    answer = radkit("tour", tmp_path / "08_lost.ipynb", "--out", tmp_path / "out")
    assert answer.exit_code == 1
    assert "08_lost.ipynb: cell [1] (" in answer.output and "IndexError: list index out of range" in answer.output
    assert (tmp_path / "out" / "index.html").exists()


@pytest.mark.slow
def test_the_doctor_looks_at_what_the_lessons_need():
    answer = radkit("doctor")
    for part in ("Python", "packages", "MONAI", "Orthanc", "starter data", "machine", "GPU"):
        assert f" {part}: " in answer.output
