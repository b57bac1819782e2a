"""Figures that are read from the back of a room: large letters, thick lines, and never a colour alone."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._optional import optional

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"  # Okabe and Ito's, and a grey
LOOK = {
    "font.size": 16, "axes.titlesize": 19, "axes.titlelocation": "left", "axes.titlepad": 14, "lines.linewidth": 3.5,
    "lines.markersize": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "legend.fontsize": 15, "axes.grid": False, "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def drawing(title: str, *, size: tuple[float, float] = (11, 6), **subplots: Any) -> Iterator[tuple[Any, Any]]:
    """``with drawing("What was found") as (figure, axes): ...``: draw inside, then return the figure.

    The title says the finding. The curves of one plot differ in colour and in dash. The figure shows itself as the
    last line of a cell (inches at 100 dpi), without pyplot and so without coming twice.
    """
    cycler, figures = optional("cycler").cycler, optional("matplotlib.figure")
    lines = cycler(color=[BLUE, RED, GREEN, ORANGE, GREY]) + cycler(linestyle=["-", "--", "-.", ":", (0, (6, 2, 1, 2))])
    with optional("matplotlib").rc_context({**LOOK, "axes.prop_cycle": lines}):
        figure = figures.Figure(figsize=size, dpi=100)
        figure.suptitle(textwrap.fill(title, int(size[0] * 6.5)), fontsize=20, x=0.01, ha="left")
        figure._repr_png_ = lambda: _png(figure)
        yield figure, figure.subplots(**subplots)


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
