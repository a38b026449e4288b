"""A piece as evaluation hears it: a column of pitches for each voice, by the voices' labels or by rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from bachkeras.music.pianoroll import KEYS
from bachkeras.music.voices import REST

LEAST_VOICES = 4
"""By rank, a piece has at least so many columns; those of notes that it has not are rests."""


class Parts(NamedTuple):
    """The voices of a piece.

    Attributes:
        voices: int32 `(time, voices)`, from the top; pitch index 0..87 or 88 = rest.
        timestep: length of a frame in quarter lengths. A beat is a quarter.
        labelled: whether the columns are the parts of the score; else column k has the k-th note of a frame from the
            top, and rests come last.
    """

    voices: np.ndarray
    timestep: Fraction
    labelled: bool

    @property
    def beats(self) -> float:
        """Length in quarters."""
        return float(len(self.voices) * self.timestep)

    @property
    def on_beats(self) -> np.ndarray:
        """What sounds as each beat begins, `(beats, voices)`, from the first frame on; a longer frame comes once."""
        places = [int(beat / self.timestep) for beat in range(math.ceil(self.beats))]
        return self.voices[list(dict.fromkeys(places))]


def of(piece: Mapping[str, Any], labelled: bool) -> Parts:
    """The parts of a piece of a corpus.

    Args:
        piece: see `Corpus`; without a timestep a frame is a beat.
        labelled: take its `voices`; else its `pianoroll`, by rank.
    """
    voices = np.asarray(piece["voices"], np.int32) if labelled else by_rank(piece["pianoroll"])
    return Parts(voices, timestep(piece), labelled)


def timestep(piece: Mapping[str, Any]) -> Fraction:
    """The timestep of a piece of a corpus, in quarter lengths; 1 where it says none."""
    return Fraction(*(int(n) for n in piece["timestep"])) if "timestep" in piece else Fraction(1)


def by_rank(pianoroll: np.ndarray) -> np.ndarray:
    """The notes of each frame from the top, then rests: bool `(time, 88)` to int32 `(time, voices)`."""
    ranked = -np.sort(-np.where(pianoroll, np.arange(1, KEYS + 1), 0), axis=1)
    voices = max(LEAST_VOICES, int(np.sum(pianoroll, axis=1).max(initial=0)))
    return np.where(ranked > 0, ranked - 1, REST)[:, :voices].astype(np.int32)


def runs(voice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximal runs of one pitch in a voice, rests included: pitches and lengths in frames, int `(runs,)` each.

    A repeated note goes on in the same run.
    """
    starts = np.flatnonzero(np.diff(voice, prepend=-1) != 0)
    return voice[starts], np.diff(starts, append=len(voice))


def intervals_of(pitches: np.ndarray) -> np.ndarray:
    """Semitones between the `runs` of a voice that follow each other without a rest: int `(intervals,)`."""
    sounding = pitches != REST
    return np.diff(pitches)[sounding[1:] & sounding[:-1]]


def melody(parts: Parts, voice: int) -> np.ndarray:
    """The pitches of a voice one after the other, without rests and lengths: int `(notes,)`.

    A repeated note counts once. After a rest a labelled voice begins anew, with the same pitch maybe. By rank there is
    no such rest: a voice that is missing is one note less.
    """
    column = parts.voices[:, voice]
    if not parts.labelled:
        column = column[column != REST]
    pitches, _ = runs(column)
    return pitches[pitches != REST]
