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

from ..errors import EvaluationError
from .tables import Table, cell

BLANK = "left blank"
# The items of CLAIM (Mongan, Radiol Artif Intell 2020;2:e200029; update of 2024: Tejani, 6:e240300) that an evaluation
# can answer, in our own words and without its numbers, which differ between the two.
CLAIM = {
    "question": "Which clinical question, and what role would the model have?",
    "design": "Planned ahead, or looking back?",
    "data": "From where and when are the images, of which scanners and protocols?",
    "inclusion": "Who was taken in, who was left out, and why?",
    "de-identification": "How were the images de-identified?",
    "preparation": "What was done to the images before the model saw them?",
    "truth": "What counts as the truth, and why that?",
    "annotators": "Who drew or read it, with what training and what tool?",
    "agreement": "How far do the readers differ, with themselves and each other?",
    "sample size": "How many cases, and why as many?",
    "split": "How were training and test set parted, and at what level (patient, site)?",
    "people": "Age, sex and severity of disease in each part?",
    "flow": "How many were lost on the way to the analysis, and why?",
    "model": "Which model and version, and how was it trained and chosen?",
    "threshold": "How was the threshold chosen, and on which cases?",
    "measures": "By what is it judged?",
    "uncertainty": "How sure are the figures?",
    "performance": "How good was it on the test set?",
    "external": "How good was it on data from elsewhere?",
    "robustness": "Does it hold in subgroups, and where things change?",
    "failures": "Where was it wrong, and is there a pattern?",
    "comparison": "Against what was it compared: readers, another model, today's practice?",
    "limits": "What are the limits: bias, chance, how far it carries over?",
    "consequence": "What does it mean for practice?",
    "registration": "Is the study registered, and where is its protocol?",
    "access": "Where are code, weights and data?",
    "funding": "Who paid, and what part had they in it?",
}
# Which results answer an item by themselves: the names of their classes.
ANSWERED = {
    "agreement": "Measurements Categories",
    "comparison": "Comparison",
    "robustness": "Subgroups Drift",
    "performance": "Segmentation Detection Classification OperatingPoint PredictiveValues Calibration Abstention",
}
STYLE = """<style>.radkit-page {font: 16px/1.45 system-ui; max-width: 60em; margin: auto}
.radkit-page img {max-width: 100%; max-height: 27em}
.radkit-page table {margin: 1em 0; border-collapse: collapse} .radkit-page .blank {color: #b33c00; white-space: nowrap}
.radkit-page :is(img, tr) {break-inside: avoid} @page {size: A4; margin: 15mm}
@media print {.radkit-page, .radkit-page .radkit-result :is(table, p) {font-size: 10pt}
.radkit-page img {max-height: 9cm}}
</style>"""


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
        """Write report.html and report.md into the folder, each whole or not at all, and return their paths."""
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
        texts = {"report.html": f"{head}<body>{self.html}</body></html>\n", "report.md": self.markdown}
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                part = Path(folder, f".{name}.part")
                part.write_text(text, encoding="utf-8")
                part.replace(Path(folder, name))
        except OSError as error:
            raise EvaluationError(
                f"The report cannot be written to {folder}: {error.strerror}. Give a folder."
            ) from error
        return Path(folder, "report.html"), Path(folder, "report.md")


def report(
    title: str,
    *results: Any,
    study: Mapping[str, object] | str = "",
    answers: Mapping[str, str] | None = None,
    folder: str | os.PathLike | None = None,
) -> Report:
    """Write one page: the study, each result with its table and figure, and the items of CLAIM.

    Parameters
    ----------
    title : str
        What was evaluated.
    *results
        What ``segmentation``, ``detection``, ``classification``, ``compare``, ``agreement`` and ``drift`` return, and
        the results of these.
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
    if (
        strange := [type(r).__name__ for r in results if not isinstance(getattr(r, "table", None), Table)]
        or not results
    ):
        raise EvaluationError(
            f"A report needs results of radkit.evaluate, such as classification(...); "
            f"{'none' if strange is True else ', '.join(strange)} came."
        )
    facts = study if isinstance(study, Mapping) else {"study": study} if study else {}
    tables = [Table("Study", ("", ""), list(facts.items()))] if facts else []
    said = {item: answers.get(item, "").strip() or _found(item, results) or BLANK for item in CLAIM}
    blank = list(said.values()).count(BLANK)
    note = f"{blank} of {len(CLAIM)} items are left blank. After CLAIM (2020, updated 2024), in other words."
    claim = Table("CLAIM", ("item", "question", "answer"), [(i, CLAIM[i], said[i]) for i in CLAIM], [note])
    tables += [*(result.table for result in results), claim]
    pictures = [""] * bool(facts) + [_picture(result) for result in results] + [""]
    sections = (f"<section>{t._repr_html_()}{p}</section>" for t, p in zip(tables, pictures, strict=True))
    rows = "".join(sections).replace(f"<td>{BLANK}</td>", f'<td class="blank">{BLANK}</td>')
    body = f'{STYLE}<article class="radkit-page"><h1>{html.escape(title)}</h1>{rows}</article>'
    text = "\n\n".join([f"# {_plain(title)}", *map(_markdown, tables), "The figures are in report.html.\n"])
    made = Report(title, body, text)
    if folder is not None:
        made.save(folder)
    return made


def _found(item: str, results: tuple) -> str:
    """What the results themselves say to an item."""
    if item == "uncertainty":
        return "95 % confidence intervals where they stand, with the number of patients; most by drawing patients."
    if item == "measures":
        return "; ".join(dict.fromkeys(str(r.table.title) for r in results)) + "."
    if item == "threshold":
        return "; ".join(f"On these cases: {r.chosen}." for r in results if getattr(r, "chosen", ""))
    titles = [str(r.table.title) for r in results if type(r).__name__ in ANSWERED.get(item, "").split()]
    return "See above: " + "; ".join(titles) + "." if titles else ""


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
