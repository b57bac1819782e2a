"""Exercises: ``check("spacing", 2.0)`` says at once that an answer is right, or names the mistake in clinical words."""

from __future__ import annotations

from .questions import Mask, Number, Pick, Point, Window, Words
from .session import Exercise

__all__ = ["Exercise", "Mask", "Number", "Pick", "Point", "Window", "Words"]
