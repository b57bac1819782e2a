"""Send 133 CT slices of 512×512: our ``send`` against dcmtk's ``storescu`` with ``TCP_NODELAY=1``, in one run.

Run it by hand: ``python tests/benchmarks/bench_pacs.py``. It prints medians of three in seconds, and the ratios.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from highdicom import Volume
from pydicom import dcmread

import radkit as rk
from radkit.data.ct import write_ct_series

SLICES, ROUNDS = 133, 3


def median_of(action):
    seconds = []
    for _ in range(ROUNDS):
        with rk.pacs.open_archive(kind, peers={"BENCH": ("127.0.0.1", 104)}) as archive:
            start = time.perf_counter()
            action(archive)
            seconds.append(time.perf_counter() - start)
            assert len(archive.find("instance", StudyInstanceUID=study)) == SLICES
    return statistics.median(seconds)


def storescu(archive):
    command = ["storescu", "-aet", "BENCH", "-aec", archive.ae_title, archive.host, str(archive.dicom_port), *files]
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})


def fetch(archive):
    archive.send(files, progress=False)
    start = time.perf_counter()
    archive.fetch(study=study, progress=False)
    fetching.append(time.perf_counter() - start)


with tempfile.TemporaryDirectory() as folder:
    pixels = np.random.default_rng(0).integers(-1000, 1000, (SLICES, 512, 512)).astype(np.int16)
    volume = Volume(pixels, np.diag([1, 0.7, 0.7, 1])[[2, 1, 0, 3]], coordinate_system="PATIENT")
    files = [str(path) for path in write_ct_series(volume, Path(folder))]
    study = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    for kind in ("orthanc", "embedded"):
        ours, theirs, fetching = median_of(lambda a: a.send(files, progress=False)), median_of(storescu), []
        median_of(fetch)
        print(f"{kind}: send {ours:.2f} s, storescu {theirs:.2f} s, ratio {ours / theirs:.2f}; ", end="")
        print(f"fetch {statistics.median(fetching):.2f} s")
