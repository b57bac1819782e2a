"""Checked answers: right, or a hint that names the mistake; anything a learner gives; progress; and the real thing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import open_notebook
from highdicom import Volume
from pydicom import DataElement
from pydicom.multival import MultiValue
from pydicom.valuerep import DSdecimal, DSfloat

import radkit as rk
from radkit.errors import CheckError, RadkitError

SAY = {"hint": "Look again.", "way": "This way."}
MASK = np.zeros((4, 20, 20), bool)
MASK[1:3, 4:12, 4:12] = True
SOURCE = """# %% [markdown]
# # A try

# %%
import radkit as rk

check = rk.check.Exercise("99_try", gap=2.0)
check.progress()

# %% tags=["question"]
rk.check.Number(
    "spacing",
    gap,
    unit="mm",
    wrong={3.0: "That is the slice thickness: these slices overlap."},
    hint="How far is it from one slice to the next?",
    way="Subtract the z of two neighbours: `ImagePositionPatient[2]`.",
    right="Thickness and distance are two things.",
)

# %%
spacing = gap_of(slices)  # SOLUTION
check("spacing", spacing)

# %% tags=["question"]
rk.check.Pick(
    "inverted",
    "PhotometricInterpretation",
    wrong={"WindowCenter": "It makes all darker or brighter.", "BitsStored": "That is how finely grey is graded."},
    hint="Which element says what the lowest number looks like?",
    way="Look at group 0028.",
    right="MONOCHROME1: the lowest number is white.",
)

# %%
check("inverted", "PhotometricInterpretation")  # SOLUTION: check("inverted")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of exercises, which the notebook is in."""
    (tmp_path / "99_try_sol.py").write_text(SOURCE, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def number(answer, **options):
    return rk.check.Number("n", answer, **SAY, **options)


@pytest.mark.parametrize(
    "value", [2, 2.0, 2.01, np.float32(2), np.array([2.0]), DSfloat("2.0"), DSdecimal("2"), "2", "2,0"]
)
def test_a_number_may_come_in_any_of_its_types(value):
    assert number(2.0, right="Yes.").grade(value) == ("right", "Yes.")


def test_a_whole_number_is_exact_and_a_tolerance_is_kept():
    assert number(132).grade(131)[0] == "wrong"
    assert number(22.0, tolerance=2).grade(20.1)[0] == "right" and number(22.0, tolerance=2).grade(19.9)[0] == "wrong"
    assert number((0.7, 0.7)).grade(MultiValue(float, ["0.7", "0.7"]))[0] == "right"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (23.0, "10 times"),
        (0.0023, "0.001 times"),
        (-2.3, "sign is wrong"),
        (float("nan"), "not finite"),
        (np.inf, "not finite"),
        ([2.3, 2.3], "shape (2,)"),
        (np.array([]), "shape (0,)"),
        ("2.3 mm", "without a unit. A str came"),
        (len, "A builtin_function_or_method came"),
        (object(), "A object came"),
        ({"mm": 2.3}, "A dict came"),
        (2.3 + 1j, "A complex came"),
        (pytest, "A module came"),
        (DataElement(0x00180050, "DS", "2.3"), "A DataElement came"),
    ],
)
def test_a_number_that_is_none_or_off_by_its_unit_is_told_so(value, word):
    state, said = number(2.3, unit="mm").grade(value)
    assert state == "wrong" and word in said


class Broken:
    """What a learner's object may do when it is looked at."""

    def __array__(self, *_, **__):
        raise RuntimeError("boom")

    def __iter__(self):
        raise ZeroDivisionError

    def __eq__(self, _):
        raise MemoryError

    __hash__ = None


ONE_OF_EACH = [
    number(2.3),
    rk.check.Words("w", {"PatientName"}, **SAY),
    rk.check.Pick("p", "a", wrong={"b": "Not b."}, **SAY),
    rk.check.Mask("m", MASK, **SAY),
    rk.check.Point("l", (10, 20, 30), **SAY),
    rk.check.Window("v", (40, 400), **SAY),
]


@pytest.mark.parametrize("question", ONE_OF_EACH, ids=lambda question: type(question).__name__)
def test_nothing_that_a_learner_gives_raises(question):
    for value in (
        Broken(),
        object(),
        float("nan"),
        "",
        [],
        [[1], [1, 2]],
        {"x": 1},
        b"x",
        -1,
        [None],
        np.array(None),
        len,
    ):
        state, said = question.grade(value)
        assert state in ("wrong", "open") and said, value
    for value in (None, ..., "", [], ()):
        assert question.grade(value) == ("open", "Look again.")


