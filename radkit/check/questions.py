"""The kinds of questions: each reads an answer, compares it, and knows the mistakes that are usual with its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np


class Odd(ValueError):
    """An answer is not of the kind that was asked for; the message says what is odd about it."""


@dataclass(frozen=True)
class Question:
    """One question of an exercise.

    Parameters
    ----------
    name
        What the learner calls it: ``check("spacing", ...)``.
    answer
        The right answer.
    wrong
        Plausible wrong answers, each with the hint that says what is clinically wrong: ``{3.0: "That is the slice
        thickness ..."}``, or a list of pairs where an answer (an array) cannot be a key.
    hint
        What to look at: for whoever has not answered, and for an answer that no other hint fits.
    way
        The second hint, which shows the way; said from the second wrong answer on.
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

    @property
    def mistakes(self) -> list[tuple[Any, str]]:
        """The wrong answers that the source names, each with its hint."""
        return list(self.wrong.items() if isinstance(self.wrong, Mapping) else self.wrong)

    def grade(self, answer: object) -> tuple[str, str]:
        """Return "right", "wrong" or "open", and what to say; anything at all may be given, and nothing raises."""
        try:
            if answer is None or answer is ... or (isinstance(answer, str | list | tuple) and not answer):
                return "open", self.hint
            value, target = self._read(answer), self._read(self.answer)
            if self._same(value, target):
                return "right", self.right
            named = (hint for wrong, hint in self.mistakes if self._same(value, self._read(wrong)))
            return "wrong", next(named, "") or self._usual(value, target) or self.hint
        except Odd as error:
            return "wrong", f"Asked for: {self.asked}. {error}"
        except Exception:  # whatever a learner's object does when it is looked at
            return "wrong", f"Asked for: {self.asked}. What came does not read as that (a {type(answer).__name__})."

    def _read(self, answer: Any) -> Any:
        """Return the answer as it is compared: here as finite numbers in the shape of the right one."""
        value, like = np.asarray(answer), np.asarray(getattr(self.answer, "array", self.answer))
        if callable(answer):
            raise Odd("That is a function: call it, with ( ).")
        if value.dtype.kind not in "biufO" or isinstance(answer, bool | np.bool_):
            raise Odd("What came is no number.")
        if value.shape != like.shape and not value.size == like.size == 1:
            raise Odd(f"What came has the shape {value.shape}, not {like.shape}.")
        if not np.isfinite(value := value.astype(float)).all():
            raise Odd("What came is not finite (NaN or infinite): something was divided by 0, or is empty.")
        return value.reshape(like.shape)

    def _same(self, given: Any, other: Any) -> bool:
        return bool(given == other)

    def _usual(self, given: Any, right: Any) -> str:
        """Return a hint to a mistake that is usual with this kind of question, or nothing."""
        return ""


@dataclass(frozen=True)
class Number(Question):
    """A number or several, in `unit`; or the distance that was drawn last in a view.

    `tolerance` is in `unit` too; without it, one per cent. Wrong by the sign or by a factor of 10, 100 or 1000 (mm for
    cm) has hints of its own.
    """

    unit: str = ""
    tolerance: float | None = None
    sees: ClassVar[str] = "distances"

    @property
    def asked(self) -> str:  # type: ignore[override]
        """How many numbers, in what unit."""
        many = f"{np.size(self.answer)} numbers" if np.ndim(self.answer) else "one number"
        return many + f" in {self.unit}" * bool(self.unit)

    def _read(self, answer: Any) -> np.ndarray:
        if isinstance(answer, list) and isinstance(answer[-1], dict):
            answer = answer[-1]["mm"]
        if isinstance(answer, str):  # typed into a field
            answer = [float(number.replace(",", ".")) for number in answer.split()]
        return super()._read(answer)

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        margin = 0.01 * np.abs(other) + 1e-9 if self.tolerance is None else self.tolerance
        return bool(np.all(np.abs(given - other) <= margin))

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(-given, right):
            return "The size is right, the sign is wrong: it points the other way. Which direction is positive?"
        for factor in (10, 100, 1000) if right.any() else ():
            for times, how in ((1 / factor, "large"), (factor, "small")):
                if np.allclose(given * times, right, rtol=0.02):
                    return f"{factor} times too {how}: look at the unit" + f" ({self.unit})." * bool(self.unit)
        return ""


class Words(Question):
    """A word or a set of them, such as DICOM keywords; capitals, blanks and the order play no part."""

    asked = 'words in quotation marks, "One" or {"One", "Two"}'

    def _read(self, answer: Any) -> frozenset[str]:
        words = answer.split(",") if isinstance(answer, str) else answer
        return frozenset("".join(word.casefold().split()) for word in words)

    def _usual(self, given: frozenset[str], right: frozenset[str]) -> str:
        found, extra = len(given & right), len(given - right) or "none"
        return f"{found} of {len(right)} found; {extra} of yours does not belong here." if found else ""


class Pick(Question):
    """One of several: the answer and the wrong ones, in alphabetical order."""

    asked = "one of the choices"

    @property
    def choices(self) -> list[str]:
        """What there is to pick from."""
        return sorted([self.answer, *(wrong for wrong, _ in self.mistakes)])

    def _read(self, answer: Any) -> str:
        if answer not in self.choices:
            raise Odd(f"They are: {'; '.join(self.choices)}.")
        return str(answer)


@dataclass(frozen=True)
class Mask(Question):
    """A mask (slice, row, column), an array or a Volume as the answer is; right from a Dice of `dice` on."""

    dice: float = 0.9
    asked = "a mask, 0 or 1 for each voxel (slice, row, column)"

    def _read(self, answer: Any) -> np.ndarray:
        if not (inside := super()._read(getattr(answer, "array", answer)) != 0).any():
            raise Odd("This one is empty: no voxel is in it.")
        return inside

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        return bool(2 * (given & other).sum() >= self.dice * (given.sum() + other.sum()))

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(~given, right):
            return "That is everything but the structure: inside and outside are swapped."
        size, covered = given.sum() / right.sum(), (given & right).sum() / right.sum()
        return f"Your mask is {size:.1f} times as large as the structure, and covers {covered:.0%} of it."


@dataclass(frozen=True)
class Point(Question):
    """A place in the patient, LPS in mm: three numbers, or the crosshair of a view.

    `tolerance` is a radius in mm, or a number for each of x, y, z: with ``(1e9, 1e9, 3)`` only the axial slice counts.
    """

    tolerance: float | tuple[float, float, float] = 5.0
    asked = "a place in the patient, (x, y, z) in mm (LPS)"
    sees = "point"

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        off = np.abs(given - other) / self.tolerance
        return bool(off.max() <= 1 if np.ndim(self.tolerance) else np.linalg.norm(off) <= 1)

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(given * (-1, 1, 1), right):
            return "That is on the other side of the patient: left and right are swapped (x grows to the left)."
        if self._same(given * (-1, -1, 1), right):
            return "x and y have the other sign: that is RAS, and DICOM counts in LPS."
        return "The order is turned around: it is x, y, z." * self._same(given[::-1], right)


@dataclass(frozen=True)
class Window(Question):
    """A window, (center, width), or the one that a view is set to; right within `tolerance` times the width."""

    tolerance: float = 0.2
    asked = "a window, (center, width)"
    sees = "window"

    def _same(self, given: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.all(np.abs(given - other) <= self.tolerance * other[1]))

    def _usual(self, given: np.ndarray, right: np.ndarray) -> str:
        if self._same(given[::-1], right):
            return "Center and width are swapped: the center comes first."
        if self._same(given * (0, 1), right * (0, 1)):
            return (
                f"The width is right, but it is all too {'dark' if given[0] > right[0] else 'bright'}: move the center."
            )
        look = "wide: tissues that differ look alike" if given[1] > right[1] else "narrow: much is plain black or white"
        return f"The window is too {look}."
