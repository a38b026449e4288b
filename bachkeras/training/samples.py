"""From a trained model to MIDI files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bachkeras.data.pipeline import Corpus, timestep_index
from bachkeras.layers.frame.base import END
from bachkeras.music import midi, musicxml, pianoroll, render, voices
from bachkeras.music.pianoroll import Pianoroll
from bachkeras.music.score import MAJOR, MINOR, TONICS, UNKNOWN_MODE, UNKNOWN_TONIC, Key, Meter, Score

LONGEST = 4
"""A piece that the model does not end is cut after so many times the corpus' mean length."""


class Setting(NamedTuple):
    """What a piece is like before a note of it is written.

    Attributes:
        tonic: 0..11, 12 unknown.
        mode: 0 major, 1 minor, 2 unknown.
        numerator: of the timestep, in quarter lengths.
        denominator: of the timestep.
        frames_per_bar: 0 unknown.
        first: place of the first frame in its bar, above 0 where the piece begins with an upbeat; -1 unknown.
    """

    tonic: int
    mode: int
    numerator: int
    denominator: int
    frames_per_bar: int
    first: int

    @property
    def timestep(self) -> Fraction:
        """Length of a frame in quarter lengths."""
        return Fraction(self.numerator, self.denominator)


def setting(piece: Mapping[str, Any]) -> Setting:
    """The setting of a piece of a corpus."""
    numbers = (piece["tonic"], piece["mode"], *piece["timestep"], piece["frames_per_bar"], piece["position"][0])
    return Setting(*(int(number) for number in numbers))


def settings(corpus: Corpus) -> list[tuple[Setting, int]]:
    """What the pieces of a corpus are like, so that new ones can be: settings and how many pieces have them."""
    return sorted(Counter(setting(piece) for piece in corpus.pieces).items())


def draw(choices: Sequence[tuple[Setting, int]], count: int, seed: int) -> list[Setting]:
    """Settings drawn from those of a corpus, as often as they come there."""
    return _draw(choices, count, np.random.default_rng(seed))


def draw_beside(choices: Sequence[tuple[Setting, int]], timesteps: Sequence[Fraction], seed: int) -> list[Setting]:
    """Settings drawn likewise, one for each timestep among those that have it; among all where none has."""
    random = np.random.default_rng(seed)
    drawn: dict[int, Setting] = {}
    for timestep in sorted(set(timesteps)):
        places = [i for i, other in enumerate(timesteps) if other == timestep]
        same = [choice for choice in choices if choice[0].timestep == timestep] or [
            (s._replace(numerator=timestep.numerator, denominator=timestep.denominator, frames_per_bar=0, first=-1), n)
            for s, n in choices
        ]
        drawn |= zip(places, _draw(same, len(places), random), strict=True)
    return [drawn[i] for i in range(len(timesteps))]


def _draw(choices: Sequence[tuple[Setting, int]], count: int, random: np.random.Generator) -> list[Setting]:
    pieces = np.array([number for _, number in choices])
    return [choices[i][0] for i in random.choice(len(choices), size=count, p=pieces / pieces.sum())]