def test_words_are_a_set_and_part_of_it_is_counted():
    question = rk.check.Words("w", {"PatientName", "PatientID"}, wrong=[({"PatientAge"}, "Age alone is not.")], **SAY)
    for right in ({"patientname", "PatientID"}, ["PatientID", " PatientName "], "PatientName, PatientID"):
        assert question.grade(right)[0] == "right"
    assert question.grade("PatientAge") == ("wrong", "Age alone is not.")
    assert question.grade({"PatientName", "Rows"})[1].startswith("1 of 2 found; 1 of yours")


def test_a_mask_is_compared_by_its_overlap():
    question = rk.check.Mask("m", MASK, wrong=[(np.roll(MASK, 8, 2), "Moved to the other side.")], **SAY)
    nearly = MASK.copy()
    nearly[1, 4, 4:8] = False
    volume = Volume(nearly.astype(np.uint8), np.eye(4), coordinate_system="PATIENT")
    assert question.grade(nearly)[0] == question.grade(volume)[0] == "right"
    assert question.grade(np.roll(MASK, 8, 2))[1] == "Moved to the other side."
    assert "inside and outside" in question.grade(~MASK)[1]
    assert "empty" in question.grade(MASK * 0)[1] and "shape (20, 20, 4)" in question.grade(MASK.T)[1]


def test_a_point_on_the_other_side_of_the_patient_is_told_so():
    question = rk.check.Point("l", (60.0, -20.0, 100.0), tolerance=5, **SAY)
    assert question.grade(np.array([62, -20, 100]))[0] == "right"
    assert "left and right" in question.grade((-60, -20, 100))[1]
    assert "RAS" in question.grade((-60, 20, 100))[1] and "turned around" in question.grade((100, -20, 60))[1]
    slice_only = rk.check.Point("l", (0, 0, 50), tolerance=(1e9, 1e9, 3), **SAY)
    assert slice_only.grade((200, -80, 52))[0] == "right" and slice_only.grade((0, 0, 54))[0] == "wrong"


def test_a_window_is_told_what_is_seen_of_it(small_ct):
    question = rk.check.Window("v", (-600, 1500), wrong=[((50, 400), "Soft tissue: the lung is black.")], **SAY)
    view = rk.view.show(small_ct.volume)
    assert question.grade(view) == ("wrong", "Soft tissue: the lung is black.")
    view.window = (-550, 1600)
    assert question.grade(view)[0] == "right"
    assert "swapped" in question.grade((1500, -600))[1]
    assert "narrow" in question.grade((-600, 300))[1] and "wide" in question.grade((-600, 4000))[1]
    assert "too dark" in question.grade((0, 1500))[1] and "too bright" in question.grade((-1000, 1500))[1]


def test_a_view_answers_with_its_crosshair_and_its_distance(small_ct):
    view = rk.view.show(small_ct.volume)
    assert rk.check.Point("l", view.point, tolerance=0.1, **SAY).grade(view)[0] == "right"
    length = number(20.0, unit="mm", tolerance=1)
    assert length.grade(view)[0] == "open"
    view.distances = [{"from": [-80, -45, -150], "to": [-60.5, -45, -150], "mm": 19.5}]
    assert length.grade(view)[0] == "right"


def test_the_second_wrong_answer_brings_the_way_and_the_solution_its_source(folder):
    check = rk.check.Exercise("99_try", gap=2.0)
    first, second = check.judge("spacing", 3), check.judge("spacing", 30)
    assert (first.state, first.text) == ("wrong", "That is the slice thickness: these slices overlap.")
    assert "Subtract the z" in second.text and 'check.solution("spacing")' in second.text
    assert check.solution("spacing").code == 'spacing = gap_of(slices)\ncheck("spacing", spacing)'
    assert "· 2 wrong · solution seen" in check.progress().text


def test_a_wrong_answer_is_shown_and_ends_the_cell(folder, capsys):
    check = rk.check.Exercise("99_try", gap=2.0)
    with pytest.raises(RadkitError, match="slice thickness"):
        check("spacing", 3.0)
    check("spacing", 2.0)
    for name in ("spacng", 2.0, np.zeros(2)):
        with pytest.raises(CheckError, match="There is no question"):
            check(name, 2.0)
    with pytest.raises(CheckError, match=r"shape \(2,\)"):
        check("spacing", 2.0, 2.0)
    printed = capsys.readouterr().out
    assert (
        "✗ Not yet. That is the slice" in printed
        and "✓ Right." in printed
        and "There are: spacing, inverted" in printed
    )


