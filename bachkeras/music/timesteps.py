"""The timestep of a piece: its most common note value; and whether it has one, or was played live."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from bachkeras.music.score import Score

TIMESTEPS = tuple(Fraction(value) for value in ("1/8", "1/6", "1/4", "1/3", "1/2", "2/3", "1", "4/3", "2", "4"))
"""Note values in quarter lengths that `most_common` chooses from: powers of two and triplets, never dotted."""

_PULSES = tuple(Fraction(value) for value in ("1/12", "1/8", "1/4", "1/3", "1/2"))
"""Distances in quarters, a multiple of one of which most onsets of written music lie apart."""

_PULSE = 0.4
"""The least share of a pulse in written music. Sequenced pieces of Bach have .9 and more, rubato under .1."""

SNAP = 0.02
"""A length within this share of a note value is that note value (sequencers write 119 ticks for 120)."""


def most_common(score: Score) -> Fraction:
    """The most common note value of a score, the timestep of its pianoroll.

    A note votes for its sounding length if that is a value of `TIMESTEPS` (within 2%). If it is not, as sequencers
    shorten notes, it votes for the time to the next onset in its part, if that is such a value and no shorter than what
    sounds. Other notes, dotted ones among them, do not vote. Of equally common values the shortest wins. Where no note
    votes, it is the value nearest in ratio to the median sounding length.

    Args:
        score: a score with at least one note.

    Returns:
        One of `TIMESTEPS`, in quarter lengths.

    Raises:
        ValueError: if the score has no notes.
    """
    notes = score.notes[score.notes["end"] > score.notes["start"]]
    if not len(notes):
        raise ValueError(f"A score without notes has no timestep; name one. Received: {len(notes)=}")
    notes = notes[np.lexsort((notes["start"], notes["part"]))]
    values = np.array([float(value) for value in TIMESTEPS])
    sounding = (notes["end"] - notes["start"]) / score.ticks_per_quarter
    gap = _gaps(notes) / score.ticks_per_quarter
    vote = _note_value(sounding, values)
    instead = np.where(gap >= sounding, _note_value(gap, values), -1)
    vote = np.where(vote >= 0, vote, instead)
    counts = np.bincount(vote[vote >= 0], minlength=len(values))
    if counts.any():
        return TIMESTEPS[int(counts.argmax())]
    return TIMESTEPS[int(np.abs(np.log(values / np.median(sounding))).argmin())]


def rounded(score: Score, ticks_per_quarter: int = 24) -> Score:
    """The same score with fewer ticks: all times at the nearest one, by default 1/24 of a quarter.

    What was recorded or humanised stands beside the grid, and a note that is a tick late would begin a frame late. All
    of `TIMESTEPS` are multiples of 1/24. No note becomes shorter than a tick.
    """
    now, then = score.ticks_per_quarter, ticks_per_quarter
    moved = score.retimed(lambda tick: (2 * tick * then + now) // (2 * now), then)
    notes = moved.notes.copy()
    notes["end"] = np.maximum(notes["end"], notes["start"] + 1)
    return dataclasses.replace(moved, notes=notes)


def is_performance(score: Score) -> bool:
    """Whether a score was played live, so that its ticks say nothing of its beats, rather than written or sequenced.

    It is if its onsets have no pulse: with t their times in quarters, |mean exp(2 pi i t / p)| (Rayleigh's statistic, 1
    for times a whole number of p apart, near 0 for any) is below .4 for all p of 1/12, 1/8, 1/4, 1/3 and 1/2.
    """
    if not len(score.notes):
        return False
    quarters = score.notes["start"] / score.ticks_per_quarter
    pulses = [abs(np.exp(2j * np.pi * quarters / float(period)).mean()) for period in _PULSES]
    return bool(max(pulses) < _PULSE)


def _note_value(lengths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The index in `values` (ascending) that each length is within `SNAP` of, or -1."""
    index = np.searchsorted(values * (1 - SNAP), lengths, side="right") - 1
    return np.where((index >= 0) & (lengths <= values[index] * (1 + SNAP)), index, -1)


def _gaps(notes: np.ndarray) -> np.ndarray:
    """Ticks from each note to the next later onset in its part, 0 where there is none; `notes` by part and start."""
    part, start = notes["part"], notes["start"]
    # The notes of a chord begin together: only its first one is the next onset of what came before.
    new = np.r_[True, (np.diff(part) != 0) | (np.diff(start) != 0)]
    chord = np.cumsum(new) - 1
    parts, starts = part[new], start[new]
    gaps = np.r_[np.where(np.diff(parts) == 0, np.diff(starts), 0), 0]
    return gaps[chord]
