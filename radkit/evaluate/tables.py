"""One table for every result, plain text in a terminal and large print in a notebook; one way to part it by groups."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import EvaluationError

STYLE = f"<style>{Path(__file__).with_name('results.css').read_text('utf-8')}</style>"


class Tabled:
    """A result that shows itself as its ``table``, in a terminal and in a notebook."""

    table: Any
    claim = "performance"  # the item of CLAIM that it answers

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


class Table(NamedTuple):
    """Rows of what was found (numbers, text, `Interval`), with a title, notes, and the item of CLAIM they answer."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    claim: str = ""

    @property
    def table(self) -> Table:
        """Itself, so that a report takes a table as it takes a result."""
        return self

    def __repr__(self) -> str:
        lines = [list(self.columns), *([cell(x) for x in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([self.title, *body, *self.notes])

    def _repr_html_(self) -> str:
        lines = [("th", self.columns), *(("td", row) for row in self.rows)]
        rows = ("".join(f"<{tag}>{html.escape(cell(x))}</{tag}>" for x in line) for tag, line in lines)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        head = f'{STYLE}<div class="radkit-result"><table><caption>{html.escape(self.title)}</caption>'
        return f"{head}<tr>{'</tr><tr>'.join(rows)}</tr></table>{notes}</div>"


def subgroups(
    groups: Any, count: int, columns: Sequence[str], figures: Callable[[list[int]], Sequence[object]], *notes: str,
    order: Sequence[str] | None = None,
) -> Table:  # fmt: skip
    """One row a group with the ``figures`` of its cases; ``groups`` names that of each case, or is a dict of such."""
    rows = []
    for kind, names in (groups if isinstance(groups, Mapping) else {"": groups}).items():
        if len(names) != count:
            raise EvaluationError(f"{count} groups were expected, one for each; {len(names)} came.")
        for group in order or sorted(set(names), key=str):
            rows.append((f"{kind} {group}".strip(), *figures([i for i in range(count) if names[i] == group])))
    warning = "Compare groups by the interval of their difference, not by whether two intervals overlap."
    return Table("Subgroups", ("group", *columns), rows, [*notes, warning], "robustness")


def cell(x: object) -> str:
    """A number with two decimals, nan and infinity as a dash, the rest as it prints itself."""
    return (f"{x:.2f}" if math.isfinite(x) else "–") if isinstance(x, float) else str(x)
