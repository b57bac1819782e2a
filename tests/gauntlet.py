"""Mutants sent through scan, read, show and deid, in processes that are watched from outside.

Each operation has five seconds of processor time; not of the clock, as a busy machine is not to blame. The kernel kills
a worker that takes more, whatever C code it is in, and the worker leaves word of where it was; so does one that
crashes. Memory is the peak of what was really touched, which the kernel counts anew for each operation. A limit on
address space would not do: threads and allocators reserve far more than they touch, and a bomb that goes off would look
like a refusal, by way of a MemoryError. There is one, far above, for the machine's sake.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from mutant_seeds import WHO
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, pixel_array

import radkit as rk
from radkit._assets import asset
from radkit.errors import RadkitError

SECONDS, MEMORY, RESERVED = 5, 1 << 30, 4 << 30
CHUNK, PATIENCE = 400, 600  # mutants of one worker, and seconds of the clock without a word from it
OPTIONS = ((), ("modified-dates",), ("retain-uids",), ("retain-safe-private", "clean-descriptors"),
           ("clean-structured-content", "retain-patient-characteristics", "retain-device-identity"))  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree")


@dataclass
class Outcome:
    """What came of a campaign: what went wrong, how often each operation ended how, and the worst of each."""

    failures: list[str] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)

    def take(self, said: dict[str, Any]) -> None:
        """Add what a worker said of an operation."""
        self.counts[said["op"], said["end"]] += 1
        self.failures += [f"{said['name']}, {said['op']}: {why}" for why in said["wrong"]]
        for unit in ("seconds", "MiB"):
            key = said["op"], unit
            self.worst[key] = max(self.worst.get(key, (0.0, "")), (said[unit], said["name"]))

    def __str__(self) -> str:
        lines = [f"{op}: {number} times {end}" for (op, end), number in sorted(self.counts.items())]
        lines += [f"{op}: at most {most:.1f} {unit}, {name}" for (op, unit), (most, name) in sorted(self.worst.items())]
        return "\n".join([*lines, *self.failures, f"{len(self.failures)} failures"])


class Watch:
    """What an operation does, seen from inside its process."""

    def __init__(self, folder: Path):
        self.allowed = tuple(str(folder.resolve() / name) + os.sep for name in ("out", "cache"))
        self.reached: list[str] = []
        self.said = (folder / "said").open("a", buffering=1)
        self.screen = os.open(folder / "screen", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(self.screen, stream)
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + RESERVED,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.trace = (folder / "trace").open("w")
        faulthandler.enable(self.trace)
        faulthandler.register(signal.SIGXCPU, self.trace, chain=True)
        sys.addaudithook(self._audit)

    def _audit(self, event: str, given: tuple[Any, ...]) -> None:
        """Note every attempt to write anywhere but in the output folder and the cache, or to start or call others."""
        places: tuple[Any, ...] = ()
        if event == "open" and given[2] & WRITES:
            places = given[:1]
        elif event in ("os.rename", "os.link", "os.symlink"):
            places = given[:2]
        elif event in CHANGES and (event == "shutil.rmtree" or given[-1] in (-1, None)):  # else within what it opened
            places = given[:1]
        elif event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec"):
            self.reached.append(f"{event}{given}")
        for place in places:
            if isinstance(place, (str, bytes, os.PathLike)):
                real = os.path.realpath(os.fsdecode(place)) + os.sep
                if not real.startswith((*self.allowed, "/dev/null", "/proc/")):
                    self.reached.append(f"{event} {real}")

    @contextmanager
    def operation(self, name: str, op: str, path: Path | None) -> Iterator[None]:
        """Watch one operation; of errors only those of radkit that name the file (None: or not) may come."""
        said: dict[str, Any] = {"name": name, "op": op, "end": "answered", "wrong": []}
        self.said.write(json.dumps({"name": name, "op": op}) + "\n")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, start = _memory("VmRSS"), time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(start) + SECONDS + 2, resource.RLIM_INFINITY))
        self.reached.clear()
        try:
            yield
        except RadkitError as error:
            said |= {"end": "refused", "text": str(error)}
            said["wrong"] += _faults_of(str(error), path)
        except Exception as error:
            at = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-4:]
            said["end"] = "failed"
            said["wrong"].append(f"{type(error).__name__}: {str(error)[:300]} ({' '.join(at)})")
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2)
        said["seconds"], said["MiB"] = time.process_time() - start, (_memory("VmHWM") - before) >> 20
        if said["seconds"] > SECONDS or said["MiB"] > MEMORY >> 20:
            said["wrong"].append(f"took {said['seconds']:.1f} s and {said['MiB']} MiB")
        said["wrong"] += [f"reached outside: {what}" for what in self.reached]
        if noise := os.pread(self.screen, 300, 0):
            said["wrong"].append(f"was heard: {noise.decode('utf8', 'replace')}")
        os.ftruncate(self.screen, 0)
        os.lseek(self.screen, 0, os.SEEK_SET)
        self.said.write(json.dumps(said) + "\n")


def _memory(what: str) -> int:
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(what))


def _faults_of(text: str, path: Path | None) -> list[str]:
    """List what is wrong with a message."""
    known = path is None or path.name in text
    length, reason = len(text), text.replace(str(path), "")
    wrong = ["does not name the file"] * (not known) + ["gives no reason"] * (len(reason) < 20)
    wrong += ["is too long"] * (length > 1000) + ["says who"] * any(word in text for word in WHO)
    return [f"a message {what}: {text[:300]}" for what in wrong]


def take(path: Path, name: str, number: int, watch: Watch, folder: Path) -> None:
    """Send one file through everything."""
    digest = sha256(path.read_bytes()).digest()
    with watch.operation(name, "scan", None):
        found = rk.dicom.scan(path, progress=False)
        assert f"{found}{found._repr_html_()}"
        places = [*found.other_files, *found.unreadable, *(file for one in found.series for file in one.files)]
        assert places == [path], f"it stands at {len(places)} places"
        assert all(len(reason) > 5 for reason in found.unreadable.values())
    with watch.operation(name, "inspect", path):
        tags = rk.dicom.inspect(path)
        assert f"{tags}{tags._repr_html_()}{tags.first_bytes}"
    with watch.operation(name, "compare", path):
        assert not (again := rk.dicom.compare(path, path)).rows, f"it differs from itself: {again}"
    volume = image = None
    with watch.operation(name, "read_series", path):
        volume = rk.dicom.read_series(path, progress=False, resample=(None, None, "gaps", "tilt")[number % 4])
        assert volume.array.ndim == 3 and np.isfinite(volume.affine).all()
    with watch.operation(name, "read_image", path):
        image = rk.dicom.read_image(path)
        assert image.array.ndim - image.colour in (2, 3) and repr(image)
        assert image.shown(frame=image.frames - 1).dtype == np.uint8
    if image is not None:
        with watch.operation(name, "values", None):
            check_values(path, image, volume)
    with watch.operation(name, "still", path):
        assert rk.view.still(path, banner=True).image.size[0] == 1200
    if number % 10 == 3:
        with watch.operation(name, "show", path):
            rk.view.show(path).close()
    done: Any = None
    with watch.operation(name, "deidentify", None):
        how = "refuse" if number % 50 == 7 else "keep"
        out, options = folder / "out" / "deid", OPTIONS[number % len(OPTIONS)]
        done = rk.dicom.deidentify(path, out, options=options, burned_in=how, progress=False)
        assert f"{done}{done._repr_html_()}"
        assert done.written + len(done.left_out) == 1 and all(map(str.strip, done.left_out.values()))
    if done is not None:
        with watch.operation(name, "written", None):  # by itself: reading again is not what de-identifying took
            check_written(out, done.written, image if number % 3 == 0 else None)
            assert os.listdir(folder / "out") == ["deid"]  # noqa: PTH208
    for left in (folder / "out").iterdir():
        shutil.rmtree(left)
    assert sha256(path.read_bytes()).digest() == digest, f"{name} was changed"


def check_values(path: Path, image: Any, volume: Any) -> None:
    """Hold a grey image against pydicom's values, and against the volume of the same file."""
    grouped = "PerFrameFunctionalGroupsSequence" in image.header  # by whose order frames lie in a volume
    if volume is not None and not grouped and image.modality != "SEG" and volume.array.size == image.array.size:
        one, other = (np.sort(array, axis=None).astype(np.float32) for array in (volume.array, image.array))
        assert np.allclose(one, other, rtol=1e-5, equal_nan=True), "volume and image differ"
    if image.colour or grouped or image.array.size > 1 << 22:
        return
    expected = pydicoms(path)
    if expected is not None:
        assert expected.shape == image.array.shape, f"pydicom reads {expected.shape}, radkit {image.array.shape}"
        same = np.isclose(image.array, expected, rtol=1e-5, equal_nan=True)
        assert same.all(), f"{(~same).sum()} of {same.size} values are not pydicom's"


