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

from .._folders import whole_file
from .._optional import optional
from ..errors import CheckError
from .feedback import Note, NotYet, show, someone_is_there
from .questions import Pick, Question

NOTHING = {"wrong": 0, "solved": 0, "shown": 0}  # of a question: wrong answers; whether solved; whether solution shown


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
        If the source is not there.
    """

    def __init__(self, name: str, **given: Any):
        places = [folder / f"{name}_sol.py" for folder in (Path.cwd(), Path(__file__).parents[2] / "exercises")]
        if not (source := next(filter(Path.is_file, places), None)):
            raise CheckError(f"Expected {places[0].name} beside this notebook, found none: copy the whole folder.")
        cells = [cell.partition("\n")[::2] for cell in re.split("^# %%", source.read_text("utf-8"), flags=re.M)[1:]]
        code = [cell for cell in cells if "[markdown]" not in cell[0]]
        self.questions, self._code, scope = dict[str, Question](), dict[str, str](), {"rk": radkit, "np": np, **given}
        for (head, cell), (_, answer) in pairwise(code):
            if "question" in head:
                question = _last_value(cell, scope)
                self.questions[question.name] = question
                self._code[question.name] = re.sub(r"\s*# SOLUTION.*", "", answer).strip()
        self._file = (Path.cwd() if os.access(".", os.W_OK) else user_data_path("radkit")) / ".radkit" / f"{name}.json"
        self._kept = self._read()

    def __call__(self, name: str, *answer: Any) -> None:
        """Check an answer, a value or a view (which gets a button); the cell ends with NotYet if it is not right."""
        answer = (answer,) if len(answer) > 1 else answer  # the brackets around (x, y, z) are easily forgotten
        question, widget = self._find(name), any(hasattr(one, "comm") for one in answer)
        if someone_is_there() and (widget or not answer):
            return self._panel(question, *answer)
        if widget:
            show(*answer)
            answer = answer if question.grade(*answer)[0] == "right" else ()  # nobody was there to move it
        elif not answer:  # what there would be to see
            print(*getattr(question, "choices", [question.asked]), sep="\n")
        show(note := self.judge(name, *answer))
        if note.state != "right":
            raise NotYet(str(note))

    def judge(self, name: str, answer: Any = None) -> Note:
        """Grade an answer and keep what came of it; from the second wrong one on, the note shows the way."""
        state, text = self.questions[name].grade(answer)
        kept = self._kept[name]
        if state == "wrong" and kept["wrong"]:
            text += f'\n{self.questions[name].way}\nThe solution, if you want it: `check.solution("{name}")`'
        self._keep(name, wrong=kept["wrong"] + (state == "wrong"), solved=int(kept["solved"] or state == "right"))
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

    def _panel(self, question: Question, control: Any = None) -> None:
        """Show a view, or else radio buttons or a field to type into; two buttons; and what comes of them."""
        widgets, name = optional("ipywidgets"), question.name
        if isinstance(question, Pick):
            control = widgets.RadioButtons(options=question.choices, value=None, tooltip=name, layout={"width": "auto"})
        control = control or widgets.Text(placeholder=question.asked, tooltip=name, layout={"width": "28em"})
        check, solution = (widgets.Button(description=text) for text in ("Check", "Show solution"))
        said = Note("right", "You have solved this before.")._repr_html_() if self._kept[name]["solved"] else ""
        below, check.button_style = widgets.HTML(said), "primary"
        check.on_click(lambda _: below.set_trait("value", self.judge(name, control)._repr_html_()))
        solution.on_click(lambda _: below.set_trait("value", self.solution(name)._repr_html_()))
        show(control, widgets.VBox([widgets.HBox([check, solution]), below]))

    def _find(self, name: str) -> Question:
        if not isinstance(name, str) or name not in self.questions:
            show(Note("wrong", f"There is no question {name!r} here. There are: {', '.join(self.questions)}."))
            raise NotYet(f"There is no question {name!r}.")
        return self.questions[name]

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            kept = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
            return {name: {key: int(kept.get(name, NOTHING)[key]) for key in NOTHING} for name in self.questions}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            show(Note("progress", "the file that kept it cannot be read, so you start again."))
            return {name: dict(NOTHING) for name in self.questions}

    def _keep(self, name: str, **news: int) -> None:
        """Write the progress, a whole file or none; what cannot be written lasts as long as the kernel."""
        self._kept[name].update(news)
        with suppress(OSError), whole_file(self._file) as draft:
            draft.write_text(json.dumps(self._kept), "utf-8")


def _last_value(cell: str, scope: dict[str, Any]) -> Any:
    """Run a cell and return what a notebook would show of it."""
    *before, last = ast.parse(cell).body
    exec(compile(ast.Module(before, []), "question", "exec"), scope)
    return eval(compile(ast.Expression(last.value), "question", "eval"), scope)  # type: ignore[attr-defined]
