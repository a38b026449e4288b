"""A pianoroll: which of the 88 keys sound in each timestep, and the way from a score to it and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bachkeras.music import timesteps
from bachkeras.music.score import NOTE, TICKS_PER_QUARTER, Key, Meter, Score, Tempo

LOWEST = 21
"""The MIDI pitch of pitch index 0: A0, the lowest key of a piano."""

KEYS = 88
"""Pitch indices 0..87 are MIDI 21..108, A0..C8 inclusive."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pianoroll:
    """What sounds in each timestep.

    Attributes:
        frames: bool `(time, 88)`, true where a key sounds; column 0 is MIDI pitch 21.
        timestep: length of a frame in quarter lengths.
        onsets: bool `(time, 88)`, true where a note begins; None where not known. A key that sounds in a frame and not
            in the one before begins there, whether or not the given array says so: that is filled in.

    Raises:
        ValueError: on another shape or dtype, an onset where nothing sounds, or a timestep that is not positive.
    """

    frames: np.ndarray
    timestep: Fraction
    onsets: np.ndarray | None = None

    def __post_init__(self):
        frames = _bool_array("frames", self.frames)
        if frames.ndim != 2 or frames.shape[1] != KEYS:
            raise ValueError(f"Frames must have the shape (time, {KEYS}). Received: frames.shape={frames.shape}")
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "timestep", positive(self.timestep))
        if self.onsets is not None:
            onsets = _bool_array("onsets", self.onsets)
            if onsets.shape != frames.shape:
                raise ValueError(f"Onsets must have the shape of frames, {frames.shape}. Received: {onsets.shape=}")
            if (onsets & ~frames).any():
                time, key = np.argwhere(onsets & ~frames)[0].tolist()
                raise ValueError(f"A note can only begin where its key sounds. Received: an onset at {time=}, {key=}")
            object.__setattr__(self, "onsets", onsets | run_starts(frames))

    def take(self, kept: np.ndarray) -> Pianoroll:
        """The frames where `kept`, bool `(time,)`, is true, with their onsets; a held note goes on over a cut."""
        kept = _bool_array("kept", kept)
        if kept.shape != self.frames.shape[:1]:
            raise ValueError(f"The mask needs a value a frame, {len(self.frames)}. Received: {kept.shape=}")
        onsets = None if self.onsets is None else self.onsets[kept]
        return Pianoroll(self.frames[kept], self.timestep, onsets)


class Losses(NamedTuple):
    """What a grid loses of a score: of `notes` all but `outside`, `vanished` and `merged` remain, `moved` of them late.

    Attributes:
        notes: all notes of the score.
        outside: those whose pitch is none of the 88 keys.
        vanished: those inside that start and end between two neighbouring grid points.
        merged: those that begin on the same key in the same frame as another one.
        moved: those that remain and start off the grid, so that they begin at the next grid point.
    """

    notes: int
    outside: int
    vanished: int
    merged: int
    moved: int


