"""From a trained model to MIDI files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bachkeras.data.pipeline import timestep_index
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
    pieces = compose(model, card, count=count, length=length, seed=seed, temperature=temperature, top_p=top_p, key=key)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03}.mid" for i in range(1, count + 1)]
    for path, (music, piece) in zip(paths, pieces, strict=True):
        if key is not None:
            piece = piece._replace(mode=key[1])  # On paper also where the model has not heard of it.
        written = score(model.frame, music, piece, card["sounding_shift"], title=path.stem)
        midi.write(path, written)
        render.picture(path.with_suffix(".png"), written)
        if as_musicxml:
            musicxml.write(path.with_suffix(".musicxml"), written)
    return paths


def compose(
    model,
    card: Mapping[str, Any],
    *,
    count: int,
    length: int | None,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    key: tuple[int, int] | None = None,
) -> list[tuple[dict[str, np.ndarray], Setting]]:
    """The pieces that `write` writes: what `FrameModel.generate` gives for each, up to its end, and its setting."""
    if length is None and not model.ending:
        raise ValueError("The model was not trained to end a piece: give a number of frames. Received: length='auto'")
    settings, pieces = zip(*card["settings"], strict=True)
    drawn = np.random.default_rng(seed).choice(len(settings), size=count, p=np.array(pieces) / sum(pieces))
    settings = [Setting(**settings[i]) for i in drawn]
    if key is not None:
        settings = [_in_key(s, key, card) for s in settings]
    most = length or longest(card)
    music = model.generate(
        count,
        most,
        until_end=length is None,
        conditions={
            "tonic": [s.tonic for s in settings],
            "mode": [s.mode for s in settings],
            "timestep": [timestep_index(s.timestep) for s in settings],
            "position": [_positions(s, most) for s in settings],
        },
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    lengths = music.pop("lengths", [most] * count)
    return [({name: array[i, : lengths[i]] for name, array in music.items()}, s) for i, s in enumerate(settings)]


def longest(card: Mapping[str, Any]) -> int:
    """Frames after which a piece is cut that the model does not end."""
    return round(LONGEST * card["mean_length"])


def score(frame, music: Mapping[str, np.ndarray], setting: Setting, shift: int, title: str = "") -> Score:
    """A piece that a model wrote as a score in its setting, `shift` semitones from where it was written.

    Args:
        frame: the model's `FrameDistribution`.
        music: `pianoroll`, `events` and, where modelled, `onsets`, as `FrameModel.generate` gives them for one piece.
        setting: of the piece.
        shift: semitones.
        title: of the piece.
    """
    known = setting.tonic != UNKNOWN_TONIC and setting.mode != UNKNOWN_MODE
    upbeat = (setting.frames_per_bar - setting.first) * pianoroll.ticks(setting.timestep)[0] if setting.first > 0 else 0
    notation = {
        "keys": [Key(0, setting.tonic, setting.mode)] if known else [],
        "meters": _meters(setting),
        "upbeat": upbeat,
        "title": title,
    }
    onsets = music.get("onsets")
    if frame.labelled:
        names = voices.SATB if frame.voices == len(voices.SATB) else [f"Voice {k + 1}" for k in range(frame.voices)]
        written = voices.to_score(music["events"], onsets, setting.timestep, names, **notation)
    else:
        struck = None if onsets is None else frame.pianoroll(np.where(onsets, music["events"], END)).numpy() > 0.5
        roll = Pianoroll(music["pianoroll"], setting.timestep, struck)
        written = pianoroll.to_score(roll, part="Piano", **notation)
    return written.transpose(shift)


def _in_key(setting: Setting, key: tuple[int, int], card: Mapping[str, Any]) -> Setting:
    """The setting in another key, as far as training has told the model of keys."""
    seen = [Setting(**other) for other, _ in card["settings"] if other["tonic"] != UNKNOWN_TONIC]
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
