"""Build the notebooks, without outputs, from their sources in percent format.

``notebooks/NN_topic.py`` becomes ``NN_topic.ipynb``. ``exercises/NN_topic_sol.py``, written as the solution, becomes
the learner's ``NN_topic_ex.ipynb``: without the cells tagged ``question`` and without what is marked ``# SOLUTION``.
Cell ids do not change from one build to the next, so that a rebuild shows no difference: the tests hold it so. With
``--check``, say which files would change and exit with 1.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MARK = re.compile(r"\s*# SOLUTION(: ?(?P<stub>.*))?$")


def build(source: Path, *, solved: bool = False) -> str:
    """Return the text of the notebook that belongs to a percent-format source.

    For an exercise that is the learner's notebook or, when ``solved``, the one with the solutions in it.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.cells = [cell for cell in notebook.cells if "question" not in cell.metadata.get("tags", [])]
    stem = source.stem if solved else target_of(source).stem
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{stem}-{number:02d}".replace("_", "-")
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        if cell.cell_type == "code" and not solved:
            cell.source = without_solution(cell.source)
    notebook.metadata = METADATA
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def without_solution(code: str) -> str:
    """Return a cell without its solution.

    The statement whose last line ends in ``# SOLUTION`` goes: of ``name = value`` there stays ``name = ...``, of any
    other nothing. ``# SOLUTION: stub`` says what stays instead.
    """
    lines: list[str | None] = list(code.splitlines())
    statements = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.stmt)]
    for number, line in enumerate(code.splitlines(), start=1):
        if found := MARK.search(line):
            ends = [node for node in statements if node.end_lineno == number]
            node = max(ends, key=lambda node: node.lineno)  # the innermost
            lines[node.lineno - 1 : number] = [None] * (number - node.lineno + 1)
            if stub := _stub(node) if found["stub"] is None else found["stub"]:
                lines[node.lineno - 1] = " " * node.col_offset + stub
    return "\n".join(line for line in lines if line is not None)


def _stub(node: ast.stmt) -> str:
    names = node.targets if isinstance(node, ast.Assign) else []
    return f"{ast.unparse(names[0])} = ..." if len(names) == 1 and isinstance(names[0], ast.Name) else ""


def target_of(source: Path) -> Path:
    """Return where the notebook of a source lies."""
    return source.with_name(source.name.replace("_sol.py", "_ex.py")).with_suffix(".ipynb")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a notebook is out of date")
    options = parser.parse_args()
    changed = []
    for source in sorted([*(ROOT / "notebooks").glob("*.py"), *(ROOT / "exercises").glob("*_sol.py")]):
        target, text = target_of(source), build(source)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            changed.append(target.name)
            if not options.check:
                target.write_text(text, encoding="utf-8")
    print(f"{'out of date' if options.check else 'rebuilt'}: {', '.join(changed) or 'none'}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
