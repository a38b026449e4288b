"""Harmonising: new lower voices to a melody."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from bachkeras._presets import COMPOSING
from bachkeras.layers.frame.base import FREE
from bachkeras.models.base import FrameModel
from bachkeras.music import melody as melodies
from bachkeras.music import voices
from bachkeras.music.pianoroll import KEYS, LOWEST
from bachkeras.music.score import NOTE, Score
from bachkeras.tasks import hearing
from bachkeras.tasks.hearing import Grid

PARTICLES = 64
"""What measured best within five seconds a chorale."""

SOPRANO = 60, 81
"""MIDI pitches between which Bach's sopranos sing."""

OCTAVE = 12


def harmonize(
    melody: str | os.PathLike | Score,
    model: str | os.PathLike | FrameModel = COMPOSING,
    *,
    count: int = 1,
    melody_voice: str | int | None = None,
    key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    particles: int = PARTICLES,
    seed: int | None = None,
) -> list[Score]:
    """Let a model write the lower voices to a melody.

    The melody's notes are the user's own, to the tick, in a part of their own. The model looks ahead to all of them
    (`FrameModel.complete`), to the end of the piece too. It hears a melody that is too high or too low for a soprano
    some octaves away; under a low one the new voices move down with it.

    Args:
        melody: a score, or a file: MIDI, MusicXML or ABC.
        model: a preset's name, a run directory, or what `bachkeras.load` made of one; it writes labelled voices.
        count: number of harmonisations.
        melody_voice: which notes of the score are the melody, see `melody.of`.
        key: such as "D minor"; None: `keys.find` finds it.
        temperature: see `compose`.
        top_p: see `compose`.
        particles: the more, the further the model looks ahead, and the longer it takes.
        seed: see `compose`.

    Raises:
        ValueError: if there is no melody to be found, the model cannot, or an argument is out of its range.
    """
    tune = melodies.of(hearing.score(melody), melody_voice)
    performer = hearing.player(model, completes=True)
    told = hearing.key(key, tune, performer.card)
    octaves = _octaves(tune.notes, performer.card["sounding_shift"])
    tune = dataclasses.replace(tune, keys=hearing.signatures(key, tune, told))
    grid = Grid.over(tune.transpose(OCTAVE * octaves), performer.card)
    given, onsets = _given(grid, performer.frame.voices)
    music = hearing.complete(
        performer,
        given,
        onsets,
        ends=True,
        conditions=grid.conditions(told, grid.end),
        count=count,
        particles=particles,
        temperature=temperature,
        top_p=top_p,
        seed=hearing.seed(seed),
    )
    return [_score(grid, events, struck, octaves) for events, struck in music]


def _given(grid: Grid, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The melody as what is given, `(time, voices)`: events, all else free, and onsets.

    A breath of less than a quarter is not heard: the voices of the corpus hardly ever rest.
    """
    notes = grid.score.notes.copy()
    following = notes["start"][1:]
    breath = following - notes["end"][:-1]
    notes["end"][:-1] = np.where(breath < grid.score.ticks_per_quarter, following, notes["end"][:-1])
    events, onsets = grid.columns(notes, np.zeros(len(notes), int), count)
    events[:, 1:] = FREE
    return events, onsets


def _octaves(notes: np.ndarray, shift: int) -> int:
    """By how many octaves a melody is moved so that least of it is outside the keys, then a soprano's range."""
    low, high = SOPRANO
    length = notes["end"] - notes["start"]

    def outside(octaves):
        pitch = notes["pitch"] + OCTAVE * octaves
        unheard = int(np.sum((pitch - shift < LOWEST) | (pitch - shift >= LOWEST + KEYS)))
        return unheard, int((np.maximum(low - pitch, 0) + np.maximum(pitch - high, 0)) @ length), abs(octaves)

    return min(range(-9, 10), key=outside)


def _score(grid: Grid, events: np.ndarray, onsets: np.ndarray | None, octaves: int) -> Score:
    """The melody with the voices that the model wrote, back where the melody was."""
    tune = grid.score
    added = grid.notes(events, onsets, grid.begin)
    added = added[added["part"] > 0]
    added["end"] = np.minimum(added["end"], tune.notes["end"].max())  # The last frame may be longer than the melody.
    added = added[added["start"] < added["end"]]
    # Under a low melody the voices are low too, as far as there are keys; under a high one they stay singable.
    depth = max(int(added["pitch"].min(initial=127)) - LOWEST, 0) // OCTAVE
    added["pitch"] -= OCTAVE * min(max(octaves, 0), depth)
    notes = np.concatenate([tune.transpose(-OCTAVE * octaves).notes, added]).astype(NOTE)
    return dataclasses.replace(tune, notes=notes, parts=voices.names(events.shape[1]))
