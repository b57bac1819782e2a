"""Files and folders that appear complete or not at all: bundles, MAPs, studies, reports, checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from .errors import RadkitError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a draft, in a folder that is made; it then takes the place of ``path``, or is removed if interrupted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}.part")  # two may write it at once
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(
    folder: str | Path, what: str, sign: str, *, overwrite: bool, error: type[RadkitError]
) -> Iterator[Path]:
    """Fill a folder that then appears complete or not at all; one that is there is replaced if ``sign`` is in it."""
    target = Path(folder).absolute()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        if not (target / sign).is_file():
            raise error(f"{target} is there and is no {what} folder: choose another name.")
        if not overwrite:
            raise error(f"There is a {what} in {target} already: choose another name, or pass overwrite=True.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as room:
            new, old = Path(room) / "new", Path(room) / "old"
            yield new
            try:
                if target.exists():
                    target.replace(old)
                new.replace(target)
            except BaseException:
                if old.exists() and not target.exists():
                    old.replace(target)
                raise
    except OSError as reason:
        raise error(f"{target} cannot be written: {reason.strerror or reason}. Name another folder.") from reason
