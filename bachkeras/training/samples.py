"""From a trained model to MIDI files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bachkeras.data.pipeline import timestep_index
from bachkeras.music import midi, pianoroll
from bachkeras.music.pianoroll import Pianoroll
from bachkeras.music.score import MAJOR, MINOR, TONICS, UNKNOWN_MODE, UNKNOWN_TONIC, Key, Meter, Score


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
    length: int,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    key: tuple[int, int] | None = None,
) -> list[Path]:
    """Let a model write pieces, each in a setting drawn from those of the corpus that it was trained on.

    Args:
        model: a `FrameModel`.
        card: its run's config.json.
        folder: where 001.mid, 002.mid ... go; it is made where it is not there.
        count: number of pieces.
        length: frames of each.
        seed: same seed, same music.
        temperature: see `FrameModel.generate`.
        top_p: see `FrameModel.generate`.
        key: tonic and mode of all pieces as they sound; None: the settings' own.

    Returns:
        The files.

    Raises:
        ValueError: if the folder holds such files already, or the model was trained in no such key.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.glob("[0-9][0-9][0-9].mid"))):
        raise ValueError(f"There is music already: choose another folder. Received: out={str(folder)!r}")
    settings, pieces = zip(*card["settings"], strict=True)
    drawn = np.random.default_rng(seed).choice(len(settings), size=count, p=np.array(pieces) / sum(pieces))
    settings = [Setting(**settings[i]) for i in drawn]
    shift = card["sounding_shift"]
    if key is not None:
        settings = [_in_key(s, key, card) for s in settings]
    music = model.generate(
        count,
        length,
        conditions={
            "tonic": [s.tonic for s in settings],
            "mode": [s.mode for s in settings],
            "timestep": [timestep_index(s.timestep) for s in settings],
            "position": [_positions(s, length) for s in settings],
        },
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03}.mid" for i in range(1, count + 1)]
    for path, frames, s in zip(paths, music["pianoroll"], settings, strict=True):
        midi.write(path, score(frames, s, shift, title=f"{path.stem}"))
    return paths


def score(frames: np.ndarray, setting: Setting, shift: int, title: str = "") -> Score:
    """Frames bool `(time, 88)` as a score in their setting, `shift` semitones from where they were written."""
    known = setting.tonic != UNKNOWN_TONIC and setting.mode != UNKNOWN_MODE
    upbeat = (setting.frames_per_bar - setting.first) * pianoroll.ticks(setting.timestep)[0] if setting.first > 0 else 0
    written = pianoroll.to_score(
        Pianoroll(frames, setting.timestep),
        part="Piano",
        keys=[Key(0, setting.tonic, setting.mode)] if known else [],
        meters=_meters(setting),
        upbeat=upbeat,
        title=title,
    )
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
