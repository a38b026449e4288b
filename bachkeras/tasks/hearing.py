"""Hearing: a user's score as a model reads it, and what the model adds as notes of that score."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from bachkeras.data.pipeline import timestep_index
from bachkeras.models.base import FrameModel
from bachkeras.music import bars, keys, reading, timesteps, voices
from bachkeras.music.pianoroll import KEYS, LOWEST
from bachkeras.music.score import Key, Score
from bachkeras.training import directory, samples, settings

LATE = 4
"""A note is heard in a frame if it begins no later than this part of it: played notes are late at times."""


def player(model: str | os.PathLike | FrameModel, completes: bool = False) -> FrameModel:
    """A model that knows the card of its run.

    Args:
        model: a preset's name, a run directory, or what `bachkeras.load` made of one.
        completes: whether it has to write some voices around others.

    Raises:
        ValueError: if it is neither, or cannot.
    """
    performer = directory.load(model) if isinstance(model, str | os.PathLike) else model
    if not hasattr(performer, "card"):
        raise ValueError(
            f"Give a preset, a run directory, or a model that bachkeras.load has loaded. Received: model={model}"
        )
    if completes and not (performer.can_complete and performer.frame.labelled):
        raise ValueError(
            "This needs a model of labelled voices that looks ahead, such as lstm-attention's configurations default "
            f"and chorales. Received: model={performer.card['model']!r} on {performer.card['data']['name']!r}"
        )
    return performer


def seed(number: int | None) -> int:
    """The seed, or a new one.

    Raises:
        ValueError: if it is out of its range.
    """
    if number is None:
        return secrets.randbits(31)
    if not 0 <= number < 2**31:
        raise ValueError(f"A seed is 0 to 2^31 - 1. Received: seed={number}")
    return number


def score(piece: str | os.PathLike | Score) -> Score:
    """A user's score, read where it is a file.

    Raises:
        ValueError: if it cannot be read, or holds no notes.
    """
    read = piece if isinstance(piece, Score) else reading.read(piece)
    if not len(read.notes):
        raise ValueError("There are no notes (drums do not count). Received: a score without any")
    return read


def key(name: str | None, piece: Score, card: Mapping[str, Any], *, ends: bool = True) -> Key | None:
    """The key that a model is told of a score.

    Args:
        name: such as "D minor"; None: the one that `keys.find` finds.
        piece: the score.
        card: config.json of the model's run.
        ends: whether the score is a whole piece.

    Returns:
        None if nobody named it and the model knows no such key.

    Raises:
        ValueError: if the name is none, or the model was trained in no such key.
    """
    told = keys.find(piece, ends=ends) if name is None else Key(0, *settings.parse_key(name))
    if name is None and not settings.knows(card, (told.tonic, told.mode)):
        return None
    settings.in_key(settings.known(card)[0][0], (told.tonic, told.mode), card)
    return told


def signatures(name: str | None, piece: Score, told: Key | None) -> tuple[Key, ...]:
    """The keys that are written: the one that was named, else the score's own, else the one that was found."""
    return piece.keys if told is None or (name is None and piece.keys) else (told,)


def check_count(count: int) -> None:
    """Raises ValueError if there is no piece to write."""
    if count < 1:
        raise ValueError(f"There is at least one piece to write. Received: count={count}")


