"""One page of what was found, with the questions of CLAIM, each answered or openly left blank."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .._folders import whole_file
from ..errors import EvaluationError
from .tables import Table, cell

BLANK = "left blank"
CLAIM: dict[str, str] = yaml.safe_load(Path(__file__).with_name("claim.yaml").read_text("utf-8"))
STYLE = f"<style>{Path(__file__).with_name('page.css').read_text('utf-8')}</style>"


@dataclass(frozen=True, repr=False)
class Report:
    """The page, as ``markdown`` and as ``html`` (all in one file, made to be printed on A4)."""

    title: str
    html: str
    markdown: str

    def __repr__(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return self.html

    def save(self, folder: str | os.PathLike) -> tuple[Path, Path]:
        """Write report.html and report.md into the folder, and return their paths."""
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
        page, text = Path(folder, "report.html"), Path(folder, "report.md")
        try:
            for path, content in ((page, f"{head}<body>{self.html}</body></html>\n"), (text, self.markdown)):
                with whole_file(path) as draft:
                    draft.write_text(content, encoding="utf-8")
        except OSError as error:
            why = f"The report cannot be written to {folder}: {error.strerror}. Give a folder."
            raise EvaluationError(why) from error
        return page, text


def report(
    title: str, *results: Any, study: Mapping[str, object] | str = "", answers: Mapping[str, str] | None = None,
    folder: str | os.PathLike | None = None,
) -> Report:  # fmt: skip
    """Write one page: the study, each result with its table and figure, and the items of CLAIM.

    Parameters
    ----------
    title : str
        What was evaluated.
    *results
        What the functions of ``radkit.evaluate`` return, and the results and tables of these.
    study : dict or str
        What a reader must know first: ``{"model": ..., "patients": ...}``.
    answers : dict
        Answers to items by their names, the keys of ``radkit.evaluate.page.CLAIM``. What neither they nor the results
        answer is left blank, and says so.
    folder : path, optional
        Where to save it at once.

    Raises
    ------
    EvaluationError
        If there is no result, one that has no table, or an answer to an item that is not there.
    """
    answers = dict(answers or {})
    if unknown := sorted(set(answers) - set(CLAIM)):
        raise EvaluationError(f"There is no item {', '.join(map(repr, unknown))}. The items: {', '.join(CLAIM)}.")
    strange = [type(r).__name__ for r in results if not isinstance(getattr(r, "table", None), Table)]
    if strange or not results:
        came = ", ".join(strange) or "none"
        raise EvaluationError(f"A report needs results of radkit.evaluate, such as classification(...); {came} came.")
    facts = study if isinstance(study, Mapping) else {"study": study} if study else {}
    said = {item: answers.get(item, "").strip() or _found(item, results) or BLANK for item in CLAIM}
    blank = list(said.values()).count(BLANK)
    note = f"{blank} of {len(CLAIM)} items are left blank. After CLAIM (2020, updated 2024), in other words."
    claim = Table("CLAIM", ("item", "question", "answer"), [(i, CLAIM[i], said[i]) for i in CLAIM], [note])
    first = [Table("Study", ("", ""), list(facts.items()))] if facts else []
    sections = [*first, *results, claim]
    rows = "".join(f"<section>{x.table._repr_html_()}{_picture(x)}</section>" for x in sections)
    rows = rows.replace(f"<td>{BLANK}</td>", f'<td class="blank">{BLANK}</td>')
    body = f'{STYLE}<article class="radkit-page"><h1>{html.escape(title)}</h1>{rows}</article>'
    text = "\n\n".join([f"# {_plain(title)}", *(_markdown(x.table) for x in sections), "Figures: report.html.\n"])
    made = Report(title, body, text)
    if folder is not None:
        made.save(folder)
    return made


def _found(item: str, results: tuple) -> str:
    """What the results themselves say to an item."""
    if item == "uncertainty":
        return "95 % confidence intervals where they stand, with the number of patients; most by drawing patients."
    if item == "threshold":
        return "; ".join(f"On these cases: {r.chosen}." for r in results if getattr(r, "chosen", ""))
    titles = [r.table.title for r in results if item in (r.claim, "measures")]
    return "See above: " + "; ".join(dict.fromkeys(titles)) + "." if titles else ""


def _picture(result: Any) -> str:
    """The figure of a result as an image in the page; where it has none, the reason or nothing."""
    if not hasattr(result, "plot"):
        return ""
    file = io.BytesIO()
    try:
        result.plot().savefig(file, format="svg")
    except EvaluationError as error:
        return f"<p>No figure: {html.escape(str(error))}</p>"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="Figure: {html.escape(result.table.title)}" src="data:image/svg+xml;base64,{data}">'


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows] if table.columns else []
    body = "\n".join(f"| {' | '.join(_plain(x) for x in line)} |" for line in lines)
    return "\n\n".join(filter(None, [f"## {_plain(table.title)}", body, *map(_plain, table.notes)]))


def _plain(x: object) -> str:
    """One line in which nothing is taken for markup."""
    text = html.escape(" ".join(cell(x).split()), quote=False)
    return "".join("\\" + c if c in "|\\`*_[]" else c for c in text)
