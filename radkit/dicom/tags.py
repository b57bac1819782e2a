"""What stands in one DICOM object, tag by tag, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_description, keyword_for_tag, private_dictionary_description
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from ..errors import DicomError
from ._file import is_dicom, read_dataset
from .first_bytes import FirstBytes, explain
from .table import Table, clean, counted
from .walker import PIXEL_DATA, _dictionary, walk_file

Place: TypeAlias = "tuple[int, ...]"  # the way to an element through sequences: tag, item, tag, item, ..., tag

ACTIONS = {"": "", "X": "remove", "Z": "empty", "D": "replace", "U": "new UID"}
LISTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI")
MOST_TAGS, DEEPEST = 10_000, 16  # beyond this nobody reads, and a malicious object does not end


class Tag(NamedTuple):
    """One data element, in words; a ">" before its tag for each sequence around it, as in the tables of the standard.

    A private one has its creator, in brackets, for a keyword. ``identifying`` is what the Basic Profile does with it
    (PS3.15 table E.1-1), empty if it may stay; ``name`` is what the standard calls it (PS3.6).
    """

    tag: str
    vr: str
    keyword: str
    value: str
    identifying: str
    name: str


@dataclass(frozen=True, repr=False)
class Tags(Table):
    """The tags of one object: ``rows`` of `Tag`."""

    file: Path | None
    columns = ("tag", "VR", "keyword", "value", "Basic Profile", "what the standard calls it")
    narrow = 5

    @property
    def first_bytes(self) -> FirstBytes:
        """The beginning of its file, byte by byte; a `DicomError` if it does not come from a file."""
        if self.file is None:
            raise DicomError("Expected an object read from a file, found one made in memory: inspect its file instead.")
        return explain(self.file)


class Difference(NamedTuple):
    """One element: ``change`` is "added", "removed", "changed" or, for a sequence around a change, empty."""

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
    """List what stands in one DICOM object, file meta information first.

    Parameters
    ----------
    source
        A file or a dataset. Of a file with damaged pixel data, what comes before it is listed.
    search
        Keep what has this text in its tag, keyword, name or value, and the sequences around it.

    Raises
    ------
    DicomError
        If it cannot be read as DICOM.
    """
    dataset, remark = read_readable(source)
    found = list(islice(_elements(dataset), MOST_TAGS + 1))
    rows = {place: _tag(place, *element) for place, *element in found[:MOST_TAGS]}
    if pixels := rows.get((PIXEL_DATA,)):
        says = {row.keyword: row.value for place, row in rows.items() if len(place) == 1}
        size = [says[keyword] for keyword in ("NumberOfFrames", "Rows", "Columns") if says.get(keyword)]
        value = f"{pixels.value}: {' × '.join(size)} pixels of {says.get('BitsStored', '?')} bits"
        rows[PIXEL_DATA,] = pixels._replace(value=value)
    hits = _with_parents(place for place, row in rows.items() if search.lower() in " ".join(row).lower())
    shown = [row for place, row in rows.items() if place in hits]
    file = Path(dataset.filename) if getattr(dataset, "filename", None) else None
    more = " and more" if len(found) > MOST_TAGS else ""
    title = f"{file.name if file else 'dataset'}: {counted(len(shown), 'element')}{more}"
    return Tags(f"{title}; {remark}" if remark else title, shown, file)


def compare(first: str | Path | Dataset, second: str | Path | Dataset) -> Differences:
    """List the elements in which two objects differ, nested ones too; items of a sequence are compared in their order.

    Numbers are equal whatever way they are written ("1.0" and "1"), bulk data if all bytes are.

    Raises
    ------
    DicomError
        If one of them cannot be read as DICOM.
    """
    old, new = ({place: e for place, *e in islice(_elements(read_readable(o)[0]), MOST_TAGS)} for o in (first, second))
    changes = {place: "added" if place not in old else "removed" for place in old.keys() ^ new.keys()}
    changes |= {place: "changed" for place in old.keys() & new.keys() if not _same(old[place][0], new[place][0])}
    rows = []
    for place in sorted(_with_parents(changes)):
        tags = [_tag(place, *side[place]) for side in (old, new) if place in side]
        before = tags[0].value if place in old else ""
        after = tags[-1].value if place in new else ""
        after += ", of another content or VR" * (before == after and place in changes)
        rows.append(Difference(tags[0].tag, tags[0].keyword, changes.get(place, ""), before, after))
    return Differences(counted(len(changes), "difference"), rows)


def read_readable(source: str | Path | Dataset) -> tuple[Dataset, str]:
    """Return the whole object; where its pixel data is damaged, what comes before, and the reason."""
    if isinstance(source, Dataset):
        return source, ""
    try:
        return read_dataset(source), ""
    except DicomError as error:
        found = walk_file(source, ()) if is_dicom(source) else None
        if "(7FE0," not in str(error) and not (found and found.pixels):
            raise
        return read_dataset(source, pixels=False), str(error)


def _with_parents(places: Iterable[Place]) -> set[Place]:
    """Return the places, and those of the sequences and items around them."""
    return {place[:end] for place in places for end in range(1, len(place) + 1)}


def _elements(dataset: Dataset, place: Place = ()) -> Iterator[tuple[Place, Any, str]]:
    """Yield where each element stands, the element (None: an item), and the creator of a private one."""
    if not place and "file_meta" in vars(dataset):
        yield from _elements(dataset.file_meta)
    for tag in sorted(dataset.keys()):
        here, creator = (*place, int(tag)), ""
        try:
            element = _list(dataset, tag) or dataset[tag]
            if tag.is_private and not tag.is_private_creator:
                creator = str(dataset[tag.group, tag.element >> 8].value)
        except Exception:  # pydicom's converters raise whatever a wrong VR or a missing creator leads to
            element = dataset.get_item(tag, keep_deferred=True)
        yield here, element, creator
        if isinstance(element, DataElement) and isinstance(element.value, Sequence) and len(here) < 2 * DEEPEST:
            for number, item in enumerate(element.value):
                yield (*here, number), None, ""
                yield from _elements(item, (*here, number))


def _list(dataset: Dataset, tag: BaseTag) -> RawDataElement | None:
    """Return a long list of texts as it stands in the file: few of its parts are shown, and to part it takes time."""
    raw = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(raw, RawDataElement) or (raw.value or b"").count(b"\\") < 100:
        return None
    raw = raw._replace(VR=raw.VR or _dictionary(tag).decode())
    return raw if raw.VR in LISTS else None


def _tag(place: Place, element: Any, creator: str) -> Tag:
    """Put an element into words."""
    from .profile import action_for  # a third of a second

    tag, nesting = BaseTag(place[-1]), ">" * (len(place) // 2)
    if element is None:
        return Tag(f"{nesting}(FFFE,E000)", "", f"Item {place[-1] + 1}", "", "", "Item")
    try:
        name = private_dictionary_description(tag, creator) if creator else dictionary_description(tag)
    except KeyError:
        name = "Private Creator" if tag.is_private_creator else "not in the dictionary"
    try:
        value = _value(element)
    except Exception:  # as above
        value = f"not readable as {element.VR}"
    keyword = f"[{clean(creator)}]" if creator else keyword_for_tag(tag)
    action = ACTIONS[action_for(int(tag))] if tag.element else ""
    return Tag(f"{nesting}{tag}", str(element.VR), keyword, value, action, name)


def _value(element: Any) -> str:
    """Return a value on one line."""
    value = element.value
    if not isinstance(element, DataElement):
        if element.VR in LISTS and value:
            return clean(value[:300].decode("latin1"))
        return f"not readable as {element.VR}: {len(value or b''):,} bytes"
    if isinstance(value, Sequence):
        return counted(len(value), "item")
    if isinstance(value, bytes):
        return f"{len(value):,} bytes" + (f": {value.hex(' ').upper()}" if 0 < len(value) <= 16 else "")
    if isinstance(value, UID) and value.name != value:
        return f"{value} ({value.name})"
    if isinstance(value, (MultiValue, list)):
        return clean("\\".join(str(part) for part in islice(value, 100)))
    return clean("" if value is None else value)


def _same(old: Any, new: Any) -> bool:
    """Return whether two elements have the same VR and value; a sequence's items are compared one by one."""
    try:
        same = old is new or (old.VR == new.VR and (old.VR == "SQ" or bool(old.value == new.value)))
        return same or (old.VR == new.VR and "nan" in (text := str(old.value)) and text == str(new.value))
    except Exception:  # as above
        return False
