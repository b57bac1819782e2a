"""``radkit map`` for somebody who has never seen it: one sentence for each mistake, and no run without an end."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from highdicom import Volume

from radkit.cli import main
from radkit.data.ct import write_ct_series


def radkit(*words):
    return CliRunner().invoke(main, ["map", *map(str, words)])


def test_what_is_no_map_or_no_folder_is_told_in_a_line(tmp_path):
    answer = radkit("extract", tmp_path, tmp_path / "out")
    assert answer.exit_code == 1 and "no MAP folder" in answer.output and not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert radkit("run", tmp_path, tmp_path, tmp_path / "out", "--timeout", "-1").exit_code == 2
    answer = radkit("build", "--out", tmp_path / "file")
    assert answer.exit_code == 1 and answer.output.count("\n") == 1


@pytest.mark.slow
def test_a_ct_without_lungs_is_refused_and_not_run_for_ever(tmp_path):
    assert radkit("build", "--out", tmp_path / "map").exit_code == 0
    again = radkit("build", "--out", tmp_path / "map")
    assert again.exit_code == 1 and "--overwrite" in again.output
    affine = np.array([[0, 0, 2.0, -64], [0, 2.0, 0, -64], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    water = Volume(np.zeros((20, 64, 64), np.int16), affine, coordinate_system="PATIENT")
    write_ct_series(water, tmp_path / "in", header={"BodyPartExamined": "CHEST"})
    answer = radkit("run", tmp_path / "map", tmp_path / "in", tmp_path / "out", "--timeout", "600")
    assert answer.exit_code == 2 and "air-filled lungs" in answer.output
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "refused"