def test_progress_outlives_the_kernel_and_holds_no_answer(folder):
    tell = "import radkit as rk; check = rk.check.Exercise('99_try', gap=2.0); {}; print(check.progress())"
    ask = [sys.executable, "-c"]
    subprocess.run([*ask, tell.format("check('spacing', 2.0)")], check=True, capture_output=True)
    said = subprocess.run(
        [*ask, tell.format("pass")], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    assert "1 of 2 solved" in said and "✓ spacing" in said and "○ inverted" in said
    assert [path.name for path in (folder / ".radkit").iterdir()] == ["99_try.json"]
    kept = json.loads((folder / ".radkit" / "99_try.json").read_text())
    assert kept["spacing"] == {"wrong": 0, "solved": 1, "shown": 0} and set(kept) == {"spacing", "inverted"}


@pytest.mark.parametrize(
    "rubbish", ["", "{", "[1, 2]", '{"spacing": 3}', '{"spacing": {"solved": "yes"}}', "\x00\xff", "null"]
)
def test_progress_that_cannot_be_read_starts_again_and_says_so(folder, rubbish, capsys):
    (folder / ".radkit").mkdir()
    (folder / ".radkit" / "99_try.json").write_text(rubbish, "utf-8")
    check = rk.check.Exercise("99_try", gap=2.0)
    assert "you start again" in capsys.readouterr().out
    check("spacing", 2.0)
    assert "1 of 2 solved" in rk.check.Exercise("99_try", gap=2.0).progress().text


def test_an_exercise_that_is_not_there_is_named(folder):
    with pytest.raises(CheckError, match=r"98_other_sol\.py beside this notebook"):
        rk.check.Exercise("98_other")


def test_what_is_said_is_text_and_no_markup_of_the_answer(folder):
    html = rk.check.Exercise("99_try", gap=2.0).judge("spacing", "<b>2</b>")._repr_html_()
    assert "<b>2" not in html and "<b>✗ Not yet.</b>" in html and 'role="status"' in html


@pytest.mark.slow
@pytest.mark.browser
def test_a_click_is_judged_at_once_and_remembered_after_a_restart():
    with open_notebook(Path(__file__).parents[1] / "exercises" / "01_anatomy_ex.ipynb") as session:
        page, cells = session.page, session.page.locator(".jp-CodeCell")
        session.run_all()
        session.wait()
        assert session.prompts()[:3] == ["[1]:", "[2]:", "[ ]:"], "the notebook does not stop at its first question"
        assert (
            cells.nth(1).locator(".jp-OutputArea").inner_text().startswith("○ Not answered yet. Look for the letters")
        )

        def run(what: str):
            return session.run(cells.filter(has_text=what).first)

        def said(word: str, shot: str) -> None:
            status = cell.get_by_role("status")
            assert session.until(lambda: status.count() == 1 and word in status.inner_text()), status.all_inner_texts()
            session.screenshot(shot, cell)

        cell = run('check("inverted")')
        cell.get_by_role("button", name="Check").click()
        said("○ Not answered yet. It is the element", "open")
        cell.get_by_label("BitsStored").check()
        cell.get_by_role("button", name="Check").click()
        said("✗ Not yet. That is how many bits", "wrong")
        cell.get_by_label("WindowCenter").check()
        cell.get_by_role("button", name="Check").click()
        said("Its value here is MONOCHROME1", "wrong-twice")
        cell.get_by_label("PhotometricInterpretation").check()
        cell.get_by_role("button", name="Check").click()
        said("✓ Right.", "right")
        cell.get_by_role("button", name="Show solution").click()
        said("The solution.", "solution")

        page.locator(".lm-MenuBar-item", has_text="Kernel").click()
        page.locator('[data-command="kernelmenu:restart"]').click()
        with page.expect_response(lambda answer: "/restart" in answer.url):
            page.get_by_role("button", name="Confirm Kernel Restart").click()
        page.get_by_text("| Idle").wait_for()
        assert "✓ inverted · 2 wrong" in run("check = rk.check.Exercise").locator(".jp-OutputArea").inner_text()
        cell = run('check("inverted")')
        said("You have solved this before.", "again")
        assert session.report.outside == []
