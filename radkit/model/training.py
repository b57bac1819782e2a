"""Train a network on studies: one loop, the best of what it finds kept, stopped and resumed at will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radkit._optional import optional
from radkit.errors import ModelError

from .devices import memory_watched, pick_device
from .learner import Clock, Learner
from .live import Live
from .recipes import Recipe, build, check_numbers, choose
from .samples import Samples, check, people, prepare

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from radkit.data.study import Study

WATCHED = 6  # people looked at in each validation: enough for a curve; at the end it is all of them


@dataclass(repr=False)
class Training:
    """What came of a training.

    Attributes
    ----------
    network : torch.nn.Module
        With the weights of the best validation, ready for inference, on the device of the training.
    history, best : list of dict, dict
        One row for each validation, and the best of them: ``step``, ``seconds``, ``loss`` (mean since the last),
        ``dice`` (mean of those watched). The first, at step 0, is of the network before it has learnt anything.
    dice : dict
        By the best network, at the spacing of the training: Dice of each person held out who has a lesion.
    seconds, device, finished : float, str, bool
        From the call to the end, earlier parts of a resumed training too; in words; False after an interrupt.
    facts : dict
        All of it and the recipe as JSON can hold it, for a model card.
    """

    network: Module
    recipe: Recipe
    history: list[dict[str, Any]]
    best: dict[str, Any]
    dice: dict[str, float]
    seconds: float
    device: str
    finished: bool
    facts: dict[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        """The images that the network is shown, in this order."""
        return self.recipe.channels

    def steps(self) -> tuple[Callable, Any, Callable]:
        """Preprocessing, inferer and postprocessing, as a bundle has them."""
        before, inferer, after = build(self.recipe.config, "preprocessing", "inferer", "postprocessing")
        return before, inferer, after

    def __repr__(self) -> str:
        return f"Training: {_summary(self.facts)}"


def train(
    cases: Sequence[Study],
    held_out: Sequence[Study],
    *,
    recipe: str | Recipe = "brain-lesions",
    seed: int = 0,
    budget_s: float | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    device: str | None = None,
    overlap: str = "refuse",
    progress: bool = True,
    **changes: Any,
) -> Training:
    """Train a network on ``cases``, and measure it on ``held_out``.

    What patches a step sees follows from the seed and the number of the step alone: on the processor, the same seed
    gives the same weights on the same machine with as many threads. The caller's random numbers are left as they are.
    The stop button of a notebook ends the training with the best so far.

    Parameters
    ----------
    cases, held_out : sequence of Study
        Or anything with ``images``, a dict of highdicom.Volume on one grid, and ``mask``, a Volume that is not 0 where
        there is a lesion.
    recipe : str or Recipe
        ``"brain-lesions"``, ``"chest-nodules"``, or your own. Any field of it can be given by name: ``steps=100``,
        ``augmentation=()``.
    budget_s : float, optional
        Seconds from the call to the end: the schedule of the learning rate then runs as fast as the clock does.
    folder : path, optional
        Where ``checkpoint.pt`` (after each validation, to resume from) and ``best.pt`` (weights) are kept.
    resume : bool
        Go on from the checkpoint in ``folder``, to the same weights as if nothing had happened (without a budget).
    device : str, optional
        ``"cuda"``, ``"mps"`` or ``"cpu"``; the first of them that there is.
    overlap : str
        ``"allow"`` lets the same patient be in both halves.

    Raises
    ------
    ModelError
        If no honest training can come of these studies, the recipe does not fit them, or the GPU is full.
    """
    check_numbers(seed=seed, budget_s=budget_s)
    clock = Clock(budget_s)
    chosen = choose(recipe, changes)
    check(cases, held_out, overlap)
    torch = optional("torch")
    where, said = pick_device(device)
    if progress:
        print(f"Training on {said}: {len(cases)} studies to learn from, {len(held_out)} held out.")
    alone = torch.random.fork_rng([where] if where.type == "cuda" else [])
    tried = f"a batch of {chosen.batch} patches of {' x '.join(map(str, chosen.patch))} voxels"
    remedy = f"Train with batch={max(1, chosen.batch // 2)} or a smaller patch, or close what else holds the GPU."
    with memory_watched(where, tried, remedy), alone, torch.enable_grad():  # which a bundle that was run turns off
        learner = Learner(chosen, seed, where, folder)
        live = Live(progress)
        samples = Samples(_ready(cases, "cases", chosen, live), chosen, seed, where)
        names = [getattr(study, "patient", f"held out {n}") for n, study in enumerate(held_out, 1)]
        ready = zip(names, _ready(held_out, "held_out", chosen, live), strict=True)
        unseen = [(name, image, mask) for name, (image, mask) in ready if mask.any()]
        if not unseen:
            raise ModelError(
                f"At the recipe's spacing_mm {chosen.spacing_mm} no lesion of held_out is left. Make it smaller."
            )
        learner.take_up(samples, clock, resume=resume)
        dice = _learn(learner, samples, unseen, clock, live)
        learner.network.load_state_dict(learner.weights)
    facts = _facts(learner, clock, dice, cases, held_out, said)
    if progress:
        print(_summary(facts))
    ended = {name: facts[name] for name in ("dice", "seconds", "device", "finished")}
    return Training(learner.network, chosen, learner.history, learner.best, **ended, facts=facts)


def _ready(studies: Sequence[Study], name: str, recipe: Recipe, live: Live) -> list[tuple[Tensor, Tensor]]:
    """Image and mask of each study as the network sees them, once and for the whole training."""
    transform = build(recipe.preprocessing(mask=True))
    bar = live.bar(iterable=studies, desc=f"Preparing {name}", unit="study")
    return [prepare(study, recipe, transform, f"Study {n} of {name}") for n, study in enumerate(bar, 1)]


def _learn(learner: Learner, samples: Samples, unseen: list[Any], clock: Clock, live: Live) -> dict[str, float] | None:
    """A batch, a step, a lower rate; now and then a look at people held out.

    Returns the Dice of each of them by the best network, or None after an interrupt.
    """
    live.begin(learner)
    try:
        while True:
            ended = learner.has_ended(clock)
            if ended or learner.step % learner.recipe.validate_every == 0:
                learner.validate(unseen[:WATCHED], clock)
                live.validated()
            if ended:
                break
            images, masks = samples.batch(learner.step + 1)
            learner.learn(images, masks)
            learner.anneal(clock)
            live.step()
        learner.network.load_state_dict(learner.weights)
        return {name: learner.dice(image, mask) for name, image, mask in unseen}
    except KeyboardInterrupt:
        if not learner.best:
            raise  # there is nothing yet to keep
        return None
    finally:
        live.steps.close()


def _facts(
    learner: Learner, clock: Clock, dice: dict[str, float] | None, cases: Any, held_out: Any, device: str
) -> dict[str, Any]:
    """What was really done, for whoever fills in a model card."""
    return {
        "recipe": asdict(learner.recipe),
        "seed": learner.seed,
        "cohort": {key: value for key in ("name", "seed", "knobs") if (value := getattr(cases, key, None)) is not None},
        "anatomies": sorted({study.anatomy for study in cases if hasattr(study, "anatomy")}),
        "studies": len(cases),
        "people": len(people(cases)),
        "held_out_studies": len(held_out),
        "held_out_people": len(people(held_out)),
        "weights": sum(each.numel() for each in learner.network.parameters()),
        "steps": learner.step,
        "best_step": learner.best["step"],
        "dice": dice or {},
        "mean_dice": float(np.mean([*dice.values()])) if dice else None,
        "seconds": round(clock.seconds, 1),
        "budget_s": clock.budget,
        "device": device,
        "finished": dice is not None,
        "folder": str(learner.folder) if learner.folder else None,
        "versions": {name: optional(name).__version__ for name in ("torch", "monai", "numpy")},
    }


def _summary(facts: dict[str, Any]) -> str:
    """How it ended, in a sentence or two."""
    steps, planned = facts["steps"], facts["recipe"]["steps"]
    if not facts["finished"]:
        resume = "Call again with resume=True to go on", "With folder= it could have been resumed"
        kept = f"the best network so far, of step {facts['best_step']}, is kept"
        return f"Stopped at step {steps} of {planned}; {kept}. {resume[not facts['folder']]}."
    why = ""
    if steps < planned:
        out_of_time = facts["budget_s"] and facts["seconds"] > 0.8 * facts["budget_s"]
        reason = f"the budget of {facts['budget_s']:g} s" if out_of_time else "the Dice no longer rose"
        why = f" ({steps} of {planned} steps: {reason})"
    return (
        f"Mean Dice {facts['mean_dice']:.3f} of {len(facts['dice'])} studies held out, by the network of step "
        f"{facts['best_step']}, after {facts['seconds']:.1f} s{why}."
    )
