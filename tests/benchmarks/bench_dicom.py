"""Read 300 CT slices of 512×512 and scan 3,000 headers: radkit against SimpleITK (GDCM), pydicom and the bare bytes.

Run it by hand: ``python tests/benchmarks/bench_dicom.py [uncompressed|rle|jpegls|jpeg2000|scan|memory ...]``. It prints
medians of five in milliseconds, warm, all in one run, and their ratios; read the ratios.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from io import FileIO
from pathlib import Path

import imagecodecs
import numpy as np
import SimpleITK as sitk
from highdicom import Volume
from pydicom import dcmread
from pydicom.encaps import encapsulate
from scipy import ndimage

import radkit as rk
from radkit.data.ct import write_ct_series
from radkit.dicom.walker import walk_file

SLICES, SIZE, FILES, ROUNDS = 300, 512, 3000, 5
TAGS = (0x00080060, 0x0020000D, 0x0020000E, 0x00200011, 0x00200013, 0x00200032, 0x00200037, 0x00280030)
SYNTAXES = {"rle": "1.2.840.10008.1.2.5", "jpegls": "1.2.840.10008.1.2.4.80", "jpeg2000": "1.2.840.10008.1.2.4.90"}


def medians(**actions):
    """Time each action in turn, five times, after one for warming up."""
    seconds = {name: [] for name in actions}
    for turn in range(ROUNDS + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(times) for name, times in seconds.items()}


def report(what, times):
    ours, others = times["radkit"], {name: time for name, time in times.items() if name != "radkit"}
    ratios = ", ".join(f"{name} {time:.0f} ms (ratio {ours / time:.3f})" for name, time in others.items())
    print(f"{what}: radkit {ours:.0f} ms, {ratios}", flush=True)


def simpleitk(files):
    """The files in the order that SimpleITK is given: it sorts by position only where it is asked to, see below."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    return reader.Execute()


def simpleitk_sorted(folder):
    """What ``read_series`` does: find the files of a folder, sort them by position, read them."""
    return simpleitk(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def floor(files, offsets):
    """Bytes into an array, where they lie being known: what no reader can beat."""
    volume = np.empty((len(files), SIZE, SIZE), np.int16)
    for image, file, offset in zip(volume, files, offsets, strict=True):
        with FileIO(file) as stream:
            stream.seek(offset)
            stream.readinto(image.data.cast("B"))
    return volume


def series(folder):
    """300 slices with the noise and the smoothness of a CT, so that a codec has something to do."""
    noise = np.random.default_rng(0).normal(0, 60, (SLICES, SIZE, SIZE)).astype(np.float32)
    pixels = ndimage.gaussian_filter(noise, (0, 0.8, 0.8)) + 1000 * np.hypot(*np.mgrid[-1:1:512j, -1:1:512j]) - 1000
    affine = np.diag([1, 0.7, 0.7, 1])[[2, 1, 0, 3]]
    volume = Volume(np.rint(pixels).astype(np.int16), affine, coordinate_system="PATIENT")
    return [str(path) for path in write_ct_series(volume, folder)]


def compressed(files, folder, kind):
    folder.mkdir()
    syntax = SYNTAXES[kind]
    for file in files:
        ds = dcmread(file)
        if kind == "jpegls":
            ds.PixelData = encapsulate([imagecodecs.jpegls_encode(ds.pixel_array.astype(np.uint16))])
            ds["PixelData"].VR, ds.file_meta.TransferSyntaxUID = "OB", syntax
        else:
            ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(folder / Path(file).name)
    return [str(path) for path in sorted(folder.iterdir())]


def scanning(files, folder):
    folder.mkdir()
    for number in range(FILES):
        (folder / str(number)).symlink_to(files[number % SLICES])
    names = [str(path) for path in folder.iterdir()]
    report(f"headers of {FILES} files", medians(
        radkit=lambda: [walk_file(name, TAGS) for name in names],
        pydicom=lambda: [dcmread(name, stop_before_pixels=True) for name in names],
    ))  # fmt: skip


def memory(folder):
    """Peak memory of a process that reads the series, less that of one that only imports what it needs."""
    peaks = []
    for read in ("", f"rk.dicom.read_series({str(folder)!r})"):
        code = f"import radkit as rk, re; rk.dicom.read_series; {read}\nprint(open('/proc/self/status').read())"
        status = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))
    print(f"peak memory: {(peaks[1] - peaks[0]) / (SLICES * SIZE * SIZE * 2 / 1024):.2f} of the volume")


with tempfile.TemporaryDirectory() as folder:
    wanted = sys.argv[1:] or ["uncompressed", "memory", "scan", *SYNTAXES]
    (plain := Path(folder, "plain")).mkdir()
    files = series(plain)
    for kind in wanted:
        if kind == "uncompressed":
            offsets = [walk_file(file, ()).pixels for file in files]
            report("uncompressed", medians(
                radkit=lambda: rk.dicom.read_series(files),
                SimpleITK=lambda: simpleitk(files),
                SimpleITK_sorted=lambda: simpleitk_sorted(plain),
                floor=lambda offsets=offsets: floor(files, offsets),
            ))  # fmt: skip
        elif kind == "scan":
            scanning(files, Path(folder, "many"))
        elif kind == "memory":
            memory(plain)
        else:
            packed = compressed(files, Path(folder, kind), kind)
            report(kind, medians(
                radkit=lambda packed=packed: rk.dicom.read_series(packed, progress=False),
                SimpleITK=lambda packed=packed: simpleitk(packed),
            ))  # fmt: skip
