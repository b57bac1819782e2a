"""One study of 300 x 512 x 512 through the MAP folder, with the SDK and without, against plain MONAI, in one run.

Run it by hand: ``python tests/benchmarks/bench_map.py [folder]``; the folder keeps the study for the next time. Plain
MONAI is what its own pages teach: LoadImaged on the folder of the series, the bundle's preprocessing, its inferer with
its TorchScript network, its postprocessing; in a process of its own whose start does not count. The MAP may take 1.3
times as long and 6 s more: it starts a process, chooses the series, finds the lungs, measures, writes SEG and SR.
Printed are seconds of the clock and of the processors: the second mean something on a busy machine too.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from highdicom import Volume
from pydicom import dcmread
from scipy import ndimage

import radkit as rk
from radkit.data.ct import write_ct_series

SHAPE, FACTOR, START_S = (300, 512, 512), 1.3, 6.0
PLAIN = """
import json, sys, time
from monai.bundle import ConfigParser
bundle, study, found = sys.argv[1:]
config = ConfigParser()
config.read_config(f"{bundle}/configs/inference.json")
config["bundle_root"], config["image"] = bundle, study
config["preprocessing::transforms::0::reader"] = "PydicomReader"
del config["postprocessing::transforms"][-1]  # SaveImaged
import monai.inferers, monai.transforms, numpy, torch
wall, cpu = time.perf_counter(), time.process_time()
parts = [config.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing", "network")]
before, inferer, after, network = parts
with torch.inference_mode():
    sample = before({"image": study})
    sample["pred"] = inferer(sample["image"][None], network)[0].cpu()
    mask = after(sample)["pred"]
taken = [time.perf_counter() - wall, time.process_time() - cpu]
mask = monai.transforms.Orientation("LPS", labels=None)(mask)  # the reader may count the slices the other way
numpy.save(found, mask[0].numpy().astype(bool).transpose(2, 1, 0))
print(json.dumps(taken))
"""


def thin_study(folder: Path) -> Path:
    """The story's CT, resampled to 300 slices."""
    if not folder.exists():
        volume = rk.dicom.read_series(rk.data.story().folder)
        zoom = np.array(SHAPE) / volume.spatial_shape
        fine = ndimage.zoom(volume.array.astype(np.float32), zoom, order=1, grid_mode=True, mode="nearest")
        affine = volume.affine @ np.diag([*1 / zoom, 1])
        affine[:3, 3] += volume.affine[:3, :3] @ (0.5 / zoom - 0.5)
        write_ct_series(Volume(np.rint(fine).astype(np.int16), affine, coordinate_system="PATIENT"), folder)
    return folder


def seconds(work):
    """What a piece of work gives, and its seconds: of the clock, and of the processors in the processes it started."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = work()
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, [wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime]


def line(name, taken, plain):
    allowed = [FACTOR * unit + START_S for unit in plain]
    kept = ["within" if mine <= most else "OVER" for mine, most in zip(taken, allowed, strict=True)]
    print(
        f"{name:12} {taken[0]:6.1f} s of the clock, {taken[1]:6.1f} s of processors; "
        f"{taken[0] / plain[0]:.2f} and {taken[1] / plain[1]:.2f} times plain MONAI; "
        f"{kept[0]} {allowed[0]:.1f} and {kept[1]} {allowed[1]:.1f}"
    )


with tempfile.TemporaryDirectory() as temporary:
    folder, bundle = Path(temporary), rk.model.load_bundle()
    study = thin_study(Path(sys.argv[1] if sys.argv[1:] else folder / "study"))
    packed = rk.deploy.build_map(folder / "map", bundle=bundle)
    found = folder / "plain.npy"
    call = [sys.executable, "-c", PLAIN, bundle.folder, study, found]
    plain = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'as it comes')}")
    line("plain MONAI", plain, plain)
    volume = rk.dicom.read_series(study)
    mask = rk.model.keep_inside_lungs(volume.with_array(np.load(found).astype(np.uint8)), volume).array
    for sdk in (True, False):
        output = folder / f"out-{sdk}"
        run, taken = seconds(lambda: rk.deploy.run_map(packed, study, output, sdk=sdk, progress=False))  # noqa: B023
        line("with SDK" if sdk else "without SDK", taken, plain)
        back = rk.results.read_segmentation(dcmread(output / "segmentation.dcm"), like=volume)
        others, findings = (back.array != mask).sum(), len(run.result["findings"])
        print(f"{'':12} {findings} findings; of {(mask > 0).sum()} voxels {others} differ from plain MONAI's")
