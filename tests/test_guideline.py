"""The guideline for nodules found by chance, looked up by a measurement."""

from __future__ import annotations

import re

import pytest

from radkit.errors import ResultError
from radkit.results.measurement import Measurement


def nodule(diameter, volume_mm3=None):
    return Measurement(1, volume_mm3, diameter, diameter, (), (), 0, ())


@pytest.mark.parametrize(
    ("diameter", "volume_mm3", "risk", "says"),
    [
        (5.4, None, "low", "5 mm .below 6 mm.*no routine follow-up"),
        (5.4, 99, "high", "optional follow-up: CT at 12 months"),
        (5.5, None, "low", "6 mm .6 to 8 mm.*CT at 6 to 12 months; then consider CT at 18"),
        (8.4, 250, "high", "CT at 6 to 12 months; then CT at 18"),
        (8.5, None, "low", "9 mm .above 8 mm.*CT at 3 months, PET/CT, or tissue sampling"),
        (22.6, 6000, "high", "23 mm, 6000 mm³ .above 8 mm.*CT at 3 months"),
        (5.0, 100, "low", "6 to 8 mm.*disagree; the higher class"),
    ],
)
def test_the_guideline_by_size_and_risk(diameter, volume_mm3, risk, says):
    advice = nodule(diameter, volume_mm3).fleischner(risk=risk)
    assert re.search(says, advice.text), advice.text
    assert "284:228-243" in advice.source
    assert "35 or older" in advice.limits


@pytest.mark.parametrize(
    ("diameter", "asked", "says"),
    [
        (31, {"risk": "low"}, "mass"),
        (7, {"risk": "low", "kind": "part-solid"}, "Only single solid"),
        (7, {"risk": "medium"}, "low.*high"),
        (7, {"risk": "low", "age": 34}, "35 and older"),
        (0, {"risk": "low"}, "above zero"),
        (float("nan"), {"risk": "low"}, "above zero"),
    ],
)
def test_the_guideline_refuses_what_it_does_not_cover(diameter, asked, says):
    with pytest.raises(ResultError, match=says):
        nodule(diameter).fleischner(**asked)
