"""Deploy: the MONAI Deploy application, its MAP (the folder that becomes an image), and running it."""

from __future__ import annotations

from .image import build_image
from .linting import lint_map
from .package import build_map
from .runner import Run, run_map

__all__ = ["Run", "build_image", "build_map", "lint_map", "run_map"]
