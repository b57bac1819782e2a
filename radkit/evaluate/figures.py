"""Figures that are read from the back of a room: large letters, thick lines, and never a colour alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._optional import optional

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"  # Okabe and Ito's, and a grey
LOOK = {
    "font.size": 16, "axes.titlesize": 18, "axes.titlelocation": "left", "axes.titlepad": 14, "axes.labelpad": 10,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 3.5, "lines.markersize": 10,
    "legend.frameon": False, "legend.fontsize": 15, "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def drawing(title: str, *, size: tuple[float, float] = (11, 6), **subplots: Any) -> Iterator[tuple[Any, Any]]:
    """``with drawing("What was found") as (figure, axes): ...``: draw inside, then return the figure.

    Curves differ in colour and in dash. The figure shows itself as the last line of a cell, without pyplot.
    """
    lines = optional("cycler").cycler(color=[BLUE, RED, GREEN, ORANGE], linestyle=["-", "--", "-.", ":"])
    with optional("matplotlib").rc_context({**LOOK, "axes.prop_cycle": lines}):
        figure = optional("matplotlib.figure").Figure(figsize=size, dpi=100)
        figure.suptitle(textwrap.fill(title, int(size[0] * 6.5)), fontsize=20, x=0.01, ha="left")
        figure._repr_png_ = lambda: optional("IPython.core.pylabtools").print_figure(figure)
        yield figure, figure.subplots(**subplots)


def whisker(axes: Any, x: float, found: Any, **look: Any) -> None:
    """Draw an `Interval` at ``x``: a marker at the value, and where it has bounds a bar with caps."""
    bar = None if found.low != found.low else [[found.value - found.low], [found.high - found.value]]
    axes.errorbar([x], [found.value], bar, capsize=8, **look)
