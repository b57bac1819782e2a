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
 vertical-align: top; padding: 2px 10px 2px 4px; max-width: 26em; overflow-wrap: break-word; font-size: 13px}
.radkit-table td:first-child:not([colspan]) {white-space: nowrap; max-width: none}
.radkit-table td:last-child {max-width: 44em}
.radkit-table th {position: sticky; top: 0; background: var(--jp-layout-color2, #e4e4e4)}
.radkit-table .remark {border-left: 5px solid #d55e00; padding-left: 12px}
.radkit-table input {margin: 4px; padding: 3px; width: 22em; position: sticky; left: 4px}</style>"""
# The script makes the box: where scripts do not run (not trusted, printed), there is no box that does nothing.
SEARCH = """<script>(() => { for (const box of document.querySelectorAll(".radkit-table:not([data-on])")) {
 box.dataset.on = 1; const input = document.createElement("input"); input.type = "search";
 input.placeholder = "Search in this table"; input.setAttribute("aria-label", input.placeholder);
 input.onkeydown = event => event.stopPropagation();
 input.oninput = () => { let above = false; for (const row of box.querySelectorAll("tbody tr")) {
  const hit = row.textContent.toLowerCase().includes(input.value.toLowerCase());
  row.hidden = !hit && !(above && row.querySelector(".remark")); above = !row.hidden; } };
 box.prepend(input); } })()</script>"""


def clean(text: object, most: int = 200) -> str:
    """Return one printable line, cut: nothing in it can steer a terminal or turn the direction of writing."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: most + 1])
    return line if len(line) <= most else line[: most - 1] + "…"


def counted(number: int, one: str, many: str = "") -> str:
    """Return "1 file", "2 files"; `many` is for words that are no `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of cells, and remarks (a `str`) on the row above: lines in a terminal, HTML in a notebook."""

    title: str
    rows: Sequence[Sequence[str] | str]
    columns: ClassVar[tuple[str, ...]]
    narrow: ClassVar[int | None] = None  # how many of them go on a narrow terminal

    def __str__(self) -> str:
        if not self.rows:
            return clean(self.title)
        room = shutil.get_terminal_size((120, 24)).columns
        shown = slice(None if room > 150 else self.narrow)
        cells = [row[shown] for row in (self.columns, *self.rows) if not isinstance(row, str)]
        widths = [min(max(map(len, column)), 200) for column in zip(*cells, strict=True)]
        while sum(widths) + 2 * len(widths) - 2 > room and max(widths) > 8:  # the widest give way
            widths[widths.index(max(widths))] -= 1
        lines = []
        for row in [self.columns, *self.rows]:
            if isinstance(row, str):
                lines += textwrap.wrap(clean(row, 1000), room, initial_indent="    ! ", subsequent_indent="      ")
            else:
                parts = (clean(cell, width).ljust(width) for cell, width in zip(row[shown], widths, strict=True))
                lines.append("  ".join(parts).rstrip())
        return "\n".join([*lines, clean(self.title)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<div>{html.escape(clean(self.title))}</div>"
        lines = ["".join(f'<th scope="col">{name}</th>' for name in self.columns) + "</tr></thead><tbody>"]
        for row in self.rows[:MOST_ROWS]:
            if isinstance(row, str):
                remark = html.escape(clean(row, 1000))
                lines.append(f'<td class="remark" colspan="{len(self.columns)}">{remark}</td></tr>')
            else:
                lines.append("".join(f"<td>{html.escape(clean(cell))}</td>" for cell in row) + "</tr>")
        title = html.escape(clean(self.title)) + f" (the first {MOST_ROWS:,})" * (len(self.rows) > MOST_ROWS)
        head = f'<div class="radkit-table"><table><caption>{title}</caption><thead><tr>'
        return f"{STYLE}{head}{'<tr>'.join(lines)}</tbody></table></div>{SEARCH}"
