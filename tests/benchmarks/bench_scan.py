"""Scan 3,000 CT slices of 10 series: ours, first time and again, against pydicom's ``stop_before_pixels``, in one run.

Run it by hand: ``python tests/benchmarks/bench_scan.py``. It prints medians of five in milliseconds, warm, and ratios.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from highdicom import Volume
from pydicom import dcmread

import radkit as rk
from radkit.data.ct import write_ct_series

SERIES, SLICES, ROUNDS = 10, 300, 5


def milliseconds(action):
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


with tempfile.TemporaryDirectory() as folder:
    files, cache = Path(folder, "files"), Path(folder, "cache")
    os.environ["RADKIT_CACHE"] = str(cache)
    for number in range(SERIES):
        pixels = np.random.default_rng(number).integers(-1000, 1000, (SLICES, 128, 128)).astype(np.int16)
        volume = Volume(pixels, np.diag([1, 0.7, 0.7, 1])[[2, 1, 0, 3]], coordinate_system="PATIENT")
        write_ct_series(volume, files / str(number))
    paths = sorted(files.rglob("*.dcm"))
    taken = {"pydicom": [], "scan": [], "scan again": []}
    for _ in range(ROUNDS):
        taken["pydicom"].append(milliseconds(lambda: [dcmread(path, stop_before_pixels=True) for path in paths]))
        shutil.rmtree(cache, ignore_errors=True)
        taken["scan"].append(milliseconds(lambda: rk.dicom.scan(files, progress=False)))
        taken["scan again"].append(milliseconds(lambda: rk.dicom.scan(files, progress=False)))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.0f} ms, {median / medians['pydicom']:.3f} of pydicom's loop")
