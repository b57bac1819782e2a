"""Write environment.yml and binder/environment.yml: the pinned environment for conda and for Binder.

The pins are those of constraints.txt that the run-time extras of pyproject.toml reach on some platform, with their
markers, so one file serves Linux, macOS and Windows. repo2docker ignores the root's file once ``binder/`` exists: hence
the copy, which leaves out ``-e .`` because Binder installs the package in ``postBuild``. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# Written by tools/build_environment.py from pyproject.toml and constraints.txt: edit those, then `make environment`.
name: radkit
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def pins() -> list[str]:
    """Return the pins of constraints.txt, leaving out pip itself, which conda brings."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "pip=="))]


def environment(*, editable: bool) -> str:
    """Return the text of an environment file; with ``editable``, radkit itself is installed too."""
    requirements = [*pins(), *(["-e .[all]"] if editable else [])]
    return HEAD + "".join(f'      - "{line}"\n' for line in requirements)


def files() -> dict[Path, str]:
    """Return each file that is written, with its text."""
    return {
        ROOT / "environment.yml": environment(editable=True),
        ROOT / "binder" / "environment.yml": environment(editable=False),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
