"""Every question of every exercise: the solution passes, the untouched cell stops, each wrong answer gets its hint."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient

from radkit import tour

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import build_notebooks  # noqa: E402

SOURCES = sorted((ROOT / "exercises").glob("*_sol.py"))
ASKING = re.compile(r'check\("([^"]+)"')  # check("spacing", answer): the cell belongs to that question
# What the kernel says of the questions: their hints, and what is said to the right answer and to each wrong one.
GRADES = """import json
print(json.dumps({name: {
    "right": q.grade(q.answer)[0], "hints": [q.hint, q.way, *(hint for _, hint in q.mistakes)],
    "wrong": [[repr(answer), hint, *q.grade(answer)] for answer, hint in q.mistakes],
} for name, q in check.questions.items()}))"""


class Run(NamedTuple):
    untouched: list[nbformat.NotebookNode]  # the cells of code of the learner's notebook
    solved: list[nbformat.NotebookNode]  # of the solution's
    questions: dict[str, dict]


def code_of(source: Path, *, solved: bool = False) -> list[nbformat.NotebookNode]:
    notebook = nbformat.reads(build_notebooks.build(source, solved=solved), as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def asked_in(cell: nbformat.NotebookNode) -> str:
    return found[1] if (found := ASKING.search(cell.source)) else ""


def error_of(cell: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    return next((output for output in cell.outputs if output.output_type == "error"), None)


@pytest.fixture(scope="module", params=["real", "stand-ins"])
def data(request):
    """The exercises hold on the real images and on the generated ones."""
    return {"real": "0", "stand-ins": "1"}[request.param]


@pytest.fixture(scope="module", params=SOURCES, ids=lambda path: path.stem.removesuffix("_sol"))
def ran(request, data, tmp_path_factory) -> Run:
    """Run the learner's notebook as it is and then the solution, in one kernel, in a copy of the folder."""
    folder = tmp_path_factory.mktemp("exercise")
    shutil.copy(request.param, folder)
    untouched, solved = code_of(request.param), code_of(request.param, solved=True)
    cells = [*untouched, *solved, nbformat.v4.new_code_cell(GRADES)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=build_notebooks.METADATA)
    env = {**os.environ, "RADKIT_STAND_INS": data, "OMP_NUM_THREADS": "1"}
    NotebookClient(notebook, allow_errors=True, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute(
        env=env
    )
    assert not error_of(cells[-1]), error_of(cells[-1]).traceback
    return Run(untouched, solved, json.loads(cells[-1].outputs[0].text))


def test_there_are_exercises():
    assert "01_anatomy_sol.py" in [source.name for source in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_rebuild_finds_no_difference(source):
    assert build_notebooks.build(source) == build_notebooks.target_of(source).read_text(encoding="utf-8")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_learners_notebook_holds_three_to_five_questions_and_no_answer(source):
    cells = code_of(source)
    asking = [cell for cell in cells if asked_in(cell)]
    declared = re.findall(r'tags=\["question"\]', source.read_text("utf-8"))
    assert 3 <= len({asked_in(cell) for cell in asking}) == len(asking) == len(declared) <= 5
    assert any("..." not in cell.source for cell in asking), "no question is answered without code"
    assert not re.search(r"SOLUTION|rk\.check\.(?!Exercise)", "\n".join(cell.source for cell in cells))
    assert not any(cell.outputs for cell in cells)


@pytest.mark.slow
def test_the_solution_passes_every_check(ran):
    assert [error_of(cell).evalue for cell in ran.solved if error_of(cell)] == []
    for cell in filter(asked_in, ran.solved):
        assert "✓ Right." in cell.outputs[-1].data["text/plain"], asked_in(cell)
    assert {name: question["right"] for name, question in ran.questions.items()} == dict.fromkeys(
        ran.questions, "right"
    )


@pytest.mark.slow
def test_each_untouched_answer_stops_its_cell_with_a_hint_and_no_traceback(ran):
    assert [asked_in(cell) for cell in ran.untouched if error_of(cell)] == list(ran.questions)
    for cell in filter(asked_in, ran.untouched):
        error, question = error_of(cell), ran.questions[asked_in(cell)]
        assert (error.ename, error.traceback) == ("NotYet", ["The notebook stops here until this is right."])
        assert error.evalue == f"○ Not answered yet. {question['hints'][0]}"


@pytest.mark.slow
def test_each_wrong_answer_that_the_source_names_is_refused_with_its_own_hint(ran):
    for name, question in ran.questions.items():
        assert len(question["wrong"]) >= 2, f"{name} names no plausible mistakes"
        for answer, hint, state, said in question["wrong"]:
            assert (state, said) == ("wrong", hint), (name, answer)


@pytest.mark.slow
def test_no_two_hints_are_alike(ran):
    hints = [hint for question in ran.questions.values() for hint in question["hints"]]
    assert len(set(hints)) == len(hints) and all(len(hint) > 20 for hint in hints)


@pytest.mark.slow
def test_papermill_stops_at_the_first_check_and_names_it(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    notebook = build_notebooks.target_of(SOURCES[0])
    stop = tour.execute(Path(shutil.copy(notebook, work)), tmp_path)  # without its source: the checkout has it
    first = next(cell for cell in code_of(SOURCES[0]) if asked_in(cell))
    assert first.id in stop.error and "NotYet: ○ Not answered yet." in stop.error
