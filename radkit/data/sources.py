"""The catalog of real images: which there are, where they come from, and what may be done with them."""

from __future__ import annotations

import os
from pathlib import Path

from .._assets.sources import ROOT, Source, cache_folder, find, read_sources
from ..errors import DataError

__all__ = ["Source", "cache_folder", "catalog", "find_source"]


def catalog() -> dict[str, Source]:
    """Read the catalog: ``data/catalog.yaml``, or the file that ``RADKIT_CATALOG`` names.

    Returns
    -------
    dict of str to Source
        Every source by its name, in the order of the file.

    Raises
    ------
    DataError
        If there is no such file, or an entry lacks something; the message names the entry and the field.
    """
    path = Path(os.environ.get("RADKIT_CATALOG") or ROOT / "data" / "catalog.yaml")
    try:
        return read_sources(path)
    except FileNotFoundError:
        raise DataError(
            f"There is no catalog at {path}. Install radkit from a checkout (pip install -e .), "
            "or name a catalog of your own in RADKIT_CATALOG."
        ) from None


def find_source(name: str) -> Source:
    """Return one entry of the catalog, or raise a DataError that lists the names there are."""
    return find(name, catalog(), "The catalog")
