"""An exercise as the learner meets it: it asks, judges, remembers what was solved, and shows a solution on request."""

from __future__ import annotations

import ast
import json
import os
import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_data_path

import radkit

from ..errors import CheckError
from .feedback import Note, NotYet, control_of, show, show_buttons, someone_is_there
from .questions import Question

KEPT = {"wrong": 0, "solved": 0, "shown": 0}  # of each question: wrong answers, whether solved, and solution shown


class Exercise:
    """The questions of an exercise: ``check(name, answer)``, and ``check(name)`` for one that needs no code.

    Parameters
    ----------
    name
        "01_anatomy" for the source ``01_anatomy_sol.py``, which lies beside the notebook or in the checkout.
    given
        What the questions are about, under the names that the source knows it by.

    Raises
    ------
    CheckError
        If the source is not there, or one of its questions cannot be read.
    """

    def __init__(self, name: str, **given: Any):
        scope = {"rk": radkit, "np": np, **given}
        parts = re.split(r"^# %%(.*)\n", _source(name).read_text("utf-8"), flags=re.M)[1:]
        cells = [cell for cell in zip(parts[::2], parts[1::2], strict=True) if "[markdown]" not in cell[0]]
        asked = [
            (_declared(cell, scope), answer) for (head, cell), (_, answer) in pairwise(cells) if "question" in head
        ]
        self.questions = {question.name: question for question, _ in asked}
        self._code = {question.name: re.sub(r"\s*# SOLUTION.*", "", answer).strip() for question, answer in asked}
        self._file = _place() / f"{name}.json"
        self._kept = self._read()

    def __call__(self, name: str, *answer: Any) -> None:
        """Check an answer: a value; or a control or a view, which gets a button that checks it.

        Raises
        ------
        NotYet
            If it is not right, once the screen says why.
        """
        question = self._find(name)
        if not answer or hasattr(answer[0], "comm"):
            control = answer[0] if answer else control_of(question)
            trait = question.sees if hasattr(control, question.sees) else "value"
            show(control)
            if someone_is_there():
                said = Note("right", "You have solved this before.")._repr_html_() * bool(self._kept[name]["solved"])
                actions = {
                    "Check": lambda: self.judge(name, getattr(control, trait)),
                    "Show the solution": lambda: self.solution(name),
                }
                return show_buttons(said, actions)
            value = getattr(control, trait)
            answer = (value if question.grade(value)[0] == "right" else None,)
        note = self.judge(name, *answer)
        show(note)
        if note.state != "right":
            raise NotYet(str(note))

    def judge(self, name: str, answer: Any) -> Note:
        """Grade an answer and keep what came of it; from the second wrong one on, the note shows the way."""
        state, text = self.questions[name].grade(answer)
        wrong, kept = state == "wrong", self._kept[name]
        if wrong and kept["wrong"]:
            text += f'\n{self.questions[name].way}\nThe solution, if you want it: `check.solution("{name}")`'
        self._keep(name, wrong=kept["wrong"] + wrong, solved=int(kept["solved"] or state == "right"))
        return Note(state, text)

    def solution(self, name: str) -> Note:
        """Return the solution of a question as its source has it, and what there is to learn from it."""
        question = self._find(name)
        self._keep(name, shown=1)
        return Note("solution", question.right, self._code[name])

    def progress(self) -> Note:
        """Return which questions are solved; that outlives a restart of the kernel."""
        lines = [f"{sum(kept['solved'] for kept in self._kept.values())} of {len(self._kept)} solved"]
        for name, kept in self._kept.items():
            more = f" · {kept['wrong']} wrong" * bool(kept["wrong"]) + " · solution seen" * kept["shown"]
            lines.append(f"{'✓' if kept['solved'] else '○'} {name}{more}")
        return Note("progress", "\n".join(lines))

    def _find(self, name: str) -> Question:
        if name not in self.questions:
            show(Note("wrong", f"There is no question {name!r} here. There are: {', '.join(self.questions)}."))
            raise NotYet(f"no question {name!r}")
        return self.questions[name]

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            kept = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
            return {name: {key: int(kept.get(name, KEPT)[key]) for key in KEPT} for name in self.questions}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            show(Note("progress", "the file that kept it cannot be read, so you start again."))
            return {name: dict(KEPT) for name in self.questions}

    def _keep(self, name: str, **news: int) -> None:
        """Write the progress, a whole file or none; what cannot be written lasts as long as the kernel."""
        self._kept[name].update(news)
        part = self._file.with_suffix(".part")
        with suppress(OSError):
            part.write_text(json.dumps(self._kept), "utf-8")
            part.replace(self._file)


def _source(name: str) -> Path:
    for folder in (Path.cwd(), Path.cwd() / "exercises", Path(__file__).parents[2] / "exercises"):
        if (path := folder / f"{name}_sol.py").is_file():
            return path
    raise CheckError(f"Expected {name}_sol.py beside this notebook, and it is not there: copy the whole folder.")


def _place() -> Path:
    """Return where progress is kept: beside the notebook or, where that cannot be written, in the user's own folder."""
    for folder in (Path.cwd() / ".radkit", user_data_path("radkit")):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            break
    return folder


def _declared(cell: str, scope: dict[str, Any]) -> Question:
    """Run a question's cell and return its last value."""
    try:
        *before, last = ast.parse(cell).body
        exec(compile(ast.Module(before, []), "question", "exec"), scope)
        return eval(compile(ast.Expression(last.value), "question", "eval"), scope)  # type: ignore[attr-defined]
    except Exception as error:
        raise CheckError(f"A question cannot be read ({type(error).__name__}: {error}):\n{cell}") from error