def write(
    model,
    card: Mapping[str, Any],
    folder: Path,
    *,
    count: int,
    length: int | None,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    key: tuple[int, int] | None = None,
    as_musicxml: bool = False,
) -> list[Path]:
    """Let a model write pieces, each in a setting drawn from those of the corpus that it was trained on.

    Args:
        model: a `FrameModel`.
        card: its run's config.json.
        folder: where 001.mid and its picture 001.png, 002.mid ... go; it is made where it is not there.
        count: number of pieces.
        length: frames of each; None: until the model ends them, at most `LONGEST` times the corpus' mean.
        seed: same seed, same music.
        temperature: see `FrameModel.generate`.
        top_p: see `FrameModel.generate`.
        key: tonic and mode of all pieces as they sound; None: the settings' own.
        as_musicxml: write 001.musicxml ... too.

    Returns:
        The MIDI files.

    Raises:
        ValueError: if the folder holds such files already, or the model was trained in no such key, or knows no ending.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.glob("[0-9][0-9][0-9].mid"))):
        raise ValueError(f"There is music already: choose another folder. Received: out={str(folder)!r}")
    drawn = draw(known_settings(card), count, seed)
    if key is not None:
        drawn = [_in_key(s, key, card) for s in drawn]
    lengths = [length or longest(card)] * count
    pieces = compose(model, drawn, lengths, until_end=length is None, seed=seed, temperature=temperature, top_p=top_p)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03}.mid" for i in range(1, count + 1)]
    for path, piece in zip(paths, pieces, strict=True):
        if key is not None:
            piece["mode"] = key[1]  # On paper also where the model has not heard of it.
        written = score(piece, model.frame.labelled, card["sounding_shift"], title=path.stem)
        midi.write(path, written)
        render.picture(path.with_suffix(".png"), written)
        if as_musicxml:
            musicxml.write(path.with_suffix(".musicxml"), written)
    return paths


def compose(
    model,
    drawn: Sequence[Setting],
    lengths: Sequence[int],
    *,
    until_end: bool = False,
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
        seed: same seed, same music.
        temperature: see `FrameModel.generate`.
        top_p: see `FrameModel.generate`.

    Returns:
        Pieces as a corpus has them, see `Corpus`: `pianoroll` and what belongs to the setting; labelled `voices`, and
        where they are modelled `voice_onsets` or `onsets`.
    """
    if until_end and not model.ending:
        raise ValueError("The model was not trained to end a piece: give a number of frames. Received: length='auto'")
    most = max(lengths)
    music = model.generate(
        len(drawn),
        most,
        until_end=until_end,
        conditions={
            "tonic": [s.tonic for s in drawn],
            "mode": [s.mode for s in drawn],
            "timestep": [timestep_index(s.timestep) for s in drawn],
            "position": [_positions(s, most) for s in drawn],
        },
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    lengths = np.minimum(lengths, music.pop("lengths", most))
    arrays = _as_in_a_corpus(model.frame, music)
    return [
        {name: array[i, :length] for name, array in arrays.items()} | _features(s, length)
        for i, (s, length) in enumerate(zip(drawn, lengths.tolist(), strict=True))
    ]


def _as_in_a_corpus(frame, music: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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


def _features(drawn: Setting, length: int) -> dict[str, Any]:
    """What a piece of a corpus says of its setting; the inverse of `setting`."""
    return {
        "tonic": drawn.tonic,
        "mode": drawn.mode,
        "timestep": np.array([drawn.numerator, drawn.denominator], np.int32),
        "frames_per_bar": drawn.frames_per_bar,
        "position": _positions(drawn, length).astype(np.int32),
    }


def known_settings(card: Mapping[str, Any]) -> list[tuple[Setting, int]]:
    """The settings of the corpus that a run was trained on."""
    return [(Setting(**features), number) for features, number in card["settings"]]


def longest(card: Mapping[str, Any]) -> int:
    """Frames after which a piece is cut that the model does not end."""
    return round(LONGEST * card["mean_length"])


def score(piece: Mapping[str, Any], labelled: bool, shift: int, title: str = "") -> Score:
    """A piece of a corpus, or one that a model wrote, as a score.

    Args:
        piece: see `Corpus`; with all that belongs to a setting.
        labelled: write its `voices`, each in a part; else its `pianoroll`.
        shift: semitones from where it is written to where it sounds.
        title: of the piece.
    """
    s = setting(piece)
    known = s.tonic != UNKNOWN_TONIC and s.mode != UNKNOWN_MODE
    notation = {
        "keys": [Key(0, s.tonic, s.mode)] if known else [],
        "meters": _meters(s),
        "upbeat": (s.frames_per_bar - s.first) * pianoroll.ticks(s.timestep)[0] if s.first > 0 else 0,
        "title": title,
    }
    if labelled:
        count = piece["voices"].shape[1]
        names = voices.SATB if count == len(voices.SATB) else [f"Voice {k + 1}" for k in range(count)]
        written = voices.to_score(piece["voices"], piece.get("voice_onsets"), s.timestep, names, **notation)
    else:
        roll = Pianoroll(piece["pianoroll"], s.timestep, piece.get("onsets"))
        written = pianoroll.to_score(roll, part="Piano", **notation)
    return written.transpose(shift)


def _in_key(setting: Setting, key: tuple[int, int], card: Mapping[str, Any]) -> Setting:
    """The setting in another key, as far as training has told the model of keys."""
    seen = [other for other, _ in known_settings(card) if other.tonic != UNKNOWN_TONIC]
    reach = card["config"]["data"]["transpose"]
    tonic = (key[0] - card["sounding_shift"]) % 12
    if all(min((tonic - s.tonic) % 12, (s.tonic - tonic) % 12) > reach for s in seen):
        known = ", ".join(sorted({TONICS[(s.tonic + card["sounding_shift"]) % 12] for s in seen}))
        raise ValueError(f"The model was trained in {known or 'no known key'} alone. Received: key={TONICS[key[0]]!r}")
    return setting._replace(tonic=tonic, mode=key[1] if any(s.mode == key[1] for s in seen) else UNKNOWN_MODE)


def _positions(setting: Setting, length: int) -> np.ndarray:
    """Place in the bar of each frame, -1 unknown."""
    known = setting.frames_per_bar > 0 and setting.first >= 0
    return (setting.first + np.arange(length)) % setting.frames_per_bar if known else np.full(length, -1)


def parse_key(text: str) -> tuple[int, int]:
    """Tonic and mode of a key's name: "D minor", "Eb major", "F#" (major), "g" (minor).

    Raises:
        ValueError: if it names no key.
    """
    match = re.fullmatch(r"([A-Ga-g])([#b]?)\s*(major|minor)?", text.strip())
    if not match:
        raise ValueError(f'A key is a letter, # or b, major or minor, as in "Eb major". Received: key={text!r}')
    letter, accidental, mode = match.groups()
    tonic = (TONICS.index(letter.upper()) + {"#": 1, "b": -1, "": 0}[accidental]) % 12
    minor = mode == "minor" or (mode is None and letter.islower())
    return tonic, MINOR if minor else MAJOR


def _meters(setting: Setting) -> list[Meter]:
    """A time signature for a bar's length: quarters where they fill it, else eighths, else sixteenths."""
    bar = setting.frames_per_bar * setting.timestep
    for denominator in (4, 8, 16):
        beats = bar * denominator / 4
        if bar and beats.denominator == 1:
            return [Meter(0, int(beats), denominator)]
    return []
