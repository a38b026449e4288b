"""Melody: the one line of a score that others are to be written to, as a score of one part."""

from __future__ import annotations

import dataclasses

import numpy as np

from bachkeras.music.pianoroll import KEYS, LOWEST, on_keys
from bachkeras.music.score import Score
from bachkeras.music.voices import SATB

TOP = "top"
"""The voice that is the highest notes of all parts."""


def of(score: Score, voice: str | int | None = None) -> Score:
    """The melody of a score.

    A line is one note at a time. Two notes of which one begins while the other sounds are still a line if they overlap
    by less than half of the shorter one, as legato that is played; if by half of it or more, they are a chord.

    Args:
        score: any score.
        voice: None = all notes, which must be a line; `TOP` = the notes that begin under no higher one; or a part, by
            its name (in any case of letters) or its number from 1, which must be a line.

    Returns:
        The score with one part, 'Soprano', whose notes are those of the melody, exactly; no two begin together, but one
        may sound on when the next begins. Notes of no length are left out. All else is that of the score.

    Raises:
        ValueError: if there are no notes, the voice is unknown or no line, or a note is outside the 88 keys.
    """
    notes = score.notes[score.notes["start"] < score.notes["end"]]
    part = None if voice is None or str(voice).casefold() == TOP else _part(score, voice)
    if part is not None:
        notes = notes[notes["part"] == part]
    if not len(notes):
        raise ValueError(
            f"There are no notes to take a melody from. Received: parts={score.parts}, melody_voice={voice!r}"
        )
    if voice is not None and part is None:
        notes = _highest(notes)
    elif _chords(notes[:-1], notes[1:]).any():
        # Of any two notes that are a chord, two that begin one after the other are: neighbours are all to look at.
        problem = "The melody has chords or several parts" if part is None else f"Part {part + 1} has chords"
        raise ValueError(f"{problem}: {_choices(score)}. Received: melody_voice={voice!r}")
    notes["part"] = 0
    melody = dataclasses.replace(score, notes=notes, parts=SATB[:1])
    if not (inside := on_keys(melody)).all():
        pitch, tick = melody.notes[~inside][0][["pitch", "start"]].tolist()
        allowed = f"{LOWEST}..{LOWEST + KEYS - 1}"
        raise ValueError(f"A melody is in MIDI pitches {allowed}: transpose it. Received: {pitch=} at {tick=}")
    return melody


def _part(score: Score, voice: str | int) -> int:
    """The index of a part by its name or its number from 1."""
    wanted = str(voice).strip().casefold()
    named = [index for index, name in enumerate(score.parts) if name.strip().casefold() == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        raise ValueError(f"Several parts have this name: {_choices(score)}. Received: melody_voice={voice!r}")
    numbers = [str(index + 1) for index in range(len(score.parts))]
    if wanted not in numbers:
        raise ValueError(f"There is no such part: {_choices(score)}. Received: melody_voice={voice!r}")
    return numbers.index(wanted)


def _choices(score: Score) -> str:
    """What to choose from: the parts that have notes, with their numbers."""
    parts = ", ".join(f"{part + 1} {score.parts[part]!r}" for part in np.unique(score.notes["part"]).tolist())
    return f'choose "{TOP}" (the highest notes) or a part: {parts}'


def _chords(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether notes and others that begin no earlier overlap by half of the shorter one or more."""
    overlap = np.minimum(first["end"], second["end"]) - second["start"]
    shorter = np.minimum(first["end"] - first["start"], second["end"] - second["start"])
    return 2 * overlap >= shorter


def _highest(notes: np.ndarray) -> np.ndarray:
    """The notes that make no chord with a higher one that begins no later; of a unison the longest."""
    begun = np.searchsorted(notes["start"], notes["start"], side="right").tolist()
    kept = np.ones(len(notes), bool)
    for index, note in enumerate(notes):
        others = notes[: begun[index]]
        kept[index] = not _chords(others[others["pitch"] > note["pitch"]], note).any()
    notes = notes[kept]
    notes = notes[np.lexsort((-notes["end"], notes["start"]))]
    return notes[np.unique(notes["start"], return_index=True)[1]]
