"""The recipe of the lung nodule network: ``python tools/train_nodules.py --out data/bundles/lung_nodule``.

What it does is written in the bundle's ``configs/train.json``: the sources, the cohort, the network, the loss, the
optimizer, the steps and the seed. It makes the cohort, trains on it, and writes ``models/model.pt`` and ``model.ts``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from nodule_cohort import Case, make_cohort
from numpy.typing import NDArray
from tqdm import tqdm

from radkit._optional import optional
from radkit.data import fetch, read, read_labels
from radkit.errors import ModelError
from radkit.model.bundle import in_memory, open_config
from radkit.model.saving import write_weights

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

TURNS = list(product(permutations((0, 1, 2)), product((False, True), repeat=3)))  # all 48 of a cube: no axis is special
STORY = "chest-ct"  # the patient of the course: what a model is judged by must not have taught it


def train(folder: str | Path, *, cases: Sequence[Case] | None = None, steps: int | None = None) -> Module:
    """Train the network of a bundle as its ``configs/train.json`` says, write its weights, and return it.

    ``cases`` replaces the CTs that the configuration names, ``steps`` its number of steps, to try something out. A
    ModelError says that the configuration names the patient whom the course follows as a source.
    """
    torch, config = optional("torch"), open_config(folder, "train")
    if STORY in config["sources"]:
        raise ModelError(f"{STORY} is the patient that the model is judged by: take it out of sources in train.json.")
    if steps is not None:
        config["steps"] = steps
    seed = config["seed"]
    torch.manual_seed(seed)  # before the network is built: its first weights are drawn here
    preprocessing = in_memory(open_config(folder, "inference")).get_parsed_content("preprocessing")
    chosen = [_case(name) for name in config["sources"]] if cases is None else cases
    images, truths = make_cohort(chosen, preprocessing, seed=seed, **config["cohort"])
    network = _learn(config, images, truths, random.Random(seed))
    write_weights(network, Path(folder) / "models")
    return network


def _case(name: str) -> Case:
    """A chest CT of the catalog with its lesion, where its labels are of one; labels of anatomy are not used."""
    source = fetch(name)
    image = read(source)
    labels = read_labels(source) if name.startswith("chest-ct-lung") else None
    return Case(image, labels)


def _learn(config: Any, images: NDArray, truths: NDArray, rng: random.Random) -> Module:
    """The training loop: a batch drawn at random, turned at random, one step of the optimizer."""
    torch = optional("torch")
    network, loss, optimizer, scheduler = (
        config.get_parsed_content(name) for name in ("network_def", "loss", "optimizer", "scheduler")
    )
    torch.nn.init.constant_(list(network.parameters())[-1], -4.0)  # nodules are rare: begin by expecting none
    network.train()
    with tqdm(range(config["steps"]), desc="Training", unit="step") as bar:
        for _ in bar:
            image, truth = _batch(images, truths, config["batch"], rng)
            optimizer.zero_grad()
            error = loss(network(image), truth)
            error.backward()
            optimizer.step()
            scheduler.step()
            bar.set_postfix(loss=f"{error.item():.3f}")
    return network.eval()


def _batch(images: NDArray, truths: NDArray, size: int, rng: random.Random) -> tuple[Tensor, Tensor]:
    """``size`` patches, each turned one of 48 ways, its scale, brightness and noise a little changed."""
    torch = optional("torch")
    chosen = rng.sample(range(len(images)), size)
    turns = [rng.choice(TURNS) for _ in chosen]
    pairs = [(_turn(images[i], t), _turn(truths[i], t)) for i, t in zip(chosen, turns, strict=True)]
    image, truth = (torch.from_numpy(np.stack(each).astype(np.float32))[:, None] for each in zip(*pairs, strict=True))
    scale, shift = torch.randn(2, size, 1, 1, 1, 1) * 0.05
    return image * (1 + scale) + shift + torch.randn_like(image) * torch.rand(size, 1, 1, 1, 1) * 0.04, truth


def _turn(cube: NDArray, turn: tuple[tuple[int, ...], tuple[bool, ...]]) -> NDArray:
    """A cube with its axes permuted and some of them mirrored."""
    return cube.transpose(turn[0])[tuple(slice(None, None, -1 if mirror else 1) for mirror in turn[1])]


@click.command(help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The bundle's folder.")
@click.option(
    "--threads", default=1, show_default=True, help="More are faster where nothing else runs; the weights differ."
)
def main(out: Path, threads: int) -> None:
    """Run the recipe."""
    optional("torch").set_num_threads(threads)
    train(out)
    click.echo(f"Wrote {out / 'models'}. Now measure it: python tools/measure_model.py")


if __name__ == "__main__":
    main()
