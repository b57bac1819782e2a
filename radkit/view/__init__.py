"""Looking at images: a viewer for notebooks with a still picture behind it, and a stopwatch for the steps of a journey.

``show`` is the interactive viewer; what it draws, ``still`` draws too, for paper, export and papermill. ``render``
shows a volume in space.
"""

from __future__ import annotations

from .picture import Still, still
from .rendering import render
from .stopwatch import Stopwatch
from .viewer import show

__all__ = ["Still", "Stopwatch", "render", "show", "still"]
