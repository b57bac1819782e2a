"""What a training shows of itself: a curve and a picture that are drawn anew in a notebook, a table elsewhere."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from radkit._optional import optional
from radkit.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .learner import Learner

ORANGE, BLUE = "#e69f00", "#56b4e9"  # told apart by the colour-blind too (Okabe and Ito)


class Live:
    """The bar, the curve and the picture of one training; silent where ``progress`` is False."""

    def __init__(self, learner: Learner, *, progress: bool = True):
        self.learner, self.losses = learner, []  # type: Learner, list[tuple[int, float]]
        self.handle, self.shown = _notebook() if progress else None, False
        self.table = progress and self.handle is None
        self.bar = tqdm(
            total=learner.recipe.steps,
            initial=learner.step,
            desc="Training",
            unit="step",
            file=sys.stdout,
            disable=not progress,
            leave=False,
            mininterval=0.5,
        )
        if self.table:
            self.bar.write(f"{'step':>6} {'seconds':>8} {'loss':>7} {'Dice':>6}", file=sys.stdout)

    def step(self) -> None:
        """One step done; the loss is read only now and then, as a graphics card has to be waited for."""
        self.bar.update()
        if self.learner.step % 10 == 0:
            self.losses.append((self.learner.step, float(self.learner.losses[-1])))

    def show(self) -> None:
        """A validation done: a new picture, or one more row of the table."""
        row = self.learner.history[-1]
        if self.handle:
            image = optional("IPython.display").Image(data=_png(self.draw()), retina=True)
            (self.handle.update if self.shown else self.handle.display)(image)
            self.shown = True
        elif self.table:
            loss = "" if row["loss"] is None else f"{row['loss']:.3f}"
            self.bar.write(f"{row['step']:>6} {row['seconds']:>8.1f} {loss:>7} {row['dice']:>6.3f}", file=sys.stdout)

    def draw(self) -> Figure:
        """Left loss and Dice by step; right one slice of a person held out, with truth and prediction around it."""
        history = self.learner.history
        figure = optional("matplotlib.figure").Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        if self.losses:
            left.plot(*zip(*self.losses, strict=True), color="0.65", lw=1, label="loss, studies to learn from")
        left.plot([r["step"] for r in history], [r["dice"] for r in history], "o-", color=BLUE, label="Dice, held out")
        left.set(xlim=(0, self.learner.recipe.steps), ylim=(0, 1.05), xlabel="step", title=_title(history))
        left.spines[["top", "right"]].set_visible(False)
        left.legend(loc="lower right")
        if self.learner.picture:
            draw_contours(right, *self.learner.picture)
        return figure

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def draw_contours(axes: Any, image: NDArray, truth: NDArray, prediction: NDArray) -> None:
    """One slice, arrays (x, y) to right and anterior, as radiologists look at it: patient's right on the left."""
    low, high = np.percentile(image, (1, 99.8))
    axes.imshow(image[::-1, ::-1].T, cmap="gray", vmin=low, vmax=high)
    for name, mask, colour in (("truth", truth, ORANGE), ("prediction", prediction, BLUE)):
        axes.plot([], [], color=colour, label=name)
        if mask.any():
            axes.contour(mask[::-1, ::-1].T, [0.5], colors=colour, linewidths=1.2)
    axes.set_axis_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)


def _title(history: list[dict[str, Any]]) -> str:
    row = history[-1]
    return f"step {row['step']}, {row['seconds']:.0f} s: Dice {row['dice']:.2f}"


def _png(figure: Figure) -> bytes:
    figure.savefig(out := BytesIO(), format="png", dpi=144)
    return out.getvalue()


def _notebook() -> Any:
    """A place in the notebook to draw at, or None outside of one."""
    try:
        shell = optional("IPython").get_ipython()
        if getattr(shell, "kernel", None) is None:
            return None
        optional("matplotlib")
        return optional("IPython.display").DisplayHandle()
    except MissingDependency:
        return None
