"""What stands in one DICOM object, tag by tag, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_description, keyword_for_tag, private_dictionary_description
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import UID

from ..errors import DicomError
from ._file import read_dataset
from .first_bytes import FirstBytes, explain
from .table import Table, clean

Place: TypeAlias = "tuple[int, ...]"  # the way to an element through sequences: tag, item, tag, item, ..., tag

MOST_TAGS, DEEPEST = 20_000, 16  # beyond this nobody reads, and a malicious object does not end


class Tag(NamedTuple):
    """One data element, in words.

    ``tag`` is "(0010,0020)", with a ">" for each sequence around it, as in the tables of the standard. A private one
    has its creator, in brackets, for a ``keyword``. ``name`` is what the standard calls it (PS3.6). A long ``value`` is
    cut, bulk data is a number of bytes. ``identifying`` is what the Basic Profile does with it (PS3.15 table E.1-1),
    empty if it may stay.
    """

    tag: str
    vr: str
    keyword: str
    name: str
    identifying: str
    value: str


@dataclass(frozen=True, repr=False)
class Tags(Table):
    """The tags of one object: ``rows`` of `Tag`."""

    file: Path | None
    columns = ("tag", "VR", "keyword", "what the standard calls it", "Basic Profile", "value")
    wide_only = "what the standard calls it"

    @property
    def first_bytes(self) -> FirstBytes:
        """The beginning of its file, byte by byte; a `DicomError` if it does not come from a file."""
        if self.file is None:
            raise DicomError("Expected an object read from a file, found one made in memory: inspect its file instead.")
        return explain(self.file)


class Difference(NamedTuple):
    """One element in which two objects differ: ``change`` is "added", "removed", "changed" or, around one, empty."""

    tag: str
    keyword: str
    change: str
    first: str
    second: str


@dataclass(frozen=True, repr=False)
class Differences(Table):
    """In what two objects differ: ``rows`` of `Difference`, none if they do not."""

    columns = Difference._fields


def inspect(source: str | Path | Dataset, *, search: str = "") -> Tags:
    """List what stands in one DICOM object: a file, or a dataset.

    Parameters
    ----------
    source
        Of a file whose pixel data is damaged, what comes before it is listed.
    search
        Keep what has this text in its tag, keyword, name or value, and the sequences around it.

    Returns
    -------
    Tags
        In the order of the file, its file meta information first.

    Raises
    ------
    DicomError
        If it cannot be read as DICOM.
    """
    dataset, remark = _read(source)
    found = list(islice(_elements(dataset), MOST_TAGS + 1))
    if len(found) > MOST_TAGS:
        remark += f"; more than {MOST_TAGS:,} elements, of which the first are shown"
    rows = {place: _tag(place, *element) for place, *element in found[:MOST_TAGS]}
    if search:
        kept = _with_parents(place for place, row in rows.items() if search.lower() in " ".join(row).lower())
        rows = {place: row for place, row in rows.items() if place in kept}
    file = Path(dataset.filename) if getattr(dataset, "filename", None) else None
    title = f"{file.name if file else 'dataset'}: {len(rows):,} elements{remark}"
    return Tags(title, list(rows.values()), file)


def compare(first: str | Path | Dataset, second: str | Path | Dataset) -> Differences:
    """List the elements in which two objects differ, nested ones too; items of a sequence are compared in their order.

    Numbers are equal whatever way they are written ("1.0" and "1"), bulk data if all bytes are.

    Raises
    ------
    DicomError
        If one of them cannot be read as DICOM.
    """
    old, new = ({place: e for place, *e in islice(_elements(_read(o)[0]), MOST_TAGS)} for o in (first, second))
    changes = {place: "added" if place not in old else "removed" for place in old.keys() ^ new.keys()}
    changes |= {place: "changed" for place in old.keys() & new.keys() if not _same(old[place][0], new[place][0])}
    rows = []
    for place in sorted(_with_parents(changes)):
        tags = [_tag(place, *side[place]) for side in (old, new) if place in side]
        before = tags[0].value if place in old else ""
        after = tags[-1].value if place in new else ""
        after += ", of another content or VR" * (before == after and place in changes)
        rows.append(Difference(tags[0].tag, tags[0].keyword, changes.get(place, ""), before, after))
    return Differences(f"{len(changes) or 'no'} difference{'s' * (len(changes) != 1)}", rows)


def _with_parents(places: Iterable[Place]) -> set[Place]:
    """Return the places, and the sequences and items that they are in."""
    return {place[:end] for place in places for end in range(1, len(place) + 1)}


def _read(source: str | Path | Dataset) -> tuple[Dataset, str]:
    """Return the whole object, or what comes before damaged pixel data and a remark that says so."""
    if isinstance(source, Dataset):
        return source, ""
    if Path(source).is_dir():
        raise DicomError(
            f"Expected a file, found the folder {source}: name one file in it, or use scan for all of them."
        )
    try:
        return read_dataset(source), ""
    except DicomError as error:
        return read_dataset(source, pixels=False), f"; only what comes before the pixel data, since {error}"


def _elements(dataset: Dataset, place: Place = ()) -> Iterator[tuple[Place, Any, str]]:
    """Yield where each element stands, the element (None: an item), and the creator of a private one."""
    if not place and "file_meta" in vars(dataset):
        yield from _elements(dataset.file_meta)
    for tag in sorted(dataset.keys()):
        here, creator = (*place, int(tag)), ""
        try:
            element = dataset[tag]
            if tag.is_private and not tag.is_private_creator:
                creator = str(dataset[tag.group, tag.element >> 8].value)
        except Exception:  # pydicom's converters raise whatever a wrong VR or a missing creator leads to
            element = dataset.get_item(tag)
        yield here, element, creator
        if isinstance(element, DataElement) and element.VR == "SQ" and len(here) < 2 * DEEPEST:
            for number, item in enumerate(element.value):
                yield (*here, number), None, ""
                yield from _elements(item, (*here, number))


def _tag(place: Place, element: Any, creator: str) -> Tag:
    """Put an element into words."""
    nesting = ">" * (len(place) // 2)
    if element is None:
        return Tag(f"{nesting}(FFFE,E000)", "", f"Item {place[-1] + 1}", "Item", "", "")
    tag = BaseTag(place[-1])
    try:
        name = private_dictionary_description(tag, creator) if creator else dictionary_description(tag)
    except KeyError:
        name = "Private Creator" if tag.is_private_creator else "private" if tag.is_private else "not in the standard"
    try:
        value = _value(element)
    except Exception:  # as above: some values are converted only when they are used
        value = f"not readable as {element.VR}"
    keyword = f"[{clean(creator)}]" if creator else keyword_for_tag(tag)
    return Tag(f"{nesting}{tag}", str(element.VR), keyword, name, _identifying(tag), value)


def _value(element: Any) -> str:
    """Return a value on one line."""
    value = element.value
    if not isinstance(element, DataElement):
        return f"not readable as {element.VR}: {len(value or b''):,} bytes"
    if element.VR == "SQ":
        return f"{len(value)} item{'s' * (len(value) != 1)}"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes" + f": {value.hex(' ').upper()}" * (0 < len(value) <= 16)
    if isinstance(value, UID) and value.name != value:
        return f"{value} ({value.name})"
    if isinstance(value, (MultiValue, list)):
        return clean("\\".join(str(part) for part in islice(value, 100)))
    return clean("" if value is None else value)


@cache
def _profile() -> dict[int, str]:
    """Return what the Basic Profile does, by tag; where it depends on the object, the choices."""
    table = import_module("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    verbs = {"D": "replace", "Z": "empty", "X": "remove", "U": "new UID"}
    codes = ("D", "Z", "X", "U", "Z_D", "X_Z", "X_D", "X_Z_D", "X_Z_U_STAR")
    says = {code: " or ".join(verbs[letter] for letter in code.split("_") if letter in verbs) for code in codes}
    return {tag[0] << 16 | tag[1]: says[code] for code in codes for tag in getattr(table, f"{code}_TAGS")}


def _identifying(tag: BaseTag) -> str:
    """Return what the Basic Profile does with a tag, those of repeating groups (50xx, 60xx) included."""
    if tag.is_private:
        return "remove"
    repeated = {0x50: 0x50000000, 0x60: int(tag) & 0xFF00FFFF}.get(tag.group >> 8, int(tag))
    return _profile().get(repeated, "")


def _same(old: Any, new: Any) -> bool:
    """Return whether two elements have the same VR and value; a sequence's items are compared one by one."""
    try:
        return old is new or (old.VR == new.VR and (old.VR == "SQ" or bool(old.value == new.value)))
    except Exception:  # as above
        return False
