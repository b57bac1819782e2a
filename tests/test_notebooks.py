"""Every notebook is built from its source, keeps the rules of the house, and runs under papermill."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

from radkit import tour

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import build_notebooks  # noqa: E402

SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIRST = ROOT / "notebooks" / "00_whole_journey.ipynb"
by_name = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
# No package index: every route that pip knows is closed, and the cache is empty.
NO_INDEX = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
}


def run(notebook: Path, folder: Path, **environment: str) -> nbformat.NotebookNode:
    folder.mkdir(parents=True, exist_ok=True)
    stop = tour.execute(notebook, folder, environment=environment)
    assert not stop.error, stop.error
    return nbformat.read(stop.executed, as_version=4)


def printed(notebook: nbformat.NotebookNode) -> str:
    """Return what a reader sees in the outputs, but for the seconds, which differ from run to run."""
    text = "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code" and "seconds" not in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.get("name") != "stderr"
    )
    return re.sub(r"\d+\.\d s\b", "… s", text)


def test_there_is_a_notebook_for_every_source():
    assert [path.stem for path in SOURCES] == [path.stem for path in NOTEBOOKS] != []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_rebuild_finds_no_difference(source):
    assert build_notebooks.build(source) == source.with_suffix(".ipynb").read_text(encoding="utf-8")


@by_name
def test_a_notebook_keeps_the_rules(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code]
    assert max(lines) <= 15 and sum(lines) <= 150
    assert any("parameters" in cell.metadata.get("tags", []) for cell in code)
    assert not any(cell.outputs for cell in code)
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown").lower()
    for part in ("for whom", "goals", "minutes", "predict", "recap", "try next", "sources"):
        assert part in text, f"{notebook.name} has no word of: {part}"


@pytest.mark.slow
@pytest.mark.xdist_group("notebooks")
@by_name
def test_a_notebook_runs(notebook, tmp_path):
    executed = run(notebook, tmp_path)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")


@pytest.mark.slow
def test_the_first_notebook_runs_twice_without_a_difference(tmp_path):
    first, second = run(FIRST, tmp_path / "1"), run(FIRST, tmp_path / "2")
    assert printed(first) == printed(second) != ""


@pytest.mark.slow
def test_the_first_notebook_runs_on_the_embedded_archive(tmp_path):
    assert "DIMSE" in printed(run(FIRST, tmp_path, RADKIT_ARCHIVE="embedded"))


@pytest.mark.slow
def test_the_first_notebook_runs_on_stand_ins_with_no_index_reachable(tmp_path):
    executed = run(FIRST, tmp_path, RADKIT_CACHE=str(tmp_path / "cache"), **NO_INDEX)
    assert "STAND-IN" in printed(executed)


def test_a_failure_names_the_notebook_the_cell_and_the_error(tmp_path):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1"), nbformat.v4.new_code_cell("\nlung = 1 / 0")]
    )
    broken.metadata = build_notebooks.METADATA
    nbformat.write(broken, tmp_path / "07_broken.ipynb")
    (stop,) = tour.run([tmp_path / "07_broken.ipynb"], tmp_path / "out", progress=False)
    assert "lung = 1 / 0" in stop.error and "ZeroDivisionError" in stop.error
    page = (tmp_path / "out" / "index.html").read_text()
    assert "07_broken" in page and "ZeroDivisionError" in page
