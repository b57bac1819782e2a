"""A table for the terminal and for the notebook; a header may be hostile, so every cell is cut, cleaned and escaped."""

from __future__ import annotations

import html
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

MOST_ROWS = 3000  # in a notebook: a browser is slow with more
STYLE = """<style>.radkit-table {max-height: 34em; overflow: auto} .radkit-table table {border-collapse: collapse}
.radkit-table caption {text-align: left; padding: 4px} .radkit-table :is(th, td) {text-align: left !important;
 vertical-align: top; padding: 2px 10px 2px 4px; max-width: 44em; overflow-wrap: anywhere; font-size: 13px}
.radkit-table th {position: sticky; top: 0; background: var(--jp-layout-color2, #e4e4e4)}
.radkit-table td.remark {border-left: 5px solid #d55e00; padding-left: 12px}
.radkit-table input {margin: 4px; padding: 3px; width: 22em; position: sticky; left: 4px}</style>"""
# The script makes the box: where scripts do not run (not trusted, printed), there is no box that does nothing.
SEARCH = """<script>(() => { for (const box of document.querySelectorAll(".radkit-search:not([data-on])")) {
 box.dataset.on = 1; const input = document.createElement("input"); input.type = "search";
 input.placeholder = "Search in this table"; input.setAttribute("aria-label", input.placeholder);
 input.onkeydown = event => event.stopPropagation();
 input.oninput = () => { const text = input.value.toLowerCase(); for (const row of box.querySelectorAll("tbody tr"))
  row.hidden = !row.textContent.toLowerCase().includes(text); }; box.prepend(input); } })()</script>"""


def clean(text: object, most: int = 200) -> str:
    """Return one printable line, cut: nothing in it can steer a terminal or turn the direction of writing."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: most + 1])
    return line if len(line) <= most else line[: most - 1] + "…"


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of cells, and remarks (a `str`) on the row above: lines in a terminal, HTML in a notebook."""

    title: str
    rows: Sequence[Sequence[str] | str]
    columns: ClassVar[tuple[str, ...]]
    wide_only: ClassVar[str] = ""  # a column that narrow terminals go without

    def __str__(self) -> str:
        width = shutil.get_terminal_size((120, 24)).columns
        shown = [i for i, name in enumerate(self.columns) if width >= 150 or name != self.wide_only]
        lines, table = [], [self.columns, *(row for row in self.rows if not isinstance(row, str))]
        widths = {i: min(max(len(row[i]) for row in table), max(width // 4, 16)) for i in shown}
        widths[shown[-1]] = max(width - sum(widths[i] + 2 for i in shown[:-1]), 16)
        for row in [self.columns, *self.rows]:
            if isinstance(row, str):
                lines += textwrap.wrap(clean(row, 1000), width, initial_indent="    ! ", subsequent_indent="      ")
            else:
                lines.append("  ".join(clean(row[i], widths[i]).ljust(widths[i]) for i in shown).rstrip())
        return "\n".join([*lines, clean(self.title)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.columns)
        body = []
        for row in self.rows[:MOST_ROWS]:
            if isinstance(row, str):
                cells = f'<td class="remark" colspan="{len(self.columns)}">{html.escape(clean(row, 1000))}</td>'
            else:
                cells = "".join(f"<td>{html.escape(clean(cell))}</td>" for cell in row)
            body.append(f"<tr>{cells}</tr>")
        title = self.title + f" (the first {MOST_ROWS:,} are shown)" * (len(self.rows) > MOST_ROWS)
        return (
            f'{STYLE}<div class="radkit-table radkit-search"><table><caption>{html.escape(clean(title))}</caption>'
            f"<thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{SEARCH}"
        )
