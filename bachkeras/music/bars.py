"""Bars: where the bar lines of a score fall, and the numbers of its bars."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

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
    def beats(self) -> list[Fraction]:
        """The beats inside the bar, its start left out; an upbeat's are those of the end of a bar.

        Eighths and shorter ones in threes are a compound meter: 6/8 has two beats.
        """
        compound = self.meter.denominator >= 8 and self.meter.numerator > 3 and self.meter.numerator % 3 == 0
        beat = Fraction(4 * (3 if compound else 1), self.meter.denominator)
        line = self.end - self.meter.quarters if self.number == 0 else self.start
        times = (line + beat * i for i in range(1, self.meter.numerator))
        return [time for time in times if self.start < time < self.end]


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
    found: list[Bar] = []
    start = Fraction(0)
    while start < end or not found:
        meter = meters[max(time for time in meters if time <= start)]
        line = start + (upbeat if upbeat and not found else meter.quarters)
        stop = min((time for time in meters if start < time < min(line, end)), default=line)
        found.append(Bar(len(found) + (not upbeat), start, stop, meter))
        start = stop
    if upbeat and len(found) > 1:
        found[-1] = dataclasses.replace(found[-1], end=end)
    return found
