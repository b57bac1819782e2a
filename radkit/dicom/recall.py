"""What a scan has read of a folder, kept for the next one in radkit's cache, readable for its owner alone."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from .._assets.sources import cache_folder
from .problems import Header

VERSION, MOST = "1", 50  # of a header (count up when it is read in another way), and folders


def recall(root: Path) -> dict[str, Header]:
    """Return the headers by file name; none if nothing is kept, or not as it was written."""
    try:
        digest, _, text = _place(root).read_text("ascii").partition("\n")
        return json.loads(text) if digest == _digest(text) else {}
    except (OSError, ValueError):
        return {}


def remember(root: Path, headers: dict[str, Header]) -> None:
    """Keep the headers, of the last folders scanned; where nothing can be written, do without."""
    place, text = _place(root), json.dumps(headers)
    with suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:  # of mode 0600
            file.write(f"{_digest(text)}\n{text}")
        Path(file.name).replace(place)
        for old in sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-MOST]:
            old.unlink()


def _place(root: Path) -> Path:
    return cache_folder() / "scans" / f"{_digest(VERSION + str(root.resolve()))}.json"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
