"""What write_segmentation adds to highdicom's own call: the same mask, images and options, in turns, in one process.

    python tests/benchmarks/bench_results.py [repeats]

A mask of 300×512×512 with one lesion, with five, and with two whole lungs; empty frames are left out. The ratio of the
best times must not exceed 1.10.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

import radkit as rk
from radkit.data.ct import write_ct_series

SHAPE = (300, 512, 512)


def ball(array: np.ndarray, centre: tuple[int, int, int], radii: tuple[int, int, int], value: int) -> None:
    box = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, radii, strict=True))
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
    array[box][(z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 <= 1] = value


def masks() -> dict[str, np.ndarray]:
    made = {name: np.zeros(SHAPE, np.uint8) for name in ("one lesion", "five lesions", "two lungs")}
    ball(made["one lesion"], (100, 200, 150), (10, 20, 20), 1)
    for number in range(1, 6):
        ball(made["five lesions"], (50 * number, 200, 60 * number), (10, 20, 20), number)
    for number in (1, 2):
        ball(made["two lungs"], (150, 256, 170 * number), (140, 120, 80), number)
    return made


def plain(mask: hd.Volume, images: list[Dataset], form: str) -> hd.seg.Segmentation:
    """highdicom's own call, with the options that write_segmentation gives it."""
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Nodule candidate {number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type="AUTOMATIC",
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                "x", codes.DCM.ArtificialIntelligence, "1", "x"
            ),
            tracking_uid=generate_uid(),
            tracking_id=f"Nodule candidate {number}",
            anatomic_regions=[codes.SCT.Lung],
        )
        for number in range(1, int(mask.array.max()) + 1)
    ]
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=mask,
        segmentation_type=form.upper(),
        segment_descriptions=segments,
        transfer_syntax_uid=RLELossless if form == "labelmap" else ExplicitVRLittleEndian,
        series_instance_uid=generate_uid(),
        series_number=900,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="none",
    )


def best(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The best time of each, in turns: what else the machine does meets both alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in times.items()}


def main(repeats: int = 5) -> int:
    affine = np.array([[0, 0, 0.7, -180], [0, 0.7, 0, -180], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    with tempfile.TemporaryDirectory() as folder:
        write_ct_series(hd.Volume(np.zeros(SHAPE, np.int16), affine, coordinate_system="PATIENT"), folder)
        images = rk.dicom.read_headers(folder)
        volume = rk.dicom.read_series(folder, progress=False)
    worst = 0.0
    for form in ("binary", "labelmap"):
        for name, array in masks().items():
            mask = volume.with_array(array)
            took = best(
                {
                    "highdicom": lambda mask=mask, form=form: plain(mask, images, form),
                    "radkit": lambda mask=mask, form=form: rk.results.write_segmentation(mask, images, form=form),
                },
                repeats,
            )
            ratio = took["radkit"] / took["highdicom"]
            worst = max(worst, ratio)
            print(f"{form:9} {name:13} highdicom {took['highdicom']:.3f} s  radkit {took['radkit']:.3f} s  {ratio:.2f}")
    return worst > 1.10


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
