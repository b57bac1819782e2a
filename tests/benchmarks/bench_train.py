"""Seconds to a Dice: `rk.model.train` against the plainest loop of MONAI's tutorials, with the same network and people.

    python tests/benchmarks/bench_train.py                              # until each has a Dice of 0.85; their ratio
    python tests/benchmarks/bench_train.py --recipe chest-nodules --target 0.8
    python tests/benchmarks/bench_train.py --seconds 30 --seconds 90    # the Dice after so many seconds, three seeds
    python tests/benchmarks/bench_train.py --recipe chest-nodules --seconds 90 --unseen chest-ct-lung1
    python tests/benchmarks/bench_train.py --device cuda --longer       # the longer recipe, for a graphics card

The plain loop is that of the tutorials (spleen_segmentation_3d): files, a Dataset whose transforms are done anew for
each study and epoch, a DataLoader, patches by RandCropByPosNegLabeld, Adam, a validation after each epoch. Both
measure the same people; seconds are of the clock, with what each prepares, without imports and the growing of people.
Brains are all grown from one atlas; of chests, those grown from one CT are held out (``--unseen``), and beside their
inserted nodules stands the real one of that CT, which nobody inserted: by hand (``tools/measure_reference.py``) in
``chest-ct``, outlined by those who published it in the others.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.transforms import Compose, LoadImaged, RandCropByPosNegLabeld, RandFlipd, SqueezeDimd

import radkit as rk
from radkit.data.volumes import write_nifti
from radkit.model.devices import pick_device
from radkit.model.recipes import RECIPES, build
from radkit.model.samples import prepare
from radkit.model.training import WATCHED

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from measure_reference import reference


def people(name, n, seed, unseen):
    """Two halves that share no person and no chest."""
    cohort = rk.data.cohort(name, n, seed)
    if name == "chest-nodules":
        return [[study for study in cohort if (study.anatomy == unseen) is held] for held in (False, True)]
    return list(cohort)[: -(n // 4)], list(cohort)[-(n // 4) :]


def write(study, channels, folder):
    """One study as NIfTI, as the tutorials have theirs."""
    files = {"image": [str(folder / f"{study.patient}-{name}.nii.gz") for name in channels]}
    files["mask"] = str(folder / f"{study.patient}-mask.nii.gz")
    volumes = [*(study.images[name] for name in channels), study.mask]
    for volume, path in zip(volumes, [*files["image"], files["mask"]], strict=True):
        write_nifti(Path(path), volume)
    return files


def plain(cases, held_out, recipe, target, limit, seed):
    """The tutorials' loop; returns seconds until the target, or None, and the best Dice."""
    torch.manual_seed(seed)
    device = torch.device(DEVICE)
    crop = {"spatial_size": recipe.patch, "pos": 1, "neg": 1, "num_samples": 4, "allow_smaller": False}
    transforms = [
        LoadImaged(keys=["image", "mask"]),
        *build(recipe.preprocessing(mask=True)).transforms,
        RandCropByPosNegLabeld(keys=["image", "mask"], label_key="mask", **crop),
        RandFlipd(keys=["image", "mask"], prob=0.5, spatial_axis=0),
    ]
    if recipe.dimensions == 2:
        transforms.append(SqueezeDimd(keys=["image", "mask"], dim=-1))
    with tempfile.TemporaryDirectory() as folder:
        files = [write(study, recipe.channels, Path(folder)) for study in cases]
        watched = [study for study in held_out if study.mask.array.any()][:WATCHED]
        unseen = [prepare(study, recipe, build(recipe.preprocessing(mask=True))) for study in watched]
        begin, best = time.perf_counter(), 0.0
        workers = 0 if DEVICE == "cpu" else 8
        loader = DataLoader(Dataset(files, Compose(transforms)), batch_size=2, shuffle=True, num_workers=workers)
        network, inferer = build(recipe.config, "network_def", "inferer")
        network.to(device)
        optimizer, loss = torch.optim.Adam(network.parameters(), 1e-3), DiceCELoss(sigmoid=True)
        while time.perf_counter() - begin < limit and best < target:
            network.train()
            for batch in loader:
                optimizer.zero_grad()
                loss(network(batch["image"].to(device)), (batch["mask"].to(device) > 0).float()).backward()
                optimizer.step()
            network.eval()
            scores = []
            with torch.inference_mode():
                for image, mask in unseen:
                    found = inferer(image[None].float().to(device), network)[0].cpu() > 0
                    scores.append(float(2 * (found & mask).sum() / (found.sum() + mask.sum())))
            best = max(best, float(np.mean(scores)))
            print(f"  plain: {time.perf_counter() - begin:6.1f} s, Dice {np.mean(scores):.3f}", flush=True)
    return (time.perf_counter() - begin if best >= target else None), best


