"""Train a network on studies, keep it as a bundle, and use it; with a model of our own for nodules of the lung."""

from __future__ import annotations

from radkit_phantoms.lung_mask import lungs

from .bundle import Bundle, load_bundle
from .inference import find_nodules, keep_inside_lungs, predict
from .saving import save_bundle
from .training import train

__all__ = ["Bundle", "find_nodules", "keep_inside_lungs", "load_bundle", "lungs", "predict", "save_bundle", "train"]
