"""How feedback looks: notes, the controls of a question without code, and an end of a cell without a traceback."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._optional import optional
from ..errors import CheckError
from .questions import Pick, Question

# A sign and words beside each colour (Okabe and Ito's, as in the viewer), so that the colour alone says nothing.
STATES = {
    "right": ("✓ Right.", "#009E73"),
    "wrong": ("✗ Not yet.", "#D55E00"),
    "open": ("○ Not answered yet.", "#8A8F98"),
    "solution": ("▸ The solution.", "#0072B2"),
    "progress": ("▸ Your progress:", "#0072B2"),
}
STYLE = "border-left: 6px solid {}; font: 17px/1.5 system-ui, sans-serif; max-width: 52em; padding: 3px 14px"


@dataclass(frozen=True, repr=False)
class Note:
    """What is said to the learner: a heading, a text with `code` in it, and lines of code."""

    state: str
    text: str
    code: str = ""

    def __repr__(self) -> str:
        return f"{STATES[self.state][0]} {self.text}\n{self.code}".strip()

    def _repr_html_(self) -> str:
        heading, colour = STATES[self.state]
        text = re.sub("`(.+?)`", r"<code>\1</code>", html.escape(self.text)).replace("\n", "<br>")
        code = f"<pre>{html.escape(self.code)}</pre>" * bool(self.code)
        return f'<div role="status" style="{STYLE.format(colour)}"><b>{heading}</b> {text}{code}</div>'


class NotYet(CheckError):
    """Ends a cell whose answer is not right, so that "Run All" stops there; the note above it says why."""

    def _render_traceback_(self) -> list[str]:
        return ["The notebook stops here until this is right."]


def show(thing: Any) -> None:
    """Display in a notebook; elsewhere that prints."""
    optional("IPython.display").display(thing)


def control_of(question: Question) -> Any:
    """Return what a question is answered with where there is no view: radio buttons, or a field to type into."""
    widgets = optional("ipywidgets")
    if isinstance(question, Pick):
        return widgets.RadioButtons(options=question.choices, value=None, layout={"width": "auto"})
    return widgets.Text(placeholder=question.asked, layout={"width": "24em"})


def show_buttons(said: str, actions: dict[str, Callable[[], Note]]) -> None:
    """Show a button for each action; the note that comes of it is shown below."""
    widgets = optional("ipywidgets")
    row: list[Any] = []
    below = widgets.HTML(said)
    for text, action in actions.items():
        row.append(widgets.Button(description=text, button_style="primary" * (not row), layout={"width": "auto"}))
        row[-1].on_click(lambda _, action=action: below.set_trait("value", action()._repr_html_()))
    show(widgets.VBox([widgets.HBox(row), below]))


def someone_is_there() -> bool:
    """Whether a person runs this cell: a front end that can be asked for input, which papermill's cannot."""
    kernel = getattr(optional("IPython").get_ipython(), "kernel", None)
    return bool(kernel and kernel.get_parent("shell").get("content", {}).get("allow_stdin"))
