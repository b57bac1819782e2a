"""Build the notebooks: ``notebooks/NN_topic.py`` (percent format) is the source, ``NN_topic.ipynb`` is generated.

No outputs, and cell ids that do not change from one build to the next, so that a rebuild shows no difference:
``tests/test_notebooks.py`` holds it so. With ``--check``, say which files would change and exit with 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def build(source: Path) -> str:
    """Return the text of the notebook that belongs to a percent-format source."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem}-{number:02d}".replace("_", "-")
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
    notebook.metadata = METADATA
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a notebook is out of date")
    options = parser.parse_args()
    changed = []
    for source in sorted((ROOT / "notebooks").glob("*.py")):
        target, text = source.with_suffix(".ipynb"), build(source)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            changed.append(target.name)
            if not options.check:
                target.write_text(text, encoding="utf-8")
    print(f"{'out of date' if options.check else 'rebuilt'}: {', '.join(changed) or 'none'}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
