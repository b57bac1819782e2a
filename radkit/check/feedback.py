"""How feedback looks: a sign, words and a colour; and how a cell ends without a traceback."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from .._optional import optional
from ..errors import CheckError

show = optional("IPython.display").display  # outside of a notebook it prints

# A sign and words beside each colour (Okabe and Ito's, as in the viewer), so that the colour alone says nothing.
STATES = {
    "right": ("✓ Right.", "#009E73"),
    "wrong": ("✗ Not yet.", "#D55E00"),
    "open": ("○ Not answered yet.", "#8A8F98"),
    "solution": ("▸ The solution.", "#0072B2"),
    "progress": ("▸ Your progress:", "#0072B2"),
}
STYLE = "border-left: 6px solid {}; font: 17px/1.5 system-ui; max-width: 52em; padding: 3px 14px; white-space: pre-line"


class Note(NamedTuple):
    """What is said to the learner: a heading, a text with `code` in it, and lines of code."""

    state: str
    text: str
    code: str = ""

    def __repr__(self) -> str:
        return f"{STATES[self.state][0]} {self.text}\n{self.code}".strip()

    def _repr_html_(self) -> str:
        heading, colour = STATES[self.state]
        text = re.sub("`(.+?)`", r'<code style="font-size: 16px">\1</code>', html.escape(self.text))
        code = f'<pre style="font-size: 16px">{html.escape(self.code)}</pre>' * bool(self.code)
        return f'<div role="status" style="{STYLE.format(colour)}"><b>{heading}</b> {text}{code}</div>'


class NotYet(CheckError):
    """Ends a cell whose answer is not right, so that "Run All" stops there; the note above it says why."""

    def _render_traceback_(self) -> list[str]:
        return ["The notebook stops here until this is right."]


def someone_is_there() -> bool:
    """Whether a person runs this cell: a front end that can be asked for input, which papermill's cannot."""
    kernel = getattr(optional("IPython").get_ipython(), "kernel", None)
    return bool(kernel and kernel.get_parent("shell").get("content", {}).get("allow_stdin"))
