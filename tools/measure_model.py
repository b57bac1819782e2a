"""Measure the lung nodule bundle on the patient whom it never saw: what its model card says under Metrics."""

from __future__ import annotations

import time

import numpy as np
from measure_reference import reference
from scipy import ndimage

from radkit.data import fetch, read, read_labels
from radkit.data.volumes import read_names
from radkit.model import keep_inside_lungs, load_bundle, predict


def main() -> None:
    source = fetch("chest-ct", stand_in=False)
    volume, labels, names = read(source), read_labels(source).array, read_names(source)
    millilitres = float(np.prod(volume.spacing)) / 1000
    start = time.perf_counter()
    marked = predict(volume, load_bundle())
    found = keep_inside_lungs(marked, volume).array
    print(f"{time.perf_counter() - start:.1f} s for {volume.spatial_shape}")
    truth, best = reference(volume).array > 0, found == 1
    dice = 2 * (best & truth).sum() / (best.sum() + truth.sum())
    sizes = [mask.sum() * millilitres for mask in (truth, best)]
    print("reference {:.2f} ml, largest finding {:.2f} ml, Dice {:.2f}".format(*sizes, dice))
    left_out = ndimage.label((marked.array > 0) & (found == 0), np.ones((3, 3, 3)))[1]
    print(f"left out, as outside the lungs or under 65 mm³: {left_out} places")
    print("\n| finding | volume, ml | centre: slice, row, column | lies in | is |\n|---|---|---|---|---|")
    for number, box in enumerate(ndimage.find_objects(found), start=1):
        part = found[box] == number
        centre = [s.start + c for s, c in zip(box, ndimage.center_of_mass(part), strict=True)]
        inside = np.bincount(labels[box][part].ravel())
        place = names.get(int(inside.argmax()), "unlabelled") if inside[1:].any() else "unlabelled"
        kind = "the nodule" if truth[found == number].any() else "false positive"
        where = ", ".join(f"{c:.0f}" for c in centre)
        print(f"| {number} | {part.sum() * millilitres:.2f} | {where} | {place} | {kind} |")


if __name__ == "__main__":
    main()
