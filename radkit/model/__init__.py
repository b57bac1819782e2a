"""A small model of our own: where the lungs are, which nodules lie in them, and the recipe that trained it."""

from __future__ import annotations

from radkit_phantoms.lung_mask import lungs

from .bundle import Bundle, load_bundle
from .inference import find_nodules, keep_inside_lungs, predict
from .saving import save_bundle
from .training import train

__all__ = ["Bundle", "find_nodules", "keep_inside_lungs", "load_bundle", "lungs", "predict", "save_bundle", "train"]
