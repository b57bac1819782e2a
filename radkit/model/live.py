"""What a training shows of itself: a curve and a picture that are drawn anew in a notebook, a table elsewhere."""

from __future__ import annotations

import sys
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from radkit._optional import optional
from radkit.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .learner import Learner

ORANGE, BLUE = "#e69f00", "#56b4e9"  # told apart by the colour-blind too (Okabe and Ito)


class Live:
    """What one training shows; nothing where ``progress`` is False."""

    def __init__(self, progress: bool = True):
        self.handle: Any = _notebook() if progress else None
        self.table = progress and self.handle is None
        self.shown, self.drawing, self.losses = 0.0, 0.0, []  # type: float, float, list[tuple[int, float]]

    def bar(self, **options: Any) -> tqdm:
        """A bar, which a notebook does not need; on stdout, as stderr looks like an error."""
        return tqdm(file=sys.stdout, leave=False, mininterval=0.5, disable=not self.table, **options)

    def begin(self, learner: Learner) -> None:
        """The first step is about to be taken."""
        self.learner = learner
        self.steps = self.bar(total=learner.recipe.steps, initial=learner.step, desc="Training", unit="step")
        self.steps.write(f"{'step':>6} {'seconds':>8} {'loss':>7} {'Dice':>6}", sys.stdout) if self.table else None

    def step(self) -> None:
        """One step done; the loss is read only now and then, as a graphics card has to be waited for."""
        self.steps.update()
        if self.learner.step % 5 == 0:
            self.losses.append((self.learner.step, float(self.learner.losses[-1])))
        if self.handle and time.perf_counter() - self.shown > 20 * self.drawing:  # a twentieth of the time at most
            self._redraw()

    def validated(self) -> None:
        """A validation done: a new picture, or one more row of the table."""
        row = self.learner.history[-1]
        if self.handle:
            self._redraw()
        elif self.table:
            loss = "" if row["loss"] is None else f"{row['loss']:.3f}"
            self.steps.write(f"{row['step']:>6} {row['seconds']:>8.1f} {loss:>7} {row['dice']:>6.3f}", sys.stdout)

    def _redraw(self) -> None:
        """Put a new picture in the place of the last."""
        begin = time.perf_counter()
        self.draw().savefig(file := BytesIO(), format="png", dpi=144)
        image = optional("IPython.display").Image(data=file.getvalue(), retina=True)
        (self.handle.update if self.shown else self.handle.display)(image)
        self.shown = time.perf_counter()
        self.drawing = self.shown - begin

    def draw(self) -> Figure:
        """Loss and Dice by step; one slice of a person held out, and its lesion from near, with both outlines."""
        history, now = self.learner.history, self.learner.step
        figure = optional("matplotlib.figure").Figure(figsize=(10, 3.4), layout="constrained")
        curve, slice_, near = figure.subplots(1, 3, width_ratios=(3, 2, 2))
        if self.losses:
            curve.plot(*zip(*self.losses, strict=True), color="0.65", lw=1, label="loss, learnt from")
        curve.plot([r["step"] for r in history], [r["dice"] for r in history], "o-", color=BLUE, label="Dice, held out")
        curve.set(xlim=(0, self.learner.recipe.steps), ylim=(0, 1.05), xlabel="step")
        curve.set_title(f"step {now}, {history[-1]['seconds']:.0f} s: Dice {history[-1]['dice']:.2f}")
        curve.spines[["top", "right"]].set_visible(False)
        curve.legend(loc="center right", frameon=False)
        draw_outlines(slice_, near, *self.learner.picture)
        return figure


def draw_outlines(whole: Any, near: Any, image: NDArray, truth: NDArray, prediction: NDArray) -> None:
    """One slice, arrays (x, y) to right and anterior, as radiologists look at it: patient's right on the left."""
    low, high = np.percentile(image, (1, 99.8))
    image, truth, prediction = (each[::-1, ::-1].T for each in (image, truth, prediction))
    parts, _ = ndimage.label(truth)
    lesion = np.argwhere(parts == np.bincount(parts[parts > 0]).argmax())
    (row, column), reach = lesion.mean(0), max(12, *np.ptp(lesion, 0))
    for axes in (whole, near):
        axes.imshow(image, cmap="gray", vmin=low, vmax=high)
        for name, mask, colour in (("truth", truth, ORANGE), ("prediction", prediction, BLUE)):
            axes.plot([], [], color=colour, label=name)
            if mask.any():
                axes.contour(mask, [0.5], colors=colour, linewidths=1 if axes is whole else 2)
        axes.set_axis_off()
    whole.set_title("a person held out")
    near.set(xlim=(column - reach, column + reach), ylim=(row + reach, row - reach), title="its largest lesion")
    near.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize="small", frameon=False)


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
