"""Send and fetch 300 CT slices of 512×512, against dcmtk's ``storescu`` to the same archive in the same run.

Run it by hand: ``python tests/benchmarks/bench_pacs.py [rounds]``. It prints medians in seconds, and ratios. "As Debian
ships it" is ``storescu`` without ``TCP_NODELAY``, to an Orthanc started without it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from highdicom import Volume
from pydicom import dcmread

import radkit as rk
from radkit.data.ct import write_ct_series
from radkit.pacs import orthanc

SLICES, ROUNDS = 300, int(sys.argv[1]) if sys.argv[1:] else 3


def storescu(archive, **environment):
    command = ["storescu", "-aet", "BENCH", "-aec", archive.ae_title, archive.host, str(archive.dicom_port), *files]
    subprocess.run(command, check=True, env={**os.environ, **environment})


def timed(action, *arguments, **options):
    start = time.perf_counter()
    action(*arguments, **options)
    return time.perf_counter() - start


def opened(kind):
    return rk.pacs.open_archive(kind, peers={"BENCH": ("127.0.0.1", 104)})


def checked(archive, seconds):
    assert len(archive.find("instance", StudyInstanceUID=study)) == SLICES
    return seconds


def one_round(kind):
    """Return seconds: our send and fetch by the archive's quickest way, by DIMSE alone, and storescu's."""
    told = {}
    with opened(kind) as archive:
        told["storescu"] = checked(archive, timed(storescu, archive, TCP_NODELAY="1"))
    with opened(kind) as archive:
        told["send"] = checked(archive, timed(archive.send, files, progress=False))
        told["fetch"] = timed(archive.fetch, study=study, progress=False)
    with (
        opened(kind) as archive,
        rk.pacs.open_archive(f"dicom://{archive.ae_title}@127.0.0.1:{archive.dicom_port}") as peer,
    ):
        told["DIMSE send"] = checked(archive, timed(peer.send, files, progress=False))
        told["DIMSE fetch"] = timed(peer.fetch, study=study, progress=False)
    return told


def as_shipped():
    """Return the seconds of storescu and of Orthanc without TCP_NODELAY."""
    real = orthanc.Server
    orthanc.Server = lambda command, home, env, **options: real(command, home, {**env, "TCP_NODELAY": "0"}, **options)
    try:
        with opened("orthanc") as archive:
            return checked(archive, timed(storescu, archive, TCP_NODELAY="0"))
    finally:
        orthanc.Server = real


with tempfile.TemporaryDirectory() as folder:
    pixels = np.random.default_rng(0).integers(-1000, 1000, (SLICES, 512, 512)).astype(np.int16)
    volume = Volume(pixels, np.diag([1, 0.7, 0.7, 1])[[2, 1, 0, 3]], coordinate_system="PATIENT")
    files = [str(path) for path in write_ct_series(volume, Path(folder))]
    study = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    for kind in ("orthanc", "embedded"):
        rounds = [one_round(kind) for _ in range(ROUNDS)]
        told = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        print(f"{kind}: " + ", ".join(f"{key} {seconds:.2f} s" for key, seconds in told.items()))
        sending, fetching = told["send"] / told["storescu"], told["fetch"] / told["send"]
        print(f"  send / storescu {sending:.2f}, fetch / send {fetching:.2f}; ", end="")
        print(f"DIMSE send / storescu {told['DIMSE send'] / told['storescu']:.2f}")
        if kind == "orthanc":
            slow = as_shipped()
            print(f"  storescu as Debian ships it {slow:.2f} s: send / that {told['send'] / slow:.3f}")
