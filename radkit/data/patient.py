"""The patient whom the whole course follows: the chest CT of the catalog as a DICOM series, written once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._assets import store
from .._assets.sources import cache_folder
from .cache import Fetched, fetch, find_source
from .ct import HEADERS, write_ct_series
from .volumes import read

VERSION = 1  # raise it when the writer changes: the series is then written anew


@dataclass(frozen=True)
class Story:
    """The patient of the course."""

    folder: Path  # of the CT series
    files: list[Path] = field(repr=False)  # one file a slice, in the order of InstanceNumber (head first)
    title: str  # what a picture of it is labelled with; a generated stand-in says so here
    stand_in: bool  # whether it is the generated stand-in
    source: Fetched = field(repr=False)  # what it was made from


def story(*, stand_in: bool | None = None) -> Story:
    """Return the patient of the course, from the cache; the first call writes the series.

    The CT is a public research CT without a header; name, dates and device are invented (``RADKIT-…``), the voxels and
    their place are the source's. UIDs come from the content, so they are the same on every machine.

    Parameters
    ----------
    stand_in
        As in ``fetch``: None takes the real CT, and the generated one where that cannot be had.

    Raises
    ------
    DataError
        If the CT cannot be had and `stand_in` is False.
    """
    from . import standins

    source = fetch("chest-ct", stand_in=stand_in)
    made_of = f"stand-in-{standins.VERSION}" if source.stand_in else f"real-{find_source(source.name).sha256[:8]}"
    header = hashlib.sha256(repr(_header(source)).encode()).hexdigest()[:8]  # another catalog, another header
    folder = cache_folder() / "story" / f"{made_of}-{header}-{VERSION}"
    store.once(find_source(source.name), folder, lambda part: _write(source, part))
    return Story(folder, sorted(folder.glob("*.dcm")), source.title, source.stand_in, source)


def _write(source: Fetched, folder: Path) -> None:
    volume = read(source)
    outside = int(volume.array.min())
    write_ct_series(volume, folder, header=_header(source), padding=outside if outside < -1024 else None)


def _header(source: Fetched) -> dict[str, Any]:
    """Return what is said of this CT beyond the invented patient: what it is, whose it is, how it was made."""
    made = (
        f"{source.title}. {source.attribution} Licence: {source.licence}. Written as DICOM by radkit: voxels and "
        "geometry are the source's; patient, study, dates and device are invented. For teaching, not for diagnosis."
    )
    contrast = {"ContrastBolusAgent": "IODINE (agent not known)", "ContrastBolusRoute": "IV"}
    if source.stand_in:
        return {**contrast, **HEADERS["generated"], "ImageComments": made}
    study = {"StudyDescription": "CT chest with contrast", "SeriesDescription": "Chest with contrast"}
    return {**contrast, **study, "ImageComments": made}
