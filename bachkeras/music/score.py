"""A score: notes in parts, with what a reader needs to place them (metre, key, tempo). Integer ticks, no sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

TICKS_PER_QUARTER = 480
"""Resolution of the scores this library makes. Divisible by every timestep in `timesteps.TIMESTEPS`."""

NOTE = np.dtype([("start", np.int64), ("end", np.int64), ("pitch", np.int16), ("part", np.int16)])
"""One note: `start` and `end` in ticks (`end` exclusive), MIDI `pitch` 0..127, index of its `part`."""

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
UNKNOWN_TONIC = 12
MAJOR, MINOR, UNKNOWN_MODE = 0, 1, 2


def semitones_to_c(tonic):
    """How far a tonic 0..11 lies from the nearest C, -6..5 semitones: numbers, arrays or tensors of them."""
    return (6 - tonic) % 12 - 6


@dataclasses.dataclass(frozen=True)
class Meter:
    """A time signature, in force from `tick` on."""

    tick: int
    numerator: int
    denominator: int

    @property
    def quarters(self) -> Fraction:
        """Length of a bar in quarter lengths."""
        return Fraction(4 * self.numerator, self.denominator)


@dataclasses.dataclass(frozen=True)
class Key:
    """A key, in force from `tick` on: `tonic` 0..11 (C is 0), `mode` `MAJOR` or `MINOR`."""

    tick: int
    tonic: int
    mode: int


@dataclasses.dataclass(frozen=True)
class Tempo:
    """A tempo, in force from `tick` on, in quarters per minute."""

    tick: int
    quarters_per_minute: float


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """Notes in parts.

    Attributes:
        notes: array of dtype `NOTE`, sorted by start, then part, then descending pitch.
        ticks_per_quarter: resolution of every tick in the score.
        end: length of the score in ticks; silence after the last note counts.
        parts: the names of the parts, '' where unknown; `notes["part"]` indexes it.
        meters: time signatures by tick; empty where unknown.
        keys: keys by tick; empty where unknown.
        tempos: tempos by tick; empty where unknown.
        upbeat: ticks before the first bar line; 0 where the piece starts with a full bar.
        title: '' where unknown.

    Raises:
        ValueError: if a note belongs to none of the parts.
    """

    notes: np.ndarray
    ticks_per_quarter: int = TICKS_PER_QUARTER
    end: int = 0
    parts: tuple[str, ...] = ()
    meters: tuple[Meter, ...] = ()
    keys: tuple[Key, ...] = ()
    tempos: tuple[Tempo, ...] = ()
    upbeat: int = 0
    title: str = ""

    def __post_init__(self):
        notes = np.asarray(self.notes, dtype=NOTE)
        stray = (notes["part"] < 0) | (notes["part"] >= len(self.parts))
        if stray.any():
            part = int(notes["part"][stray][0])
            raise ValueError(f"A note needs a part to be in. Received: {part=} with parts={self.parts}")
        order = np.lexsort((-notes["pitch"], notes["part"], notes["start"]))
        object.__setattr__(self, "notes", notes[order])
        object.__setattr__(self, "end", max(int(self.end), int(notes["end"].max(initial=0))))

    def finer(self, factor: int) -> Score:
        """The same score with `factor` times as many ticks to a quarter."""
        return self.retimed(lambda tick: tick * factor, self.ticks_per_quarter * factor)

    def retimed(self, tick: Callable[[Any], Any], ticks_per_quarter: int) -> Score:
        """The same score in other ticks: `tick` gives the new one of an old one, of an int or an array of them."""
        notes = self.notes.copy()
        notes["start"], notes["end"] = tick(notes["start"]), tick(notes["end"])
        later = {
            name: tuple(dataclasses.replace(sign, tick=tick(sign.tick)) for sign in getattr(self, name))
            for name in ("meters", "keys", "tempos")
        }
        return dataclasses.replace(
            self,
            notes=notes,
            ticks_per_quarter=ticks_per_quarter,
            end=tick(self.end),
            upbeat=tick(self.upbeat),
            **later,
        )

    def transpose(self, semitones: int) -> Score:
        """The same score with every note and key moved by `semitones`.

        Raises:
            ValueError: if a note would leave MIDI's 0..127.
        """
        pitch = self.notes["pitch"] + semitones
        if pitch.size and (pitch.min() < 0 or pitch.max() > 127):
            raise ValueError(f"A note would leave MIDI's range 0..127. Received: semitones={semitones}")
        notes = self.notes.copy()
        notes["pitch"] = pitch
        keys = tuple(dataclasses.replace(key, tonic=(key.tonic + semitones) % 12) for key in self.keys)
        return dataclasses.replace(self, notes=notes, keys=keys)
