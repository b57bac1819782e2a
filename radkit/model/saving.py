"""Write a training as a MONAI bundle: configurations, weights, and a card of what was really done."""

from __future__ import annotations

import json
from copy import deepcopy
from importlib.metadata import version as installed
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter
from zipfile import ZipFile

import yaml

from radkit._folders import whole_folder
from radkit._optional import optional
from radkit.errors import ModelError

from .bundle import Bundle, load_bundle

if TYPE_CHECKING:
    from torch.nn import Module

    from .training import Training

MODALITIES = {"ct": "CT", **dict.fromkeys(("t1", "t1c", "t2", "flair", "pd", "dwi", "adc"), "MR")}
ANSWERS = ("intended_use", "authors", "false_positives", "failures")
DOCUMENTS = ("data_sheet", "evaluation")


def save_bundle(
    training: Training,
    folder: str | Path,
    *,
    name: str,
    version: str = "0.1.0",
    license: str | None = None,
    overwrite: bool = False,
    **answers: str,
) -> Bundle:
    """Write what came of a training as a MONAI bundle, and open it.

    ``python -m monai.bundle run`` runs it without radkit. It names no patient and no folder of this machine.

    Parameters
    ----------
    training : Training
        What `train` returned.
    folder : path
        Where it goes; it appears complete or not at all.
    name, version : str
        What people call the model, and which one of them it is.
    license : str, optional
        The text of ``LICENSE``; without it nobody may use the bundle.
    overwrite : bool
        Replace a bundle that is there already; anything else is never replaced.
    **answers : str
        For the model card: ``intended_use``, ``authors``, ``false_positives``, ``failures``; and Markdown to lie beside
        it: ``data_sheet`` (``cohort.sheet``), ``evaluation``. What is left out stands there as not answered.

    Raises
    ------
    ModelError
        If the folder is taken, the network holds NaN, or a step of the recipe is none that a bundle may have.
    """
    if not hasattr(training, "facts") or not isinstance(folder, (str, Path)):
        raise ModelError(
            "Expected a Training, which rk.model.train returns, and a folder; "
            f"got a {type(training).__name__} and a {type(folder).__name__}."
        )
    words = {"name": name, "version": version, "license": license, **answers}
    wrong = [key for key, said in words.items() if not isinstance(said, str | None) or (key == "name" and not said)]
    if wrong:
        raise ModelError(f"Expected text for {', '.join(wrong)}, got {words[wrong[0]]!r}.")
    folder = Path(folder).absolute()  # now: if it is the working folder, it will be another one
    if unknown := set(answers) - {*ANSWERS, *DOCUMENTS}:
        raise ModelError(f"A card has no {', '.join(sorted(unknown))}. It has {', '.join((*ANSWERS, *DOCUMENTS))}.")
    template = yaml.safe_load(Path(__file__).with_name("saved_bundle.yaml").read_text(encoding="utf-8"))
    known = _known(training, answers) | {"name": name, "version": version}
    files = {f"docs/{part}.md": answers[part] for part in DOCUMENTS if answers.get(part)}
    files |= {"LICENSE": license or template["license"], "docs/README.md": _fill(template["card"], known)}
    facts = {**training.facts, "dice": known["dice"], "folder": None}  # without names of people and of a folder
    inference = template["inference"] | training.recipe.config  # around its steps, what reads and writes files
    inference["preprocessing"]["transforms"].insert(0, template["load"])
    inference["postprocessing"]["transforms"].append(template["save"])
    configs = {"metadata": _fill(template["metadata"], known), "inference": inference, "train": facts}
    for title, content in configs.items():
        files[f"configs/{title}.json"] = json.dumps(content, indent=4, allow_nan=False)
    with whole_folder(folder, "bundle", "configs/metadata.json", overwrite=overwrite, error=ModelError) as new:
        for part, text in files.items():
            (new / part).parent.mkdir(parents=True, exist_ok=True)
            (new / part).write_text(text, encoding="utf-8", errors="replace")
        write_weights(training.network, new / "models")
        load_bundle(new).network()  # what cannot be opened again is not left behind
    return load_bundle(folder)


def write_weights(network: Module, folder: Path) -> None:
    """The weights twice: for the code that knows the network, and as TorchScript for the one that does not."""
    torch, network = optional("torch"), deepcopy(network).cpu().eval()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    with catch_warnings():
        simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), script := BytesIO())
    # Without the notes for a debugger, which hold the paths of the machine it was made on.
    with ZipFile(script) as whole, ZipFile(folder / "model.ts", "w") as kept:
        for part in whole.infolist():
            if not part.filename.endswith(".debug_pkl"):
                kept.writestr(part, whole.read(part))


def _known(training: Training, answers: dict[str, str]) -> dict[str, Any]:
    """What the blanks of the card and of the metadata are filled with."""
    facts, recipe, channels = training.facts, training.recipe, training.recipe.channels
    dice, files = sorted(facts["dice"].values()), [f"{channel}.nii.gz" for channel in channels]
    axes, strides = range(recipe.dimensions), recipe.network.get("strides", ())
    halved = [prod(n if isinstance(n, int) else n[axis] for n in strides) for axis in axes]
    said = {
        **{key: answers.get(key) for key in ANSWERS},
        **{key: answers.get(key) and f"[{key}.md]({key}.md)" for key in DOCUMENTS},
        "cohort": ", ".join(f"{key} {value}" for key, value in facts["cohort"].items()),
        "anatomies": ", ".join(facts.get("anatomies", ())),
        "modality": MODALITIES.get(channels[0]),
        "metrics": dice and f"mean {facts['mean_dice']:.2f}, {dice[0]:.2f} to {dice[-1]:.2f}, n = {len(dice)}",
    }
    return {
        **{key: value or "not answered" for key, value in said.items()},
        **{"training": training, "recipe": recipe, "facts": facts, "dice": dice},
        "versions": facts["versions"] | {name: installed(name) for name in ("nibabel", "pydicom", "radkit")},
        "channels": ", ".join(channels),
        "example": files if len(files) > 1 else files[0],
        "figures": {"mean_dice": facts["mean_dice"], "held_out_with_a_lesion": len(dice)} if dice else {},
        "format": "hounsfield" if channels == ("ct",) else "magnitude",
        "inputs": len(channels),
        "channel_def": {str(number): channel for number, channel in enumerate(channels)},
        "shape": [f"{n}*n" for n in halved],
    }


def _fill(blank: Any, known: dict[str, Any]) -> Any:
    """A template with its blanks filled; a text that is nothing but a blank becomes the value itself."""
    if isinstance(blank, dict):
        return {key: _fill(value, known) for key, value in blank.items()}
    if isinstance(blank, str):
        return known[blank[1:-1]] if blank[1:-1] in known else blank.format_map(known)
    return blank
