"""Interpolating: pieces on the way from one to another."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import numpy as np

from bachkeras._presets import INTERPOLATING
from bachkeras.data.pipeline import UNKNOWN, Corpus, timestep_index
from bachkeras.models.base import FrameModel
from bachkeras.music import separation, voices
from bachkeras.music.score import Key, Score
from bachkeras.tasks import hearing
from bachkeras.tasks.hearing import Grid
from bachkeras.training import samples

STEPS = 8


def interpolate(
    a: str | os.PathLike | Score,
    b: str | os.PathLike | Score,
    model: str | os.PathLike | FrameModel = INTERPOLATING,
    *,
    steps: int = STEPS,
    key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> list[Score]:
    """Let a latent model write what lies between two pieces.

    Each piece is heard window by window, as far as both go. Between their latents, window by window, the way is a great
    circle, and of each point on it the model writes a piece; the first and the last are the two as it has understood
    them. All are written with the same random draws, in the same key: only the latents differ.

    Args:
        a: a score, or a file: MIDI, MusicXML or ABC.
        b: another one.
        model: a preset's name, a run directory of a VAE, or what `bachkeras.load` made of one.
        steps: pieces to write, both ends included, at least 2.
        key: in which they are written, such as "D minor"; None: the key of `a`.
        temperature: see `compose`.
        top_p: see `compose`.
        seed: see `compose`.

    Raises:
        ValueError: if the model has no latents to interpolate, or an argument is out of its range.
    """
    scores = [hearing.score(piece) for piece in (a, b)]
    performer = hearing.player(model)
    if not hasattr(performer, "interpolate"):
        raise ValueError(f"This needs a VAE, such as lstm-vae. Received: model={performer.card['model']!r}")
    told = [hearing.key(None, piece, performer.card) for piece in scores]
    named = None if key is None else hearing.key(key, scores[0], performer.card)
    heard = [_piece(piece, performer, k) for piece, k in zip(scores, told, strict=True)]
    z = [latents(performer, piece) for piece in heard]
    windows = min(len(own) for own in z)
    way = performer.interpolate(*(own[:windows] for own in z), steps)
    like = heard[0] if named is None else _piece(scores[0], performer, named)
    options = {"temperature": temperature, "top_p": top_p, "seed": hearing.seed(seed)}
    options["allowed"] = samples.allowed(performer, performer.card)
    frame, shift = performer.frame, performer.card["sounding_shift"]
    pieces = [write(performer, point, like, **options) for point in way]
    if named is not None:
        pieces = [piece | {"mode": named.mode} for piece in pieces]  # On paper also where the model knows no modes.
    return [samples.score(piece, frame.labelled, shift, f"{i:03}") for i, piece in enumerate(pieces, 1)]


def latents(performer: FrameModel, piece: dict[str, Any]) -> np.ndarray:
    """The means of the posteriors of a piece's windows, float32 `(windows, latent)`.

    Args:
        performer: a VAE.
        piece: as a corpus has it.
    """
    batches = Corpus([piece]).windows(performer.window, shuffle=False).batch(64)
    return np.concatenate([performer.posterior(batch)[0] for batch in batches])


def write(performer: FrameModel, z: np.ndarray, like: dict[str, Any], **options) -> dict[str, Any]:
    """The piece that a VAE writes for latents `(windows, latent)`, as a corpus has it.

    Args:
        performer: a VAE.
        z: latents.
        like: a piece whose conditions are told; its bars go on.
        **options: see `LSTMVAE.decode`.
    """
    length = len(z) * performer.window
    bar, first = int(like["frames_per_bar"]), int(like["position"][0])
    known = {name: like[name] for name in ("timestep", "frames_per_bar")}
    known |= {name: like.get(name, UNKNOWN[name]) for name in ("tonic", "mode")}
    known["position"] = (first + np.arange(length)) % bar if bar and first >= 0 else np.full(length, -1)
    told = {name: known[name] for name in ("tonic", "mode", "position")}
    told["timestep"] = timestep_index(known["timestep"])
    music = performer.decode(z[None], length, conditions=told, **options)
    return {name: array[0] for name, array in samples.as_in_a_corpus(performer.frame, music).items()} | known


def _piece(score: Score, performer: FrameModel, told: Key | None) -> dict[str, Any]:
    """A user's score as a corpus has pieces, from its first note on; nothing of a bar before that is known."""
    grid = Grid.over(score, performer.card)
    voice = separation.separate(grid.score, performer.frame.voices)
    events, onsets = grid.columns(grid.score.notes, voice, performer.frame.voices)
    meters = grid.score.meters
    bar = meters[0].quarters / grid.timestep if meters else Fraction(0)
    return {
        "pianoroll": voices.to_frames(events),
        "onsets": voices.to_frames(np.where(onsets, events, voices.REST)),
        "voices": events,
        "voice_onsets": onsets,
        **grid.conditions(told, grid.end),
        "timestep": (grid.timestep.numerator, grid.timestep.denominator),
        "frames_per_bar": int(bar) if bar.denominator == 1 else 0,
    }
