"""Bars: lines, numbers and beats."""

from fractions import Fraction

import numpy as np
import pytest

from bachkeras.music.bars import bars
from bachkeras.music.score import NOTE, Meter, Score


def score(quarters, **values):
    return Score(np.array([], NOTE), end=round(480 * quarters), **values)


def lines(score):
    return [(bar.number, float(bar.start), float(bar.end)) for bar in bars(score)]


@pytest.mark.parametrize(
    ("score", "wanted"),
    [
        (score(8, meters=(Meter(0, 4, 4),)), [(1, 0, 4), (2, 4, 8)]),
        (score(9, meters=(Meter(0, 4, 4),)), [(1, 0, 4), (2, 4, 8), (3, 8, 12)]),
        (score(8, meters=(Meter(0, 4, 4),), upbeat=480), [(0, 0, 1), (1, 1, 5), (2, 5, 8)]),
        (score(8, meters=(Meter(0, 4, 4),), upbeat=1920), [(1, 0, 4), (2, 4, 8)]),
        (score(1, meters=(Meter(0, 4, 4),), upbeat=480), [(0, 0, 1)]),
        (score(6, meters=(Meter(0, 3, 8),)), [(1, 0, 1.5), (2, 1.5, 3), (3, 3, 4.5), (4, 4.5, 6)]),
        (score(10, meters=(Meter(0, 4, 4), Meter(2880, 2, 4))), [(1, 0, 4), (2, 4, 6), (3, 6, 8), (4, 8, 10)]),
        (score(8, meters=(Meter(1920, 2, 4),)), [(1, 0, 4), (2, 4, 6), (3, 6, 8)]),
        (score(6, meters=(Meter(0, 4, 4), Meter(4800, 2, 4))), [(1, 0, 4), (2, 4, 8)]),
        (score(5), [(1, 0, 4), (2, 4, 8)]),
        (score(0), [(1, 0, 4)]),
    ],
    ids=[
        "whole",
        "end",
        "upbeat",
        "bar as upbeat",
        "upbeat alone",
        "3/8",
        "change",
        "later",
        "too late",
        "none",
        "empty",
    ],
)
def test_bars(score, wanted):
    assert lines(score) == wanted


@pytest.mark.parametrize(
    ("meter", "upbeat", "wanted"),
    [
        ((4, 4), 0, [1, 2, 3]),
        ((3, 2), 0, [2, 4]),
        ((3, 8), 0, [0.5, 1]),
        ((6, 8), 0, [1.5]),
        ((12, 8), 0, [1.5, 3, 4.5]),
        ((4, 4), 720, [0.5]),
        ((6, 8), 960, [0.5]),
    ],
)
def test_beats(meter, upbeat, wanted):
    assert bars(score(9, meters=(Meter(0, *meter),), upbeat=upbeat))[0].beats == [Fraction(beat) for beat in wanted]


@pytest.mark.parametrize("meter", [(0, 4), (4, 0), (-3, 4)])
def test_a_meter_has_beats(meter):
    with pytest.raises(ValueError, match=r"A meter needs beats\. Received: meters="):
        bars(score(4, meters=(Meter(0, *meter),)))