def compare(name, halves, options):
    """Both, until the target; ours with a schedule of half the length, as it need not be the best that can be had."""
    steps = options.steps or RECIPES[name].steps // 2
    short = {"steps": steps, "validate_every": 25, "patience": steps, "seed": options.seed}
    ours = rk.model.train(*halves, recipe=name, device=DEVICE, **short)
    reached = next((row["seconds"] for row in ours.history if row["dice"] >= options.target), None)
    theirs, best = plain(*halves, RECIPES[name], options.target, options.limit, options.seed)
    print(f"\n{name} on {ours.device}, to a Dice of {options.target:g} of {WATCHED} people held out")
    print(f"  rk.model.train  {f'{reached:.1f} s' if reached else 'not reached'} (best {ours.best['dice']:.3f})")
    print(f"  plain loop      {f'{theirs:.1f} s' if theirs else f'not in {options.limit:.0f} s'} (best {best:.3f})")
    if reached:
        print(f"  ratio           {'' if theirs else 'over '}{(theirs or options.limit) / reached:.1f}")


def after(name, halves, options):
    """The Dice of all people held out after so many seconds, by three seeds; or by the recipe as it is."""
    recipe = RECIPES[name].longer() if options.longer else RECIPES[name]
    for budget in options.seconds or [None]:
        for seed in range(3):
            begin = time.process_time()
            result = rk.model.train(*halves, recipe=recipe, device=DEVICE, budget_s=budget, seed=seed, progress=False)
            cpu, scores = time.process_time() - begin, [*result.dice.values()]
            print(
                f"{name}{' longer' * options.longer} seed {seed} on {result.device}: {result.seconds:.1f} s "
                f"({cpu:.0f} s of processor), {result.facts['steps']} steps, "
                f"Dice {np.mean(scores):.3f} (n = {len(scores)}, worst {min(scores):.2f})",
                flush=True,
            )
            if name == "chest-nodules":
                print(real_nodule(options.unseen, result), flush=True)


def real_nodule(unseen, training):
    """What the network makes of the real nodule of the CT that it was not taught on."""
    volume = rk.data.read(unseen)
    truth = reference(volume) if unseen == "chest-ct" else rk.data.read_labels(unseen)
    parts = rk.model.keep_inside_lungs(rk.model.predict(volume, training, progress=False), volume)
    met = np.unique(parts.array[truth.array > 0])
    found, there = np.isin(parts.array, met[met > 0]), truth.array > 0
    ml = float(np.prod(volume.spacing)) / 1000
    return (
        f"  the real one of {unseen}, {there.sum() * ml:.1f} ml: {found.sum() * ml:.1f} ml found, "
        f"Dice {2 * (found & there).sum() / (found.sum() + there.sum()):.2f}; "
        f"{parts.array.max() - np.count_nonzero(met)} other components inside the lungs"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="brain-lesions", choices=list(RECIPES))
    parser.add_argument("--device", default=pick_device()[0].type)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of ours, until the target; half of the recipe's")
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which the plain loop is given up")
    parser.add_argument("--seconds", type=float, action="append", help="a budget; may be given again")
    parser.add_argument("--unseen", default="chest-ct", help="the CT whose chests are held out")
    parser.add_argument("--longer", action="store_true")
    options = parser.parse_args()
    DEVICE = options.device
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    halves = people(options.recipe, options.people, options.seed, options.unseen)
    (after if options.seconds or options.longer else compare)(options.recipe, halves, options)
