"""The kinds of questions: each reads an answer, compares it, and knows the mistakes that are usual with its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import CheckError


@dataclass(frozen=True)
class Question:
    """One question of an exercise.

    Parameters
    ----------
    name, answer
        What the learner calls it, ``check("spacing", ...)``, and the right answer.
    wrong
        Plausible wrong answers, each with the hint that says what is clinically wrong: ``{3.0: "That is the slice
        thickness ..."}``, or a list of pairs where an answer (an array) cannot be a key.
    hint, way
        What to look at, where nothing else is known of the mistake; and the second hint, which shows the way.
    right
        What to take home, said when the answer is right.
    """

    name: str
    answer: Any
    _: KW_ONLY
    wrong: Mapping[Any, str] | Iterable[tuple[Any, str]] = ()
    hint: str
    way: str
    right: str = ""
    asked: ClassVar[str]  # the kind of answer, in words
    sees: ClassVar[str] = "value"  # which trait of a view is the answer
    _read: ClassVar[Callable[..., Any]]  # gives the answer in the form in which it is compared
    _same: ClassVar[Callable[..., bool]]  # compares two of them
    _usual: ClassVar[Callable[..., str]]  # gives a hint to a mistake that is usual with this kind of question, or ""

    @property
    def mistakes(self) -> list[tuple[Any, str]]:
        """The wrong answers that the source names, each with its hint."""
        return list(self.wrong.items() if isinstance(self.wrong, Mapping) else self.wrong)

    def grade(self, answer: Any) -> tuple[str, str]:
        """Return "right", "wrong" or "open", and what to say to it; anything may be given, and nothing raises."""
        try:
            if hasattr(answer, "comm"):
                seen = self.sees if hasattr(answer, self.sees) else "value"
                answer = getattr(answer, seen)
                answer = answer if seen != "drawn" or np.any(getattr(answer, "array", answer)) else None
            if answer is None or answer is ... or (isinstance(answer, str | list | tuple) and not answer):
                return "open", self.hint
            value, target = self._read(answer), self._read(self.answer)
            if self._same(value, target):
                return "right", self.right
            named = (hint for wrong, hint in self.mistakes if self._same(value, self._read(wrong)))
            return "wrong", next(named, "") or self._usual(value, target) or self.hint
        except Exception as error:  # whatever a learner's object does when it is looked at
            odd = error if isinstance(error, CheckError) else f"A {type(answer).__name__} came, which does not read so."
            return "wrong", f"Asked for: {self.asked}. {odd}"


class Words(Question):
    """A word or a set of them, such as DICOM keywords; capitals, blanks and the order play no part."""

    asked = 'words in quotation marks, "One" or {"One", "Two"}'

    def _read(self, answer: Any) -> frozenset[str]:
        words = answer.split(",") if isinstance(answer, str) else answer
        return frozenset("".join(word.casefold().split()) for word in words)

    def _same(self, given: frozenset[str], other: frozenset[str]) -> bool:
        return given == other

    def _usual(self, given: frozenset[str], right: frozenset[str]) -> str:
        found, extra = len(given & right), len(given - right) or "none"
        return f"{found} of {len(right)} found; {extra} of yours does not belong here." if found else ""


class Pick(Words):
    """One of several: the answer and the wrong ones, in alphabetical order."""

    asked = "one of the choices"
    choices = property(lambda self: sorted([self.answer, *dict(self.mistakes)]))


@dataclass(frozen=True)
class Number(Question):
    """A number or several, in `unit`; or the distance that was drawn last in a view.

    `tolerance` is in `unit` too, for each or for all; without it, whole numbers must be exact, others within one per
    cent. A wrong sign, and a factor of 10, 100 or 1000 (mm for cm), have hints of their own.
    """

    unit: str = ""
    tolerance: Any = None
    asked = "only the number (or numbers), without a unit"
    sees = "distances"

    def _read(self, answer: Any) -> np.ndarray:
        answer = answer[-1]["mm"] if isinstance(answer, list) and isinstance(answer[-1], dict) else answer  # of a view
        if isinstance(answer, str):  # typed into a field
            answer = [float(number.replace(",", ".")) for number in answer.split()]
        value, shape = (np.asarray(getattr(one, "array", one), float) for one in (answer, self.answer))
        if value.shape != shape.shape and not value.size == shape.size == 1:
            raise CheckError(f"What came has the shape {value.shape}, not {shape.shape}.")
        if not np.isfinite(value).all():
            raise CheckError("What came is not finite (NaN or infinite): something was divided by 0, or is empty.")
        return value.reshape(shape.shape)

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        share = 0 if np.asarray(self.answer).dtype.kind in "iu" else 0.01
        return bool(np.all(abs(given - other) <= (share * abs(other) if self.tolerance is None else self.tolerance)))

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(-given, right):
            return "The size is right, the sign is wrong: it points the other way. Which direction is positive?"
        for times in (10, 100, 1000, 0.1, 0.01, 0.001):
            if right.any() and np.allclose(given, right * times, rtol=0.02):
                return f"That is {times} times as much as it should be: is it in {self.unit or 'the right unit'}?"
        return ""


@dataclass(frozen=True)
class Mask(Number):
    """A mask (slice, row, column), array or Volume, or what is drawn in a view; right from a Dice of `dice` on."""

    dice: float = 0.9
    asked = "a mask, 0 or 1 for each voxel (slice, row, column)"
    sees = "drawn"

    def _read(self, answer: Any) -> np.ndarray:
        if not (inside := super()._read(answer) != 0).any():
            raise CheckError("This one is empty: no voxel is in it.")
        return inside

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        return bool(2 * (given & other).sum() >= self.dice * (given.sum() + other.sum()))

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(~given, right):
            return "That is all but the structure: inside and outside are swapped."
        if hasattr(self.answer, "affine"):
            across = int(abs(self.answer.affine[0, :3]).argmax())  # the array axis that runs from right to left
            if (np.flip(given, across) & right).sum() > 2 * (given & right).sum():
                return "That is the patient's other side: on the screen, the patient's right is on the left."
        return ""


@dataclass(frozen=True)
class Point(Number):
    """A place in the patient, LPS in mm: (x, y, z), or the crosshair of a view; `tolerance` is for each, or for all."""

    tolerance: float | tuple[float, float, float] = 5.0
    asked = "a place in the patient, (x, y, z) in mm (LPS)"
    sees = "point"

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(given * (-1, 1, 1), right):
            return "That is on the other side of the patient: left and right are swapped (x grows to the left)."
        if self._same(given * (-1, -1, 1), right):
            return "x and y have the other sign: that is RAS, and DICOM counts in LPS."
        return "The order is turned around: it is x, y, z." * self._same(given[::-1], right)


@dataclass(frozen=True)
class Window(Number):
    """A window, (center, width), or the one that a view is set to; right within `tolerance` times the width."""

    tolerance: float = 0.2
    asked = "a window, (center, width)"
    sees = "window"

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.all(np.abs(given - other) <= self.tolerance * other[1]))

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(given[::-1], right):
            return "Center and width are swapped: the center comes first."
        if abs(given[1] - right[1]) <= self.tolerance * right[1]:
            return (
                f"The width is right, the picture too {'dark' if given[0] > right[0] else 'bright'}: move the center."
            )
        look = "wide: tissues that differ look alike" if given[1] > right[1] else "narrow: much is plain black or white"
        return f"The window is too {look}."
