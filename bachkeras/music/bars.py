"""Bars: where the bar lines of a score fall, the numbers of its bars, and the places in them."""

from __future__ import annotations

import bisect
import dataclasses
import math
import re
from fractions import Fraction

import numpy as np

from bachkeras.music.pianoroll import positive
from bachkeras.music.score import Meter, Score

ASSUMED = Meter(0, 4, 4)
"""The meter of music that has none, or none yet."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar; its times are in quarter lengths.

    Attributes:
        number: 1, 2, ...; an upbeat is 0.
        start: from the beginning of the score.
        end: exclusive.
        meter: its time signature. An upbeat, and a bar that is cut short, lasts less than that.
    """

    number: int
    start: Fraction
    end: Fraction
    meter: Meter

    @property
    def line(self) -> Fraction:
        """Where the bar begins if it is whole: before its start in an upbeat, which is the end of a bar."""
        return self.end - self.meter.quarters if self.number == 0 else self.start

    @property
    def beats(self) -> list[Fraction]:
        """The beats inside the bar, its start left out; an upbeat's are those of the end of a bar.

        Eighths and shorter ones in threes are a compound meter: 6/8 has two beats.
        """
        compound = self.meter.denominator >= 8 and self.meter.numerator > 3 and self.meter.numerator % 3 == 0
        beat = Fraction(4 * (3 if compound else 1), self.meter.denominator)
        times = (self.line + beat * i for i in range(1, self.meter.numerator))
        return [time for time in times if self.start < time < self.end]


def main_meter(score: Score) -> Meter | None:
    """The meter of a score that is longest in force; None where it has none."""
    ends = [*(meter.tick for meter in score.meters[1:]), score.end]
    spans = {meter: end - meter.tick for meter, end in zip(score.meters, ends, strict=False)}
    return max(spans, key=spans.get, default=None)


def bars(score: Score) -> list[Bar]:
    """The bars of a score, without a gap from its beginning to its end.

    A new meter begins a new bar wherever it stands. The last bar is whole, except after an upbeat, where it ends with
    the score, as its missing beats are those of the upbeat.

    Args:
        score: any score; one without a meter is in 4/4.

    Returns:
        At least one bar, even of an empty score.

    Raises:
        ValueError: if a meter has no beats.
    """
    end = Fraction(score.end, score.ticks_per_quarter)
    upbeat = Fraction(score.upbeat, score.ticks_per_quarter)
    meters = {Fraction(0): ASSUMED}
    meters |= {Fraction(meter.tick, score.ticks_per_quarter): meter for meter in score.meters}
    if any(meter.numerator < 1 or meter.denominator < 1 for meter in score.meters):
        raise ValueError(f"A meter needs beats. Received: meters={score.meters}")
    upbeat %= meters[0].quarters  # A whole bar is no upbeat.
    changes = sorted(meters)
    found: list[Bar] = []
    start = Fraction(0)
    while start < end or not found:
        later = bisect.bisect_right(changes, start)
        meter = meters[changes[later - 1]]
        line = start + (upbeat if upbeat and not found else meter.quarters)
        change = changes[later] if later < len(changes) else end
        stop = change if change < min(line, end) else line
        found.append(Bar(len(found) + (not upbeat), start, stop, meter))
        start = stop
    if upbeat and len(found) > 1:
        found[-1] = dataclasses.replace(found[-1], end=end)
    return found


def positions(score: Score, timestep: Fraction, frames: int) -> np.ndarray:
    """The place of each frame in its bar, sampled at its beginning as a pianoroll is.

    An upbeat counts from where its bar would have begun: one of a quarter before 4/4 is 12, 13, 14, 15 in sixteenths.
    After the end of the score its last bar is filled up, and others like it follow.

    Args:
        score: any score.
        timestep: length of a frame in quarter lengths.
        frames: how many, from the beginning of the score on.

    Returns:
        int32 `(frames,)`: whole timesteps since the bar line; -1 for all if the score has no meters, as then nobody
        knows.

    Raises:
        ValueError: if the timestep is not positive, or a meter has no beats.
    """
    step = positive(timestep)
    if not score.meters:
        return np.full(frames, -1, np.int32)
    found = bars(score)
    lines = [bar.line for bar in found]
    while lines[-1] < frames * step:
        lines.append(lines[-1] + found[-1].meter.quarters)
    # Whole timesteps since a line are those since the first frame that begins at or after it.
    first = np.array([math.ceil(line / step) for line in lines])
    time = np.arange(frames)
    return (time - first[np.searchsorted(first, time, side="right") - 1]).astype(np.int32)


def span(score: Score, first: int, last: int) -> tuple[int, int]:
    """Where bars begin and end.

    Args:
        score: any score.
        first: number of the first bar; an upbeat is 0.
        last: number of the last one.

    Returns:
        `(start, end)` in ticks; `end` is exclusive, and at most the score's.

    Raises:
        ValueError: if the last bar comes before the first, or the piece has not all of them.
    """
    found = bars(score)
    received = f"Received: bars='{first}-{last}'"
    if first > last:
        raise ValueError(f"The first bar comes before the last. {received}")
    if first < found[0].number or last > found[-1].number:
        raise ValueError(f"The piece has the bars {found[0].number} to {found[-1].number}. {received}")
    chosen = [bar for bar in found if first <= bar.number <= last]
    # A bar line between two ticks: what begins at the second one is in the bar.
    start, end = (math.ceil(time * score.ticks_per_quarter) for time in (chosen[0].start, chosen[-1].end))
    return start, min(end, score.end)


def parse(text: str) -> tuple[int, int]:
    """The numbers of the first and the last bar: "5-8" is (5, 8), "5" is (5, 5).

    Raises:
        ValueError: if the text is neither.
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise ValueError(f"Bars are a number or two of them, as '5' or '5-8'. Received: bars={text!r}")
    first, last = match.groups()
    return int(first), int(last or first)
