"""What a transfer is made of: a bar, pauses, what came (checked, and kept whole or not at all), what is missing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydicom import Dataset
from tqdm import tqdm

from .._folders import whole_file
from ..errors import ArchiveError, ArchiveUnavailable, DicomError, TransferError
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
            self._note(uid, dataset, _write(self._path(uid), data) if self.folder else dataset)
        except DicomError as error:
            self.reasons[uid] = str(error).rstrip(".")
        except ArchiveError as error:
            self.error = error
            raise

    def everything(self) -> list[Any]:
        """Return what came, by series and Instance Number."""
        return [one for _, one in sorted(self.got.values(), key=itemgetter(0))]

    def failed(self, reason: str) -> ArchiveError:
        """Return the error of a fetch that was given up, for ``reason`` or for what was wrong with each instance."""
        if not self.located:
            return ArchiveUnavailable(f"{reason}.")
        rest = [uid for uid in self.located if uid not in self.got]  # not what another fetch may bring just now
        failed = {uid: reason or self.reasons.get(uid, "the archive did not send it") for uid in rest}
        return incomplete("came back from the archive", len(self.located), failed)

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
    try:
        with whole_file(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise ArchiveError(f"{path.parent} cannot be written to: {error.strerror}.") from error
    return path


def pauses(retries: int) -> Iterator[int]:
    """Wait before each try but the first, twice as long each time."""
    for n in range(retries + 1):
        time.sleep(min(0.125 * 2**n, 8.0) if n else 0)
        yield n


def progress_bar(total: int | None, verb: str, shown: bool) -> Any:
    """Return a bar that shows itself when it takes more than half a second."""
    return tqdm(total=total, desc=verb, unit="instance", delay=0.5, leave=False, file=sys.stdout, disable=not shown)


def incomplete(what: str, total: int, failed: dict[str, str]) -> TransferError:
    """Say how many of how many arrived, and why the others did not (by UID)."""
    reason = next(iter(failed.values()))
    return TransferError(
        f"{total - len(failed)} of {total} instances {what}; {len(failed)} did not: {reason}. "
        "To do the same again is safe: nothing is stored twice.",
        missing=tuple(failed),
    )