def pydicoms(path: Path) -> np.ndarray | None:
    """Return pydicom's values after the modality transform; nothing where it has none, or leaves it to others."""
    try:
        dataset = dcmread(path)
        values = pixel_array(dataset, allow_excess_frames=False)
        if "DoseGridScaling" in dataset or ("RescaleSlope" in dataset) != ("RescaleIntercept" in dataset):
            return None
        return apply_modality_lut(values, dataset)
    except Exception:
        return None


def check_written(out: Path, written: int, image: Any) -> None:
    """Hold what was written against what it should be: whole objects of the same pixels, under names of digits."""
    files = [Path(top, name) for top, _, names in os.walk(out) for name in names]
    assert len(files) == written, f"{len(files)} files, {written} reported"
    for file in files:
        assert re.fullmatch(r"[0-9.]+/[0-9.]+/[0-9.]+\.dcm", file.relative_to(out).as_posix()), f"written to {file}"
        assert rk.dicom.read_headers(file)
        if image is not None:
            assert np.array_equal(rk.dicom.read_image(file).array, image.array, equal_nan=True), "it has other pixels"


def work(folder: Path, seed: int, numbers: range) -> None:
    """Make the mutants of some numbers and take each; what happens goes to the file ``said``."""
    from mutants import mutant

    for name in ("in", "out", "cache"):
        (folder / name).mkdir()
    (folder / "cache" / "text-detector").symlink_to(asset("text-detector"))
    os.environ |= {"RADKIT_CACHE": str(folder / "cache"), "MPLCONFIGDIR": str(folder / "cache")}
    watch = Watch(folder)
    for number in numbers:
        name, data = mutant(seed, number)
        path = folder / "in" / f"mutant-{number}.dcm"
        path.write_bytes(data)
        take(path, name, number, watch, folder)
        path.unlink()
    watch.said.write(json.dumps({"done": True}) + "\n")


