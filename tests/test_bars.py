"""Bars: lines, numbers and beats."""

import re
from fractions import Fraction

import numpy as np
import pytest

from bachkeras.data import chorales
from bachkeras.music.bars import bars, parse, positions, span
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


SIXTEENTH, QUARTER = Fraction(1, 4), Fraction(1)
FOUR = Meter(0, 4, 4)


@pytest.mark.parametrize(
    ("score", "timestep", "wanted"),
    [
        (score(4, meters=(FOUR,)), QUARTER, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
        (score(4, meters=(FOUR,)), Fraction(1, 3), [*range(12), 0, 1]),
        (score(4, meters=(FOUR,), upbeat=480), SIXTEENTH, [12, 13, 14, 15, *range(16), 0, 1]),
        (score(5, meters=(FOUR,), upbeat=480), QUARTER, [3, 0, 1, 2, 3, 0, 1]),
        (score(4, meters=(FOUR,), upbeat=480), QUARTER, [3, 0, 1, 2, 3, 0, 1]),
        (score(1, meters=(FOUR,), upbeat=480), QUARTER, [3, 0, 1, 2, 3, 0]),
        (score(4, meters=(FOUR,), upbeat=240), QUARTER, [3, 0, 1, 2, 3, 0]),
        (score(4, meters=(FOUR,), upbeat=1920), QUARTER, [0, 1, 2, 3, 0]),
        (score(9, meters=(FOUR, Meter(2880, 3, 4))), QUARTER, [0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 1, 2, 0]),
        (score(3, meters=(Meter(0, 3, 8),)), QUARTER, [0, 1, 0, 0, 1, 0]),
        (score(2, meters=(Meter(0, 1, 8),)), QUARTER, [0, 0, 0]),
        (score(0, meters=(Meter(0, 2, 4),)), QUARTER, [0, 1, 0]),
        (score(8), QUARTER, [-1, -1, -1]),
        (score(8, meters=(FOUR,)), QUARTER, []),
    ],
    ids=[
        "whole",
        "triplets",
        "upbeat",
        "last bar of an upbeat",
        "last bar is short",
        "upbeat alone",
        "upbeat off the grid",
        "bar as upbeat",
        "change",
        "off the grid",
        "bars shorter than frames",
        "empty",
        "no meter",
        "no frames",
    ],
)
def test_positions(score, timestep, wanted):
    found = positions(score, timestep, len(wanted))
    assert found.dtype == np.int32
    assert found.tolist() == wanted


@pytest.mark.parametrize("name", ["bwv253", "bwv272", "bwv400"])
def test_positions_are_those_of_a_chorale(name):
    chorale = chorales.read(name)
    frames = chorale.score.end // 120
    np.testing.assert_array_equal(
        positions(chorale.score, SIXTEENTH, frames), chorale.position(np.arange(frames) * 120) // 120
    )


def test_a_timestep_is_positive():
    with pytest.raises(ValueError, match="A timestep must be a positive Fraction"):
        positions(score(4, meters=(FOUR,)), Fraction(0), 4)


@pytest.mark.parametrize(
    ("score", "first", "last", "wanted"),
    [
        (score(12), 2, 3, (1920, 5760)),
        (score(12), 1, 1, (0, 1920)),
        (score(9), 1, 3, (0, 4320)),
        (score(8, upbeat=480), 0, 0, (0, 480)),
        (score(8, upbeat=480), 0, 1, (0, 2400)),
        (score(8, upbeat=480), 2, 2, (2400, 3840)),
        (score(10, meters=(FOUR, Meter(2880, 2, 4))), 2, 3, (1920, 3840)),
        (score(0), 1, 1, (0, 0)),
        # 3/8 in ticks of a quarter: the second bar is from 1.5 to 3.
        (Score(np.array([], NOTE), 1, end=6, meters=(Meter(0, 3, 8),)), 2, 2, (2, 3)),
    ],
)
def test_span(score, first, last, wanted):
    assert span(score, first, last) == wanted


@pytest.mark.parametrize(
    ("upbeat", "first", "last", "message"),
    [
        (0, 5, 99, "The piece has the bars 1 to 12. Received: bars='5-99'"),
        (0, 0, 3, "The piece has the bars 1 to 12. Received: bars='0-3'"),
        (480, 5, 99, "The piece has the bars 0 to 12. Received: bars='5-99'"),
        (0, 8, 5, "The first bar comes before the last. Received: bars='8-5'"),
    ],
)
def test_a_span_is_in_the_piece(upbeat, first, last, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        span(score(48, upbeat=upbeat), first, last)


@pytest.mark.parametrize(("text", "wanted"), [("5-8", (5, 8)), ("5", (5, 5)), ("0-12", (0, 12)), ("012", (12, 12))])
def test_parse(text, wanted):
    assert parse(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "5-", "-5", "5-8-9", "5..8", "5.5", "5 - 8", "5\n"])
def test_parse_says_what_it_wants(text):
    message = f"Bars are a number or two of them, as '5' or '5-8'. Received: bars={text!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse(text)