def frame_ranges(score: Score, timestep: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """The frames in which each note sounds: frame t is sampled at its beginning, so those with start <= t·step < end.

    Args:
        score: `n` notes.
        timestep: length of a frame in quarter lengths.

    Returns:
        `(first, stop)`, int64 `(n,)`: note i sounds in the frames first[i]..stop[i] - 1, none where they are equal.
    """
    step = positive(timestep) * score.ticks_per_quarter
    return _ceil_divide(score.notes["start"], step), _ceil_divide(score.notes["end"], step)


def frame_count(score: Score, timestep: Fraction) -> int:
    """The number of frames that hold a whole score, silence at its end included."""
    return math.ceil(score.end / (positive(timestep) * score.ticks_per_quarter))


def on_keys(score: Score) -> np.ndarray:
    """Which notes, bool `(notes,)`, have a pitch among the 88 keys."""
    return (score.notes["pitch"] >= LOWEST) & (score.notes["pitch"] < LOWEST + KEYS)


def from_score(score: Score, timestep: Fraction | None = None) -> Pianoroll:
    """Samples a score at the beginning of every timestep.

    What is lost, counted by `losses`: a note that starts and ends between two grid points vanishes; starts and ends off
    the grid move to the next grid point; equal pitches that begin together merge, and one that begins while another
    sounds ends it; pitches outside the 88 keys are left out. Parts, metre, key, tempo, upbeat and title are not kept.

    Args:
        score: any score.
        timestep: length of a frame in quarter lengths; None = `timesteps.most_common(score)`.

    Returns:
        A pianoroll with onsets, as long as the score, rounded up to whole frames.

    Raises:
        ValueError: if `timestep` is None and the score has no notes, or it is not positive.
    """
    step = timesteps.most_common(score) if timestep is None else positive(timestep)
    first, stop = frame_ranges(score, step)
    kept = on_keys(score) & (first < stop)
    first, stop, key = first[kept], stop[kept], score.notes["pitch"][kept] - LOWEST
    # Each note adds one at its first frame and takes it away after its last: what sounds is the running sum.
    sounding = np.zeros((frame_count(score, step) + 1, KEYS), np.int32)
    np.add.at(sounding, (first, key), 1)
    np.add.at(sounding, (stop, key), -1)
    onsets = np.zeros((len(sounding) - 1, KEYS), bool)
    onsets[first, key] = True
    np.cumsum(sounding, axis=0, out=sounding)
    return Pianoroll(sounding[:-1] > 0, step, onsets)


def losses(score: Score, timestep: Fraction) -> Losses:
    """Counts what `from_score` loses on this grid."""
    first, stop = frame_ranges(score, timestep)
    inside = on_keys(score)
    kept = inside & (first < stop)
    step = positive(timestep) * score.ticks_per_quarter
    begun = np.unique(first[kept] * KEYS + score.notes["pitch"][kept] - LOWEST)
    return Losses(
        notes=len(first),
        outside=int(np.sum(~inside)),
        vanished=int(np.sum(inside & (first == stop))),
        merged=int(np.sum(kept)) - len(begun),
        moved=int(np.sum(score.notes["start"][kept] * step.denominator % step.numerator != 0)),
    )


def to_score(
    pianoroll: Pianoroll,
    *,
    part: str = "",
    tempo: float | None = None,
    meters: Sequence[Meter] = (),
    keys: Sequence[Key] = (),
    upbeat: int = 0,
    title: str = "",
) -> Score:
    """The inverse of `from_score`: all notes in one part, as a rank among the notes of a frame is no voice.

    A key that sounds in frames on end is one held note, unless `onsets` says that it is struck again.
    `from_score(to_score(p), p.timestep)` has the frames of p, and its onsets where p has them.

    Args:
        pianoroll: `time` frames; the score is as long, silence included.
        part: name of the part.
        tempo: quarters per minute; None = unknown.
        meters: time signatures, `keys`: keys, `upbeat`: length of the upbeat; in ticks of the score, which are 480 a
            quarter for all `timesteps.TIMESTEPS` and their least common multiple with the denominator for others.
        keys: see `meters`.
        upbeat: see `meters`.
        title: title of the piece.
    """
    begins = run_starts(pianoroll.frames) if pianoroll.onsets is None else pianoroll.onsets
    key, first, stop = runs(pianoroll.frames, begins)
    step, ticks_per_quarter = ticks(pianoroll.timestep)
    notes = np.zeros(len(key), NOTE)
    notes["start"], notes["end"], notes["pitch"] = first * step, stop * step, key + LOWEST
    return Score(
        notes,
        ticks_per_quarter,
        end=len(pianoroll.frames) * step,
        parts=(part,),
        meters=tuple(meters),
        keys=tuple(keys),
        tempos=() if tempo is None else (Tempo(0, tempo),),
        upbeat=upbeat,
        title=title,
    )


def ticks(timestep: Fraction) -> tuple[int, int]:
    """Ticks of a timestep and of a quarter, 480 or a multiple of it, in a score where the timestep is whole ticks."""
    ticks_per_quarter = math.lcm(TICKS_PER_QUARTER, timestep.denominator)
    return int(timestep * ticks_per_quarter), ticks_per_quarter


def run_starts(sounding: np.ndarray) -> np.ndarray:
    """Where bool `(time, columns)` is true and was false a frame before, or at the beginning."""
    starts = sounding.copy()
    starts[1:] &= ~sounding[:-1]
    return starts


def runs(sounding: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The notes of a grid: each begins where `begins` says and sounds until the next one of its column or a silence.

    Args:
        sounding: bool `(time, columns)`.
        begins: bool `(time, columns)`, true at least where a run of `sounding` starts, and nowhere outside it.

    Returns:
        `(column, first, stop)`, int64 `(notes,)`, `stop` exclusive, sorted by column and time.
    """
    ends = sounding.copy()
    ends[:-1] &= ~sounding[1:] | begins[1:]
    column, first = np.nonzero(begins.T)
    _, last = np.nonzero(ends.T)
    return column, first, last + 1


def kept_frames(pianoroll: Pianoroll, *, max_silence: int = 16, max_repeat: int = 16) -> np.ndarray:
    """Cleaning: which frames stay when long pauses and long repetitions are cut; `pianoroll.take` then applies it.

    Silence before the first and after the last note goes. Of a run of empty frames the first `max_silence` stay, of a
    run of one identical frame the first `max_repeat`. Frames are identical where the same keys sound, whether held or
    struck again, so both a long held chord and long repeated notes become short.

    Args:
        pianoroll: `time` frames.
        max_silence: in frames, at least 1 (so that cutting never joins two equal notes).
        max_repeat: in frames, at least 1.

    Returns:
        bool `(time,)`; all false where nothing sounds.

    Raises:
        ValueError: if a limit is below 1.
    """
    if max_silence < 1 or max_repeat < 1:
        raise ValueError(f"A limit in frames must be at least 1. Received: {max_silence=}, {max_repeat=}")
    frames = pianoroll.frames
    time = np.arange(len(frames))
    sounds = frames.any(axis=1)
    new = np.ones(len(frames), bool)
    new[1:] = (frames[1:] != frames[:-1]).any(axis=1)
    age = time - np.maximum.accumulate(np.where(new, time, 0))
    after_first = np.logical_or.accumulate(sounds)
    before_last = np.logical_or.accumulate(sounds[::-1])[::-1]
    return (age < np.where(sounds, max_repeat, max_silence)) & after_first & before_last


def transpose(pianoroll: Pianoroll, semitones: int) -> Pianoroll:
    """The same music `semitones` higher.

    Raises:
        ValueError: if a note would leave the 88 keys; nothing is ever clipped.
    """
    used = np.flatnonzero(pianoroll.frames.any(axis=0))
    if used.size and not 0 <= used[0] + semitones <= used[-1] + semitones < KEYS:
        low, high = used[[0, -1]].tolist()
        raise ValueError(f"A note would leave the {KEYS} keys. Received: {semitones=} for pitch indices {low}..{high}")
    onsets = None if pianoroll.onsets is None else np.roll(pianoroll.onsets, semitones, axis=1)
    return Pianoroll(np.roll(pianoroll.frames, semitones, axis=1), pianoroll.timestep, onsets)


def positive(timestep: Fraction) -> Fraction:
    """The timestep as a `Fraction` of a quarter.

    Raises:
        ValueError: if it is no positive `Fraction` or int (a float such as .333 is no exact grid).
    """
    if not isinstance(timestep, int | Fraction) or timestep <= 0:
        raise ValueError(f"A timestep must be a positive Fraction of a quarter. Received: {timestep=}")
    return Fraction(timestep)


def _bool_array(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype != bool:
        raise ValueError(
            f"{name.capitalize()} must be bool; compare with a threshold. Received: {name}.dtype={array.dtype}"
        )
    return array


def _ceil_divide(numbers: np.ndarray, step: Fraction) -> np.ndarray:
    """Integers divided by a positive fraction and rounded up, exactly."""
    return -(-numbers * step.denominator // step.numerator)
