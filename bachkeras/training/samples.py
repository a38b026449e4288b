"""Pieces that a model writes in settings of its corpus, as a corpus has them and as scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bachkeras.data.pipeline import timestep_index
from bachkeras.layers.frame.base import END
from bachkeras.music import pianoroll, voices
from bachkeras.music.pianoroll import Pianoroll
from bachkeras.music.score import UNKNOWN_MODE, UNKNOWN_TONIC, Key, Score
from bachkeras.training import settings
from bachkeras.training.settings import Setting

LENGTH = 64
"""Frames of a piece by a model that knows no ending, where nobody says how many."""


ATTEMPTS = 3
"""Times that a piece is written, at most, until it has an ending."""


def scores(
    model,
    card: Mapping[str, Any],
    *,
    count: int,
    length: int | str | None = None,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    key: tuple[int, int] | None = None,
) -> list[Score]:
    """Let a model write pieces, each in a setting drawn from those of the corpus that it was trained on.

    A labelled voice keeps to the notes that it sings in the corpus. A piece that was to have an ending and has none is
    written again, at most `ATTEMPTS` times in all.

    Args:
        model: a `FrameModel`.
        card: its run's config.json.
        count: number of pieces.
        length: frames of each; "auto": until the model ends them, at most `settings.LONGEST` times the corpus' mean;
            None: auto, or `LENGTH` where the model knows no ending.
        seed: same seed, same music.
        temperature: see `FrameModel.generate`.
        top_p: see `FrameModel.generate`.
        key: tonic and mode of all pieces as they sound; None: the settings' own.

    Raises:
        ValueError: if the model was trained in no such key, or knows no ending.
    """
    most, until_end = frames(model, card, length)
    drawn = settings.draw(settings.known(card), count, seed)
    if key is not None:
        drawn = [settings.in_key(s, key, card) for s in drawn]
    options = {
        "until_end": until_end,
        "allowed": allowed(model, card),
        "temperature": temperature,
        "top_p": top_p,
    }
    pieces = compose(model, drawn, [most] * count, seed=seed, **options)
    for attempt in range(1, ATTEMPTS if until_end else 1):
        cut = [i for i, piece in enumerate(pieces) if len(piece["pianoroll"]) == most]
        if cut:
            other = int(np.random.default_rng((seed, attempt)).integers(2**31))
            again = compose(model, [drawn[i] for i in cut], [most] * len(cut), seed=other, **options)
            pieces = [again.pop(0) if i in cut else piece for i, piece in enumerate(pieces)]
    if key is not None:
        pieces = [piece | {"mode": key[1]} for piece in pieces]  # On paper also where the model has not heard of it.
    titles = [f"{i:03}" for i in range(1, count + 1)]
    return [
        score(piece, model.frame.labelled, card["sounding_shift"], title)
        for piece, title in zip(pieces, titles, strict=True)
    ]


def allowed(model, card: Mapping[str, Any]) -> np.ndarray | None:
    """What a model's labelled voices may sing, see `settings.allowed`."""
    return settings.allowed(card) if model.frame.labelled else None


def frames(model, card: Mapping[str, Any], length: int | str | None) -> tuple[int, bool]:
    """The most frames to write, and whether the model ends a piece before; see `scores`.

    Raises:
        ValueError: if the length is none, or the model is to end a piece and cannot.
    """
    if isinstance(length, str) and length != "auto":
        raise ValueError(f'A length is a number of frames, or "auto". Received: length={length!r}')
    if length == "auto" and not model.ending:
        raise ValueError("The model was not trained to end a piece: give a number of frames. Received: length='auto'")
    if length is None and not model.ending:
        return LENGTH, False
    until_end = length in (None, "auto")
    return (settings.longest(card) if until_end else int(length)), until_end


def compose(
    model,
    drawn: Sequence[Setting],
    lengths: Sequence[int],
    *,
    until_end: bool = False,
    allowed: np.ndarray | None = None,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> list[dict[str, Any]]:
    """Let a model write a piece in each setting.

    Args:
        model: a `FrameModel`.
        drawn: the settings.
        lengths: frames of each piece.
        until_end: a piece may be shorter, where the model ends it.
        allowed: see `FrameModel.generate`.
        seed: same seed, same music.
        temperature: see `FrameModel.generate`.
        top_p: see `FrameModel.generate`.

    Returns:
        Pieces as a corpus has them, see `Corpus`: `pianoroll` and what belongs to the setting; labelled `voices`, and
        where they are modelled `voice_onsets` or `onsets`.
    """
    most = max(lengths)
    music = model.generate(
        len(drawn),
        most,
        until_end=until_end,
        allowed=allowed,
        conditions={
            "tonic": [s.tonic for s in drawn],
            "mode": [s.mode for s in drawn],
            "timestep": [timestep_index(s.timestep) for s in drawn],
            "position": [settings.positions(s, most) for s in drawn],
        },
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    lengths = np.minimum(lengths, music.pop("lengths", most))
    arrays = as_in_a_corpus(model.frame, music)
    return [
        {name: array[i, :length] for name, array in arrays.items()} | settings.features(s, length)
        for i, (s, length) in enumerate(zip(drawn, lengths.tolist(), strict=True))
    ]


def score(piece: Mapping[str, Any], labelled: bool, shift: int, title: str = "") -> Score:
    """A piece of a corpus, or one that a model wrote, as a score.

    Args:
        piece: see `Corpus`; with all that belongs to a setting.
        labelled: write its `voices`, each in a part; else its `pianoroll`.
        shift: semitones from where it is written to where it sounds.
        title: of the piece.
    """
    s = settings.of_piece(piece)
    begins_inside = 0 < s.first < s.frames_per_bar  # A piece may begin in a longer bar than most of its own.
    known = s.tonic != UNKNOWN_TONIC and s.mode != UNKNOWN_MODE
    notation = {
        "keys": [Key(0, s.tonic, s.mode)] if known else [],
        "meters": settings.meters(s),
        "upbeat": (s.frames_per_bar - s.first) * pianoroll.ticks(s.timestep)[0] if begins_inside else 0,
        "title": title,
    }
    if labelled:
        names = voices.names(piece["voices"].shape[1])
        written = voices.to_score(piece["voices"], piece.get("voice_onsets"), s.timestep, names, **notation)
    else:
        roll = Pianoroll(piece["pianoroll"], s.timestep, piece.get("onsets"))
        written = pianoroll.to_score(roll, part="Piano", **notation)
    return written.transpose(shift)


def as_in_a_corpus(frame, music: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `FrameModel.generate` gives, by the names of a corpus."""
    onsets = music.get("onsets")
    arrays = {"pianoroll": music["pianoroll"]}
    if frame.labelled:
        arrays["voices"] = music["events"]
        if onsets is not None:
            arrays["voice_onsets"] = onsets
    elif onsets is not None:
        arrays["onsets"] = frame.pianoroll(np.where(onsets, music["events"], END)).numpy() > 0.5
    return arrays
