"""Settings: what a piece is like before a note of it is written, and which ones a model knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from bachkeras.data.pipeline import Corpus
from bachkeras.layers.frame.base import END
from bachkeras.music.score import MAJOR, MINOR, TONICS, UNKNOWN_MODE, UNKNOWN_TONIC, Meter

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


def of_piece(piece: Mapping[str, Any]) -> Setting:
    """The setting of a piece of a corpus."""
    numbers = (piece["tonic"], piece["mode"], *piece["timestep"], piece["frames_per_bar"], piece["position"][0])
    return Setting(*(int(number) for number in numbers))


def of_corpus(corpus: Corpus) -> list[tuple[Setting, int]]:
    """What the pieces of a corpus are like, so that new ones can be: settings and how many pieces have them."""
    return sorted(Counter(of_piece(piece) for piece in corpus.pieces).items())


def features(drawn: Setting, length: int) -> dict[str, Any]:
    """What a piece of a corpus says of its setting; the inverse of `of_piece`."""
    return {
        "tonic": drawn.tonic,
        "mode": drawn.mode,
        "timestep": np.array([drawn.numerator, drawn.denominator], np.int32),
        "frames_per_bar": drawn.frames_per_bar,
        "position": positions(drawn, length).astype(np.int32),
    }


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


def known(card: Mapping[str, Any]) -> list[tuple[Setting, int]]:
    """The settings of the corpus that a run was trained on."""
    return [(Setting(**features), number) for features, number in card["settings"]]


def longest(card: Mapping[str, Any]) -> int:
    """Frames after which a piece is cut that the model does not end."""
    return round(LONGEST * card["mean_length"])


def knows(card: Mapping[str, Any], key: tuple[int, int]) -> bool:
    """Whether training has told the model of a key."""
    try:
        in_key(known(card)[0][0], key, card)
    except ValueError:
        return False
    return True


def in_key(setting: Setting, key: tuple[int, int], card: Mapping[str, Any]) -> Setting:
    """The setting in another key, as far as training has told the model of keys."""
    seen = [other for other, _ in known(card) if other.tonic != UNKNOWN_TONIC]
    reach = card["config"]["data"]["transpose"]
    tonic = (key[0] - card["sounding_shift"]) % 12
    if not seen:
        raise ValueError(f"The model was told no keys in training: leave the key out. Received: key={TONICS[key[0]]!r}")
    if all(min((tonic - s.tonic) % 12, (s.tonic - tonic) % 12) > reach for s in seen):
        names = ", ".join(sorted({TONICS[(s.tonic + card["sounding_shift"]) % 12] for s in seen}))
        raise ValueError(f"The model was trained in {names} alone. Received: key={TONICS[key[0]]!r}")
    return setting._replace(tonic=tonic, mode=key[1] if any(s.mode == key[1] for s in seen) else UNKNOWN_MODE)


def positions(setting: Setting, length: int) -> np.ndarray:
    """Place in the bar of each frame, -1 unknown."""
    known = setting.frames_per_bar > 0 and setting.first >= 0
    return (setting.first + np.arange(length)) % setting.frames_per_bar if known else np.full(length, -1)


def meters(setting: Setting) -> list[Meter]:
    """A time signature for a bar's length: quarters where they fill it, else eighths, else sixteenths."""
    bar = setting.frames_per_bar * setting.timestep
    for denominator in (4, 8, 16):
        beats = bar * denominator / 4
        if bar and beats.denominator == 1:
            return [Meter(0, int(beats), denominator)]
    return []


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


def allowed(card: Mapping[str, Any]) -> np.ndarray | None:
    """What each voice sings in the corpus, from its lowest to its highest note, bool `(voices, 89)`.

    None: where voices are not labelled, and of runs that do not say.
    """
    if not card.get("ranges"):
        return None
    events = np.arange(END + 1)
    return np.array([(events >= low) & (events <= high) | (events == END) for low, high in card["ranges"]])
