"""What the recipe of the lung nodule bundle is worth on a CT it was not taught on: the table of the model card.

Trains on the other sources of ``train.json``, puts nodules into the one held out, and counts what is found.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import click
import numpy as np
from train_nodules import train

from radkit._optional import optional
from radkit.data import read
from radkit.model import Bundle, keep_inside_lungs, load_bundle, lungs, predict
from radkit_phantoms.nodules import insert_nodules, place_nodules

SEEDS, NODULES = (100, 101), 14


@click.command(help=__doc__)
@click.option("--held-out", default="chest-ct-aorta", show_default=True, help="A source without a lesion of its own.")
@click.option("--steps", type=int, help="Fewer, to try it out.")
def main(held_out: str, steps: int | None) -> None:
    optional("torch").set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(load_bundle().folder, Path(place) / "bundle"))
        config = folder / "configs" / "train.json"
        recipe = json.loads(config.read_text())
        recipe["sources"].remove(held_out)
        config.write_text(json.dumps(recipe))
        train(folder, steps=steps)
        rows, false = _count(held_out, load_bundle(folder))
    print("| diameter, mm | found volume / true | Dice |\n|---|---|---|")
    for diameter, ratio, dice in sorted(rows):
        print(f"| {diameter:.1f} | {ratio:.2f} | {dice:.2f} |")
    print(f"found {sum(dice > 0 for *_, dice in rows)} of {len(rows)}; false positives in the lungs: {false}")


def _count(held_out: str, bundle: Bundle) -> tuple[list[tuple[float, float, float]], int]:
    """Diameter, volume ratio and Dice of each nodule, and the number of findings that touch none."""
    volume = read(held_out)
    inside, rows, false = lungs(volume), [], 0
    for seed in SEEDS:
        placed = place_nodules(volume, inside, NODULES, seed=seed)
        image, truth = insert_nodules(volume, placed, within=inside)
        found = keep_inside_lungs(predict(image, bundle), image, inside=inside).array
        false += found.max() - len(set(np.unique(found[truth.array > 0])) - {0})
        for number, nodule in enumerate(placed, start=1):
            one = truth.array == number
            hit = np.isin(found, [n for n in np.unique(found[one]) if n])
            dice = 2 * (hit & one).sum() / (hit.sum() + one.sum())
            rows.append((nodule.diameter_mm, hit.sum() / one.sum(), dice))
    return rows, int(false)


if __name__ == "__main__":
    main()
