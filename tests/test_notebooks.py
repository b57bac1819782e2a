"""Every notebook is built from its source, keeps the rules of the house, and runs under papermill."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
import psutil
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
    """Execute a copy in a folder of its own: its archive, its package and its temporary files all land there."""
    work = folder / "notebooks"
    work.mkdir(parents=True, exist_ok=True)
    stop = tour.execute(Path(shutil.copy(notebook, work)), folder, environment={"TMPDIR": str(folder), **environment})
    assert not stop.error, stop.error
    return nbformat.read(stop.executed, as_version=4)


@pytest.fixture
def place():
    """Return a folder that the archive's unprivileged account may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="radkit-notebook-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def printed(notebook: nbformat.NotebookNode) -> str:
    """Return what is left to read in the outputs, but for the seconds, which differ from run to run."""
    outputs = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") != "stderr"
    ]
    text = "".join(output.get("text") or output.data["text/plain"] + "\n" for output in outputs)
    lines = [line.rpartition("\r")[2].strip() for line in text.split("\n")]  # a progress bar overwrites its own line
    return re.sub(r"\d+\.\d s\b", "… s", "\n".join(line for line in lines if "%|" not in line))


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
@pytest.mark.parametrize("notebook", [path for path in NOTEBOOKS if path != FIRST], ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, place):
    executed = run(notebook, place)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")


@pytest.mark.slow
def test_the_first_notebook_runs_twice_without_a_difference_and_leaves_nothing_behind(place):
    first, second = run(FIRST, place), run(FIRST, place)
    assert all(cell.execution_count for cell in second.cells if cell.cell_type == "code")
    assert printed(first) == printed(second) != ""
    left = [process.cmdline() for process in psutil.process_iter(["cmdline"]) if str(place) in str(process.info)]
    assert left == []
    assert [path for path in place.rglob("*") if "archive" in path.parts and path.is_file()] == []


@pytest.mark.slow
def test_the_first_notebook_runs_on_stand_ins_and_the_embedded_archive_with_no_index_reachable(place):
    executed = run(FIRST, place, RADKIT_CACHE=str(place / "cache"), RADKIT_ARCHIVE="embedded", **NO_INDEX)
    assert "STAND-IN (generated)" in printed(executed) and "embedded: speaks DIMSE" in printed(executed)
    pictures = [o for c in executed.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert sum("STAND-IN" in output.data["text/plain"] for output in pictures) == 3


@pytest.mark.slow
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
