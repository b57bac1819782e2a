"""Where the minutes go: a stopwatch for the steps of a notebook, and their chart."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from .._optional import optional
from .picture import Still


class Stopwatch:
    """Times named steps, says when each is done, and draws them.

    >>> steps = Stopwatch()
    >>> with steps("Find the nodule"):
    ...     pass
    Find the nodule: 0.0 s

    ``steps.seconds`` maps each name to its seconds; a step that is run again counts anew.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block; a step that fails is not counted."""
        start = perf_counter()
        yield
        self.seconds[name] = perf_counter() - start
        print(f"{name}: {self.seconds[name]:.1f} s")

    def chart(self, *, title: str = "Where the time went") -> Still:
        """Draw a bar for each step, in the order in which they came, to be read from the back of a room."""
        names, seconds = list(self.seconds), list(self.seconds.values())
        figure = optional("matplotlib.figure").Figure(figsize=(11, 1.2 + 0.55 * len(names)), dpi=110)
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        bars = axes.barh(names, seconds, color="#0072B2", height=0.7)
        axes.bar_label(bars, [f"{s:.1f} s" for s in seconds], padding=6, fontsize=16)
        axes.set_title(f"{title}: {sum(seconds):.0f} s in all", fontsize=20, loc="left", pad=14)
        axes.tick_params("y", labelsize=16, length=0)
        axes.xaxis.set_visible(False)
        axes.spines[:].set_visible(False)
        axes.margins(x=0.12)
        axes.invert_yaxis()
        file = io.BytesIO()
        figure.savefig(file)
        steps = ", ".join(f"{name} {s:.1f} s" for name, s in self.seconds.items())
        return Still(optional("PIL.Image").open(file).convert("RGB"), f"Bar chart. {title}: {steps}.")
