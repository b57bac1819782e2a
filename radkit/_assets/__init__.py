"""Parts of radkit that others made and that come from a package index when they are first needed: a model, a viewer."""

from __future__ import annotations

from pathlib import Path

from radkit.errors import SourceUnreachable

from .sources import ROOT, Source, find, read_sources
from .store import ensure, verify

__all__ = ["asset", "assets", "verify"]
TABLE = ROOT / "data" / "assets.yaml"


def assets() -> dict[str, Source]:
    """Read which parts there are: ``data/assets.yaml``."""
    return read_sources(TABLE)


def asset(name: str, *, progress: bool = True) -> Path:
    """Return the folder that holds a part, fetched if it is not in the cache, each file with the sha256 promised.

    There are "text-detector" (``det.onnx``) and "itk-vtk-viewer" (``itkVtkViewer.js``). A SourceUnreachable says what
    to do where the index does not answer; a DataError, that there is no such part or that it cannot be trusted or
    written.
    """
    known = assets()
    source = find(name, known, TABLE.name)
    try:
        return ensure(source, known.values(), progress=progress)
    except SourceUnreachable as error:
        raise SourceUnreachable(
            f"{error}. {source.remedy}, or copy the folder data/cache/{name} from a machine that has it."
        ) from error
