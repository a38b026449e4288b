"""Notation: a score's notes as they stand on paper, in staves, voices and chords, cut where no single note shows them.

Nothing here knows a file format. Times are fractions of a quarter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bachkeras.music.bars import Bar
from bachkeras.music.score import Score
from bachkeras.music.voices import SATB

FINEST = 48
"""Points a quarter that notation holds: all multiples of a 64th note and of a triplet 32nd."""

MIDDLE_C = 60
"""The lowest pitch of the upper staff of a grand staff, and the lowest mean pitch of a treble clef."""

CLEFS = dict(zip(SATB, ("treble", "treble", "tenor", "bass"), strict=True))
"""The clefs of the voices; the tenor's is a treble clef an octave lower."""

# Where a note is cut, counted from the bar line: the first of these that has a multiple inside it.
_CUTS = (*(Fraction(8, 2**i) for i in range(8)), *(Fraction(1, 3 * 2**i) for i in range(5)))


class Chord(NamedTuple):
    """Notes of one part that begin and end together: MIDI pitches, ascending."""

    start: Fraction
    end: Fraction
    pitches: tuple[int, ...]


class Staff(NamedTuple):
    """A staff of a part.

    Attributes:
        part: index of its part.
        clef: 'treble', 'tenor' or 'bass'.
        voices: at least one, each of chords by time, none of which overlap.
        grand: whether it is one of the two staves of a grand staff; the upper one comes first.
    """

    part: int
    clef: str
    voices: list[list[Chord]]
    grand: bool = False


class Piece(NamedTuple):
    """What is one sign on paper: a note, chord or rest, or a part of it that is tied to the next.

    Attributes:
        start: from the beginning of the score.
        end: exclusive.
        chord: what it is a piece of; None is a rest.
    """

    start: Fraction
    end: Fraction
    chord: Chord | None

    @property
    def tie(self) -> str | None:
        """'start', 'continue', 'stop' or None, as in music21."""
        begins = self.chord is None or self.start == self.chord.start
        ends = self.chord is None or self.end == self.chord.end
        if begins:
            return None if ends else "start"
        return "stop" if ends else "continue"


def on_grid(score: Score) -> Score:
    """The score in `FINEST` ticks a quarter.

    Notes are kept to the tick if all of them are on that grid. If any is not, as in a performance, every time of the
    score moves to the nearest sixteenth or triplet eighth. Notes of no length are left out.
    """
    unit, notes = score.ticks_per_quarter, score.notes.copy()
    exact = not any(np.any(notes[field] * FINEST % unit) for field in ("start", "end"))

    def moved(ticks):
        if exact:
            return ticks * FINEST // unit
        sixteenth, triplet = (np.rint(ticks * n / unit).astype(int) * (FINEST // n) for n in (4, 3))
        place = ticks * FINEST / unit
        return np.where(abs(sixteenth - place) <= abs(triplet - place), sixteenth, triplet)

    def at(events):
        return tuple(dataclasses.replace(event, tick=int(moved(event.tick))) for event in events)

    notes["start"], notes["end"] = moved(notes["start"]), moved(notes["end"])
    return dataclasses.replace(
        score,
        notes=notes[notes["start"] < notes["end"]],
        ticks_per_quarter=FINEST,
        end=int(moved(score.end)),
        meters=at(score.meters),
        keys=at(score.keys),
        tempos=at(score.tempos),
        upbeat=int(moved(score.upbeat)),
    )


def staves(score: Score) -> list[Staff]:
    """The staves of all parts.

    A part that is named as a voice, `voices.SATB`, is a staff with its clef. So is any other part of one note at a
    time, in a treble or bass clef. A part of chords is a grand staff, its notes from middle C on in the upper one.
    """
    found = []
    for part, name in enumerate(score.parts):
        notes = score.notes[score.notes["part"] == part]
        voices, high = _voices(score, notes), notes["pitch"] >= MIDDLE_C
        if name in CLEFS:
            found.append(Staff(part, CLEFS[name], voices))
        elif len(voices) == 1 and all(len(chord.pitches) == 1 for chord in voices[0]):
            mean = notes["pitch"].mean() if len(notes) else MIDDLE_C
            found.append(Staff(part, "treble" if mean >= MIDDLE_C else "bass", voices))
        else:
            found.append(Staff(part, "treble", _voices(score, notes[high]), grand=True))
            found.append(Staff(part, "bass", _voices(score, notes[~high]), grand=True))
    return found


def fill(voice: Iterable[Chord], bar: Bar) -> Iterator[Piece]:
    """The pieces of a voice that fill a bar, its rests included; a whole bar's rest is one piece.

    Args:
        voice: the chords by time; all that sound in the bar, and none that end before it.
        bar: the bar.
    """
    # An upbeat is the end of a bar: its beats are where they would be in a whole one.
    line = bar.end - bar.meter.quarters if bar.number == 0 else bar.start
    time = bar.start
    for chord in voice:
        start, end = max(chord.start, bar.start), min(chord.end, bar.end)
        if start >= end:
            break
        yield from _cut(time, start, line, None)
        yield from _cut(start, end, line, chord)
        time = end
    if time == bar.start:
        yield Piece(bar.start, bar.end, None)
    else:
        yield from _cut(time, bar.end, line, None)


def _voices(score: Score, notes: np.ndarray) -> list[list[Chord]]:
    """Chords, each in the first voice that is free, the higher one first where two begin together."""
    together: dict[tuple[int, int], set[int]] = {}
    for start, end, pitch in notes[["start", "end", "pitch"]].tolist():
        together.setdefault((start, end), set()).add(pitch)
    unit = score.ticks_per_quarter
    voices: list[list[Chord]] = [[]]
    for (start, end), pitches in sorted(together.items(), key=lambda item: (item[0][0], -max(item[1]), -item[0][1])):
        chord = Chord(Fraction(start, unit), Fraction(end, unit), tuple(sorted(pitches)))
        free = next((voice for voice in voices if not voice or voice[-1].end <= chord.start), None)
        if free is None:
            voices.append(free := [])
        free.append(chord)
    return voices


def _cut(start: Fraction, end: Fraction, line: Fraction, chord: Chord | None) -> Iterator[Piece]:
    """Cuts a time within a bar until single signs show it, at the strongest place first."""
    if start >= end:
        return
    inside = (line + cut * ((start - line) // cut + 1) for cut in _CUTS)
    place = next((place for place in inside if place < end), None)
    if place is None or _is_sign(start - line, end - start, rest=chord is None):
        yield Piece(start, end, chord)
    else:
        yield from _cut(start, place, line, chord)
        yield from _cut(place, end, line, chord)


def _is_sign(place: Fraction, length: Fraction, rest: bool) -> bool:
    """Whether a single sign of this length, plain, dotted or of a triplet, is readable at a place of its bar.

    A rest is plain and on a multiple of its length. A note is on a multiple of half its plain value: a quarter may
    begin on any eighth, a dotted quarter too. A sign of a triplet is on a multiple of its own length, or is the long
    one of two, as quarter and eighth.
    """
    odd = length.numerator // (length.numerator & -length.numerator)
    if length.denominator % 3 == 0:
        return odd == 1 and (place % length == 0 or place % (length * 3 / 2) in (0, length / 2))
    plain = length * 2 / 3 if odd == 3 else length
    if rest:
        return odd == 1 and place % plain == 0
    return odd in (1, 3) and plain <= 8 and place % (plain / 2) == 0