def campaign(folder: Path, seed: int, numbers: range, *, jobs: int = 2, progress: bool = False) -> Outcome:
    """Take mutants, some workers at a time; one that dies is a failure, and another goes on with the next mutant."""
    outcome, names = Outcome(), count()
    running: list[Worker] = []
    waiting = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(Worker(folder / str(next(names)), seed, waiting.pop(0)))
        time.sleep(0.2)
        for worker in [worker for worker in running if worker.is_over(outcome)]:
            running.remove(worker)
            waiting[:0] = [worker.rest()] if worker.rest() else []
            if progress:
                print(f"{outcome.counts.total():,} operations, {len(outcome.failures)} failures", flush=True)
    return outcome


class Worker:
    """One process, watched from outside."""

    def __init__(self, folder: Path, seed: int, numbers: range):
        folder.mkdir(parents=True)
        self.folder, self.numbers, self.heard = folder, numbers, time.monotonic()
        self.last: dict[str, Any] = {}
        self.lines = 0
        command = [sys.executable, __file__, str(folder), str(seed), str(numbers.start), str(numbers.stop)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with (folder / "died").open("w") as died:
            self.process = subprocess.Popen(command, env=env, stdout=died, stderr=died)

    def is_over(self, outcome: Outcome) -> bool:
        """Listen to what it says; tell whether it has ended, and end it if it says nothing for long."""
        ended, said = self.process.poll() is not None, self.folder / "said"
        lines = said.read_text().split("\n")[:-1] if said.exists() else []  # the last may not be whole yet
        for line in lines[self.lines :]:
            self.last, self.heard = json.loads(line), time.monotonic()
            if "end" in self.last:
                outcome.take(self.last)
        self.lines = len(lines)
        if not ended and time.monotonic() - self.heard > PATIENCE:
            self.process.kill()
            ended = bool(self.process.wait())
        if ended and "done" not in self.last:
            places = [self.folder / name for name in ("died", "screen", "trace")]
            words = "\n".join(place.read_text(errors="replace")[-2000:] for place in places if place.exists())
            what = f"{self.last.get('name')}, {self.last.get('op')}"
            outcome.failures.append(f"{what}: the process ended with {self.process.returncode}: {words}")
        return ended

    def rest(self) -> range:
        """Return the numbers after that at which it died; none if it did not get as far as the first."""
        died = re.match(r"#(\d+) ", self.last.get("name", ""))
        return range(int(died[1]) + 1, self.numbers.stop) if died else range(0)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))
