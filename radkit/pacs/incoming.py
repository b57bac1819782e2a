"""What comes back from an archive: checked to be what was asked for, and kept whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydicom import Dataset

from ..errors import ArchiveError, DicomError
from .instances import parse


class Incoming:
    """The instances that ``query`` names, as datasets or, with a ``folder``, as files named by SOP Instance UID."""

    def __init__(self, query: Mapping[str, str], folder: Path | None, tick: Callable[[], object]):
        self.query, self.folder, self.tick = query, folder, tick
        self.located: dict[str, Any] = {}
        self.got: dict[str, tuple[tuple[str, int, str], Path | Dataset]] = {}
        self.reasons: dict[str, str] = {}
        self.error: ArchiveError | None = None  # our own disk's: to ask the archive again would be no help

    def rest(self) -> dict[str, Any]:
        """Return what of ``located`` is not here yet; a file that an earlier fetch left whole is."""
        for uid in self.located.keys() - self.got.keys() if self.folder else ():
            with contextlib.suppress(OSError, DicomError):
                path = self._path(uid)
                self._note(uid, self._checked(uid, path.read_bytes()), path)
        return {uid: way for uid, way in self.located.items() if uid not in self.got}

    def keep(self, uid: str, data: bytes) -> None:
        """Keep what came as ``uid``: under the name on our own list, never one that was received."""
        if uid not in self.located or uid in self.got:
            return
        try:
            dataset = self._checked(uid, data)
        except DicomError as error:
            self.reasons[uid] = str(error).rstrip(".")
            return
        try:
            self._note(uid, dataset, _write(self._path(uid), data) if self.folder else dataset)
        except ArchiveError as error:
            self.error = error
            raise

    def everything(self) -> list[Any]:
        """Return what came, by series and Instance Number."""
        return [one for _, one in sorted(self.got.values(), key=itemgetter(0))]

    def _path(self, uid: str) -> Path:
        assert self.folder
        return self.folder / f"{uid}.dcm"

    def _checked(self, uid: str, data: bytes) -> Dataset:
        dataset = parse(data)
        wanted = {**self.query, "SOPInstanceUID": uid}
        if wrong := [key for key, value in wanted.items() if dataset.get(key) != value]:
            raise DicomError(f"what came has another {' and '.join(wrong)} than what was asked for.")
        return dataset

    def _note(self, uid: str, dataset: Dataset, one: Path | Dataset) -> None:
        number = str(dataset.get("InstanceNumber") or 0)
        series = str(dataset.get("SeriesInstanceUID"))
        self.got[uid] = (series, int(number) if number.lstrip("-").isdecimal() else 0, uid), one
        self.tick()


def _write(path: Path, data: bytes) -> Path:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        return part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ArchiveError(f"{path.parent} cannot be written to: {error.strerror}.") from error
