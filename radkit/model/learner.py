"""The network and what teaches it: one step, one validation, and all of it written down to be taken up again."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radkit._folders import whole_file
from radkit._optional import optional
from radkit.errors import ModelError

from .devices import mixed_precision
from .recipes import Recipe, build
from .samples import Samples

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("network", "optimizer", "schedule", "scaler")  # what a checkpoint holds the state of
FACTS = ("step", "history", "best", "weights", "identity")  # and what it holds as it is


class Clock:
    """Seconds since the training was called, and how much of its budget that is."""

    def __init__(self, budget: float | None = None):
        self.start, self.budget = time.perf_counter(), budget
        self.prepared = 0.0  # seconds before the first step

    @property
    def seconds(self) -> float:
        """Since the call, and before an interrupt."""
        return time.perf_counter() - self.start

    @property
    def share(self) -> float:
        """Of the time there is for steps, how much has passed: 0 to 1 and over; always 0 without a budget."""
        if self.budget is None:
            return 0.0
        return (self.seconds - self.prepared) / max(self.budget - self.prepared, 1e-9)


class Learner:
    """A network, its optimizer and schedule, the best weights so far, and the number of the last step."""

    def __init__(self, recipe: Recipe, seed: int, device: Any, folder: str | Path | None):
        torch = optional("torch")
        torch.manual_seed(seed)  # before the network is built: its first weights are drawn here
        self.recipe, self.seed, self.device = recipe, seed, device
        self.folder = Path(folder) if folder else None
        self.network, self.inferer = build(recipe.config, "network_def", "inferer")
        torch.nn.init.constant_(list(self.network.parameters())[-1], -4.0)  # lesions are rare: begin by expecting none
        for whole in (recipe.patch, recipe.window or recipe.patch):
            self._try(whole[: recipe.dimensions])
        if device.type == "cuda":  # channels last: the layout that its tensor cores read
            self.network.to(memory_format=torch.channels_last if recipe.dimensions == 2 else torch.channels_last_3d)
        self.network.to(device)
        self.criterion = build(recipe.loss)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, recipe.learning_rate, recipe.steps + 1)
        self.autocast, self.scaler = mixed_precision(device)
        self.step, self.identity, self.losses = 0, "", []  # type: int, str, list[Tensor]
        self.history, self.best, self.weights = [], {}, {}  # type: list[dict[str, Any]], dict[str, Any], dict[str, Tensor]
        self.picture: list[NDArray] = []

    def _try(self, size: tuple[int, ...]) -> None:
        """Show the network a patch of nothing: a recipe that does not fit together is found out before the work."""
        torch = optional("torch")
        try:
            with torch.inference_mode():
                gave: Any = tuple(self.network.eval()(torch.zeros(1, len(self.recipe.channels), *size)).shape[1:])
        except Exception as error:  # networks raise what they like
            gave = str(error)[:200]
        if gave != (1, *size):
            raise ModelError(
                f"Expected of the network one number for each voxel of a patch, {(1, *size)}; it gave {gave}. Choose "
                "a patch that its strides divide, multiples of 8 for three strides of 2, and out_channels 1."
            )

    def learn(self, images: Tensor, masks: Tensor) -> None:
        """One step: what the network says, how wrong that is, and each weight a little less so."""
        self.network.train()
        with self.autocast:
            logits = self.network(images)
        loss = self.criterion(logits.float(), masks)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.losses.append(loss.detach())

    def anneal(self, clock: Clock) -> None:
        """Move the learning rate on by a step; under a budget as far as the clock is, so that it always ends low."""
        while self.schedule.last_epoch < min(max(self.step, clock.share * self.recipe.steps), self.recipe.steps):
            self.schedule.step()

    def has_ended(self, clock: Clock) -> bool:
        """Whether all steps are done, the time is over, or too many validations have passed since the best one."""
        waited = self.step - self.best["step"] if self.best else 0
        patience = self.recipe.patience * self.recipe.validate_every
        return self.step >= self.recipe.steps or clock.share >= 1 or waited >= patience

    def validate(self, unseen: Sequence[tuple[str, Tensor, Tensor]], clock: Clock) -> None:
        """Measure some of the people held out, keep the weights if they are the best so far, write a checkpoint."""
        if self.history and self.history[-1]["step"] == self.step:
            return  # looked at already, before an interrupt
        dice = float(np.mean([self.dice(image, mask) for _, image, mask in unseen]))
        loss = float(sum(self.losses) / len(self.losses)) if self.losses else None
        self.losses = []
        row = {"step": self.step, "seconds": round(clock.seconds, 2), "loss": loss, "dice": dice}
        self.history = [*self.history, row]
        if dice > self.best.get("dice", -1):
            self.weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self.best = row
            self._write("best.pt", self.weights)
        self._write("checkpoint.pt", self._state(clock))

    def dice(self, image: Tensor, mask: Tensor) -> float:
        """Dice of one person; the slice with the largest lesion of all is kept to be looked at."""
        torch = optional("torch")
        image, mask = image.to(self.device), mask.to(self.device)
        self.network.eval()
        with torch.inference_mode(), self.autocast:
            found = self.inferer(image[None].float(), self.network)[0] > 0
        z = int(mask.sum((0, 1, 2)).argmax())
        if not self.picture or mask[0, :, :, z].sum() >= self.picture[1].sum():
            self.picture = [each[0, :, :, z].float().cpu().numpy() for each in (image[-1:], mask, found)]
        return float(2 * (found & mask).sum() / (found.sum() + mask.sum()))

    def _state(self, clock: Clock) -> dict[str, Any]:
        """All that the next step depends on; its dice need nothing, as each step throws them anew from its number."""
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        facts = {name: getattr(self, name) for name in FACTS}
        return {**facts, "seconds": clock.seconds, "parts": parts}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """Write a file that is there whole or not at all, whenever the power fails."""
        if not self.folder:
            return
        try:
            with whole_file(self.folder / name) as draft:
                optional("torch").save(content, draft)
        except (OSError, RuntimeError) as error:  # of torch's own writer the latter
            why = getattr(error, "strerror", None) or str(error)[:100]
            raise ModelError(f"{self.folder / name} cannot be written: {why}. Name another folder.") from error

    def take_up(self, samples: Samples, clock: Clock, *, resume: bool) -> None:
        """Begin, or go on from the checkpoint if there is one and it is of this very training."""
        self.identity = json.dumps([asdict(self.recipe), self.seed, samples.sums])
        if resume and self.folder is None:
            raise ModelError("Expected the folder of the training to resume, got none: name it with folder=.")
        if resume and self.folder and (path := self.folder / "checkpoint.pt").exists():
            self._load(path, clock)
        clock.prepared = clock.seconds
        if clock.share >= 1:
            raise ModelError(
                f"The budget of {clock.budget:g} s was spent before the first step, on {clock.prepared:.1f} s of "
                "preparation. Give more seconds, or fewer studies."
            )

    def _load(self, path: Path, clock: Clock) -> None:
        try:
            saved = optional("torch").load(path, map_location=self.device, weights_only=True)
            same = saved["identity"] == self.identity
            if same:
                self._restore(saved)
                clock.start -= saved["seconds"]
        except Exception as error:  # torch raises what it likes on a broken file
            raise ModelError(f"{path} is no checkpoint of radkit, or damaged. Remove it to begin anew.") from error
        if not same:
            raise ModelError(
                f"{path} is of a training with another recipe, seed or studies, so this one cannot go on from it. "
                "Call with what it was begun with, or name another folder."
            )

    def _restore(self, saved: dict[str, Any]) -> None:
        """Take over what `_state` has written down."""
        self.network.load_state_dict(saved["weights"])  # only to see that they fit
        for name in PARTS:
            getattr(self, name).load_state_dict(saved["parts"][name])
        for name in FACTS:
            setattr(self, name, saved[name])
        _ = self.best["step"]