def complete(
    performer: FrameModel,
    given: np.ndarray,
    onsets: np.ndarray,
    *,
    count: int,
    seed: int,
    **arguments,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """What the model writes around given events, `count` times, one after another: each takes all the memory it gets.

    A voice keeps to the notes that it sings in the corpus, where it is free.

    Args:
        performer: a `player`.
        given: `(time, voices)`, see `FrameModel.complete`; so are `onsets` and the other arguments.
        onsets: see `given`.
        count: at least 1.
        seed: of all of them.
        **arguments: see `given`.

    Yields:
        Events and onsets `(time, voices)`; None for onsets that are not modelled.
    """
    check_count(count)
    random = np.random.default_rng(seed)
    for _ in range(count):
        number = int(random.integers(2**31))
        music = performer.complete(
            given[None],
            given_onsets=onsets[None],
            allowed=samples.allowed(performer, performer.card),
            seed=number,
            **arguments,
        )
        yield music["events"][0], music["onsets"][0] if "onsets" in music else None


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The frames of a model over a user's score: frame t begins `t * step` ticks after the score does.

    Attributes:
        score: the user's, with as many ticks to a quarter as make a timestep whole ticks.
        card: the config.json of the model's run.
        timestep: length of a frame in quarter lengths.
        begin: the frame in which the first note begins.
        end: the frame after the last note's last one.
    """

    score: Score
    card: Mapping[str, Any]
    timestep: Fraction
    begin: int
    end: int

    @classmethod
    def over(cls, score: Score, card: Mapping[str, Any]) -> Grid:
        """The grid of a timestep that the model knows, the nearest to the score's most common note duration."""
        known = sorted({setting.timestep for setting, _ in settings.known(card)})
        timestep = known[0]
        if len(known) > 1:
            common = timesteps.most_common(score)
            timestep = min(known, key=lambda step: max(step / common, common / step))
        score = score.finer((timestep * score.ticks_per_quarter).denominator)
        first, stop = _frames(score.notes, int(timestep * score.ticks_per_quarter))
        begin = int(first.min())
        return cls(score, card, timestep, begin, max(int(stop.max()), begin + 1))

    @property
    def step(self) -> int:
        """Ticks of a frame."""
        return int(self.timestep * self.score.ticks_per_quarter)

    @property
    def shift(self) -> int:
        """Semitones from where the model reads and writes notes to where they sound."""
        return self.card["sounding_shift"]

    def columns(self, notes: np.ndarray, voice: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Notes as labelled voices from `begin` to `end`, int32 and bool `(time, count)`: events and onsets.

        A note that begins while another one of its voice sounds ends it. What is not on the 88 keys is left out.

        Args:
            notes: dtype `NOTE`, sorted by start.
            voice: int `(notes,)`, -1: leave the note out.
            count: number of voices.
        """
        key = notes["pitch"] - self.shift - LOWEST
        first, stop = _frames(notes, self.step)
        events = np.full((self.end, count), voices.REST, np.int32)
        onsets = np.zeros(events.shape, bool)
        for i in np.flatnonzero((voice >= 0) & (first < stop) & (key >= 0) & (key < KEYS)):
            events[first[i] :, voice[i]] = voices.REST
            events[first[i] : stop[i], voice[i]] = key[i]
            onsets[first[i], voice[i]] = True
        return events[self.begin :], onsets[self.begin :]

    def notes(self, events: np.ndarray, onsets: np.ndarray | None, first: int) -> np.ndarray:
        """The inverse of `columns` for frames from `first` on, dtype `NOTE`; the part of each is its voice."""
        notes = voices.to_notes(events, onsets, self.step)
        notes["pitch"] += self.shift
        notes["start"] += first * self.step
        notes["end"] += first * self.step
        return notes

    def conditions(self, key: Key | None, stop: int) -> dict[str, Any]:
        """What the model is told of the frames from `begin` to `stop`, see `FrameModel.generate`.

        Args:
            key: as it sounds; None: unknown.
            stop: exclusive; after the score's end its bars go on.

        Raises:
            ValueError: if the model was trained in no such key.
        """
        told = {
            "timestep": timestep_index(self.timestep),
            "position": bars.positions(self.score, self.timestep, stop)[self.begin :],
        }
        if key is not None:
            known = settings.in_key(settings.known(self.card)[0][0], (key.tonic, key.mode), self.card)
            told |= {"tonic": known.tonic, "mode": known.mode}
        return told


def _frames(notes: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames in which notes sound, int64 `(notes,)` each: the first, and the one after the last."""
    late = step // LATE
    first, stop = (-(-np.maximum(notes[name] - late, 0) // step) for name in ("start", "end"))
    return first, stop


def home(piece: Score, voice: np.ndarray, columns: int, new: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The part of each new note, that in which its voice has most of its notes, and the names of all parts.

    A voice that had no notes, and no part of its name, gets a part of its own.

    Args:
        piece: the score.
        voice: of each of its notes, -1 none.
        columns: number of voices.
        new: the voice of each new note.
    """
    parts, found = piece.parts, np.zeros(columns, int)
    for k in np.unique(new).tolist():
        if (voice == k).any():
            found[k] = np.bincount(piece.notes["part"][voice == k]).argmax()
            continue
        name = voices.names(columns)[k]
        if name not in parts:
            parts = (*parts, name)
        found[k] = parts.index(name)
    return found[new], parts
