"""Voices: a column of pitches for each part of a score, sampled on the grid of its pianoroll."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from bachkeras.music.pianoroll import KEYS, LOWEST, frame_count, frame_ranges, on_keys, positive, runs, ticks
from bachkeras.music.score import NOTE, Key, Meter, Score, Tempo

REST = KEYS
"""The value of a voice that is silent; 0..87 are pitch indices."""

SATB = ("Soprano", "Alto", "Tenor", "Bass")


def names(count: int) -> tuple[str, ...]:
    """What so many voices are called: `SATB`, or by number where they are not four."""
    return SATB if count == len(SATB) else tuple(f"Voice {k + 1}" for k in range(count))


def from_score(score: Score, timestep: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Samples each part of a score at the beginning of every timestep, as `pianoroll.from_score` does.

    What is lost is lost there too, but parts, unisons and crossings are kept.

    Args:
        score: at most one note at a time in each of its `V` parts.
        timestep: length of a frame in quarter lengths.

    Returns:
        `(voices, onsets)`: int32 `(time, V)`, pitch index 0..87 or 88 = rest, and bool `(time, V)`, true where a note
        begins.

    Raises:
        ValueError: if two notes of a part sound in one frame, or the timestep is not positive.
    """
    first, stop = frame_ranges(score, timestep)
    kept = on_keys(score) & (first < stop)
    notes, first, stop = score.notes[kept], first[kept], stop[kept]
    part, pitch = notes["part"], notes["pitch"] - LOWEST
    voices = np.full((frame_count(score, timestep), len(score.parts)), REST, np.int32)
    onsets = np.zeros(voices.shape, bool)
    for begin, end, voice, key in zip(first.tolist(), stop.tolist(), part.tolist(), pitch.tolist(), strict=True):
        if (voices[begin:end, voice] != REST).any():
            name = score.parts[voice]
            raise ValueError(f"A voice has one note at a time. Received: two in frame {begin} of part {voice} {name!r}")
        voices[begin:end, voice] = key
        onsets[begin, voice] = True
    return voices, onsets


def to_score(
    voices: np.ndarray,
    onsets: np.ndarray | None,
    timestep: Fraction,
    parts: Sequence[str] = SATB,
    *,
    tempo: float | None = None,
    meters: Sequence[Meter] = (),
    keys: Sequence[Key] = (),
    upbeat: int = 0,
    title: str = "",
) -> Score:
    """The inverse of `from_score`: a part for each column.

    Equal pitches on end are one held note, unless `onsets` says that it is struck again. A pitch other than the one
    before is struck, whether or not `onsets` says so.

    Args:
        voices: integers `(time, V)`, pitch index 0..87 or 88 = rest.
        onsets: bool `(time, V)`, true where a note begins; None = not known.
        timestep: length of a frame in quarter lengths.
        parts: `V` names.
        tempo: quarters per minute; None = unknown.
        meters: time signatures in ticks of the score, see `pianoroll.to_score`; so are `keys` and `upbeat`.
        keys: keys.
        upbeat: length of the upbeat.
        title: title of the piece.

    Raises:
        ValueError: on another shape, a value outside 0..88, an onset in a rest, or a timestep that is not positive.
    """
    voices = np.asarray(voices)
    _check(voices, onsets, parts)
    step, ticks_per_quarter = ticks(positive(timestep))
    notes = to_notes(voices, onsets, step)
    return Score(
        notes,
        ticks_per_quarter,
        end=len(voices) * step,
        parts=tuple(parts),
        meters=tuple(meters),
        keys=tuple(keys),
        tempos=() if tempo is None else (Tempo(0, tempo),),
        upbeat=upbeat,
        title=title,
    )


def to_notes(voices: np.ndarray, onsets: np.ndarray | None, step: int) -> np.ndarray:
    """The notes of `to_score`, dtype `NOTE`, for frames of `step` ticks; the part of each is its column."""
    sounding = voices != REST
    begins = sounding.copy()
    begins[1:] &= voices[1:] != voices[:-1]
    if onsets is not None:
        begins |= onsets
    part, first, stop = runs(sounding, begins)
    notes = np.zeros(len(part), NOTE)
    notes["start"], notes["end"] = first * step, stop * step
    notes["pitch"], notes["part"] = voices[first, part] + LOWEST, part
    return notes


def to_frames(voices: np.ndarray) -> np.ndarray:
    """What sounds in each frame: integers `(time, V)`, 88 = rest, to the frames of a pianoroll, bool `(time, 88)`."""
    frames = np.zeros((len(voices), KEYS + 1), bool)
    np.put_along_axis(frames, voices, True, axis=1)  # A rest is the last column.
    return frames[:, :KEYS]


def _check(voices: np.ndarray, onsets: np.ndarray | None, parts: Sequence[str]) -> None:
    if voices.ndim != 2 or not np.issubdtype(voices.dtype, np.integer):
        raise ValueError(f"Voices must be integers (time, parts). Received: {voices.shape=}, {voices.dtype=}")
    if voices.shape[1] != len(parts):
        raise ValueError(f"Each voice needs a part's name. Received: {voices.shape=}, {parts=}")
    if voices.size and not 0 <= voices.min() <= voices.max() <= REST:
        raise ValueError(f"A voice holds 0..{REST}. Received: values {voices.min()}..{voices.max()}")
    if onsets is None:
        return
    if onsets.shape != voices.shape or onsets.dtype != bool:
        raise ValueError(f"Onsets must be bool {voices.shape}. Received: {onsets.shape=}, {onsets.dtype=}")
    if (onsets & (voices == REST)).any():
        time, voice = np.argwhere(onsets & (voices == REST))[0].tolist()
        raise ValueError(f"A note cannot begin in a rest. Received: an onset at {time=}, {voice=}")
