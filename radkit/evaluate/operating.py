"""What a threshold does, and what a positive result then means where the disease is rarer or commoner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._optional import optional
from ..errors import EvaluationError
from .figures import BLUE, GREEN, GREY, drawing
from .intervals import Interval
from .tables import Table, Tabled


@dataclass(frozen=True, repr=False)
class OperatingPoint(Tabled):
    """What calling every score of at least ``threshold`` positive does; ``tp``, ``fp``, ``fn``, ``tn`` count rows."""

    threshold: float
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    tp: int
    fp: int
    fn: int
    tn: int
    patients: int
    chosen: str = ""  # by what rule, in words

    @property
    def table(self) -> Table:
        """The figures, each with its interval, and what was counted for it."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        rows = [
            ("sensitivity: with disease and called", self.sensitivity, f"{tp} of {tp + fn}"),
            ("specificity: without and not called", self.specificity, f"{tn} of {tn + fp}"),
            ("PPV: called and with disease", self.ppv, f"{tp} of {tp + fp}"),
            ("NPV: not called and without", self.npv, f"{tn} of {tn + fn}"),
        ]
        ill = 100 * (tp + fn) / (tp + fp + fn + tn)
        notes = [f"PPV and NPV hold where {ill:.3g} % have the disease, as here; elsewhere ask .predictive_values."]
        if self.chosen:
            notes.append(f"Chosen on these cases, which flatters them: check it on others. The rule: {self.chosen}.")
        title = f"Positive from a score of {self.threshold:.3g}" if self.threshold < np.inf else "Nobody is called"
        return Table(title, ("", "value", "cases"), rows, notes)

    def predictive_values(self, prevalence: float) -> PredictiveValues:
        """Return PPV and NPV where a share ``prevalence`` (0 to 1) of the people has the disease, by Bayes' theorem.

        The bounds join the worse bounds of sensitivity and specificity, and the better ones: wide, on the safe side.
        Both are taken to hold there too; but where disease is caught earlier, sensitivity is often lower.
        """
        share(prevalence, "prevalence")
        found, cleared = self.sensitivity, self.specificity
        ppv, npv = _bayes(found, cleared, prevalence), _bayes(cleared, found, 1 - prevalence)
        both = [Interval(*ends, self.patients) for ends in (ppv, npv)]
        return PredictiveValues(both[0], both[1], _in_people(prevalence, found, cleared))

    def plot(self, prevalence: float | None = None) -> Any:
        """Draw PPV and NPV against prevalence, with their bounds; ``prevalence`` is marked."""
        at = np.geomspace(0.001, 0.9, 200)
        curves = [self.predictive_values(p) for p in at]
        with drawing("What a result means depends on how common the disease is") as (figure, axes):
            band(axes, at, [c.ppv for c in curves], "PPV", BLUE, "-")
            band(axes, at, [c.npv for c in curves], "NPV", GREEN, "--")
            if prevalence is not None:
                ppv, npv = (x.value for x in self.predictive_values(prevalence)[:2])
                axes.axvline(prevalence, color=GREY, linewidth=2)
                axes.plot([prevalence], [ppv], "o", color=BLUE, markersize=14)
                words = f"{100 * prevalence:.3g} % have it:\nPPV {100 * ppv:.3g} %, NPV {100 * npv:.3g} %"
                axes.text(prevalence * 1.1, 0.5, words, color=GREY)
            axes.set(xscale="log", ylim=(0, 1.03), xlabel="people with the disease", ylabel="share that is right")
            axes.set_xticks([0.001, 0.01, 0.1, 0.5], ["1 in 1,000", "1 in 100", "1 in 10", "1 in 2"])
            axes.xaxis.set_minor_locator(optional("matplotlib.ticker").NullLocator())
            axes.yaxis.set_major_formatter(optional("matplotlib.ticker").PercentFormatter(1))
        return figure


class PredictiveValues(NamedTuple):
    """PPV and NPV at a prevalence, and in ``words`` the same in people, which is easier to hear."""

    ppv: Interval
    npv: Interval
    words: str


def band(axes: Any, x: Any, y: Sequence[Interval], name: str, colour: str, style: str) -> None:
    """Draw figures and their bounds over ``x``, with the name at the end of the line."""
    value, low, high = (np.array([getattr(one, end) for one in y]) for end in ("value", "low", "high"))
    axes.plot(x, value, style, color=colour)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    look = {"textcoords": "offset points", "color": colour, "va": "center", "weight": "bold"}
    axes.annotate(name, (x[-1], value[-1]), (10, 0), **look)


def share(value: float, name: str) -> float:
    """Return ``value``, a share from 0 to 1."""
    if not 0 <= value <= 1:
        hint = f" Did you mean {value / 100:g}?" if 1 < value <= 100 else ""
        raise EvaluationError(f"{name} is a share from 0 to 1, and {value:g} came.{hint}")
    return float(value)


def _bayes(found: Interval, cleared: Interval, prior: float) -> tuple[float, float, float]:
    """The share that is right among those called, and its bounds; ``prior`` is the share that should be called."""
    hits = [share * prior for share in (found.value, found.low, found.high)]
    alarms = [(1 - share) * (1 - prior) for share in (cleared.value, cleared.low, cleared.high)]
    value, low, high = (hit / (hit + alarm) if hit + alarm else np.nan for hit, alarm in zip(hits, alarms, strict=True))
    return value, low, high


def _in_people(prevalence: float, sensitivity: Interval, specificity: Interval) -> str:
    """Natural frequencies, as Gigerenzer and Hoffrage (Psychol Rev 1995;102:684) taught doctors to say them."""
    if np.isnan(sensitivity.value + specificity.value):
        return "Of one of the two, with disease or without, there was no case: this cannot be said in people."
    people = next((p for p in (1000, 10_000, 100_000) if p * prevalence >= 10), 1_000_000)
    ill = round(people * prevalence)
    found, alarms = round(ill * sensitivity.value), round((people - ill) * (1 - specificity.value))
    return (
        f"Of {people:,} people {ill:,} have the disease: {found:,} of them called, {ill - found:,} missed. "
        f"Of the {people - ill:,} others {alarms:,} called needlessly. So {found:,} of the {found + alarms:,} "
        f"people called have it, and {ill - found:,} of the {people - found - alarms:,} not called."
    )
