"""Where examples come from: each source gives dicts with the features of the `bach_multihot` data set.

Features of an example:
    id: str.
    title: str, '' unknown.
    family: str, pieces that share a tune share it; '' unknown.
    pianoroll, onsets: bool `(time, 88)`.
    voices: int32 `(time, voices)`, pitch index or 88 = rest; `(0, 0)` where the source has no voices.
    voice_onsets: bool, like voices.
    timestep: int32 `(2,)`, numerator and denominator of the frame's length in quarter lengths.
    tonic: int32, 0..11 or 12 unknown.
    mode: int32, 0 major, 1 minor, 2 unknown.
    position: int32 `(time,)`, whole frames since the bar line, -1 unknown.
    frames_per_bar: int32, 0 unknown (also where a bar is no whole number of frames).
"""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from bachkeras.data import chorales, parallel
from bachkeras.music import pianoroll, voices
from bachkeras.music.score import TICKS_PER_QUARTER, UNKNOWN_MODE, UNKNOWN_TONIC, Meter

Example = dict[str, Any]

JSB_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
"""The splits as the benchmark's files name them, and as TFDS does."""

JSB_SILENCE = -1
"""What `Jsb16thSeparated.json` has where a voice is silent."""

JSB_16TH_BAR = 16
"""Frames of a 4/4 bar in sixteenths."""


def chorale_examples(ids: Iterable[str], timestep: Fraction | None) -> tuple[list[Example], dict[str, int]]:
    """Reads chorales of music21's corpus on all cores, samples and cleans them.

    Args:
        ids: some of `chorales.ids()`.
        timestep: length of a frame in quarter lengths; None = each piece's own, by the rule of `timesteps.most_common`.

    Returns:
        The examples in the order of `ids`, their family ''; and what was lost, summed over them: the fields of
        `pianoroll.Losses`, and of all `frames` those that cleaning `cut`.
    """
    read = functools.partial(_chorale_example, timestep=timestep)
    results = parallel.ordered_map(read, ids, description="Reading chorales")
    losses = collections.Counter()
    for _, lost in results:
        losses.update(lost)
    return [example for example, _ in results], dict(losses)


def _chorale_example(name: str, timestep: Fraction | None) -> tuple[Example, dict[str, int]]:
    chorale = chorales.read(name)
    roll = pianoroll.from_score(chorale.score, timestep)
    columns, voice_onsets = voices.from_score(chorale.score, roll.timestep)
    step = int(roll.timestep * TICKS_PER_QUARTER)
    position = chorale.position(np.arange(len(roll.frames)) * step) // step
    kept = pianoroll.kept_frames(roll)
    lost = pianoroll.losses(chorale.score, roll.timestep)._asdict()
    example = make_example(
        name,
        roll.take(kept),
        title=chorale.score.title,
        voices=columns[kept],
        voice_onsets=voice_onsets[kept],
        tonic=chorale.key.tonic,
        mode=chorale.key.mode,
        position=position[kept].astype(np.int32),
        frames_per_bar=frames_per_bar(chorale.meter, roll.timestep),
    )
    return example, lost | {"frames": len(kept), "cut": int(np.sum(~kept))}


def frames_per_bar(meter: Meter, timestep: Fraction) -> int:
    """Of a bar; 0 where it is no whole number of frames."""
    frames = meter.quarters / timestep
    return int(frames) if frames.denominator == 1 else 0


def jsb_quarter_examples(text: str) -> dict[str, list[Example]]:
    """The benchmark's pieces, never cleaned: every frame as it stands, the empty ones included.

    The tonic is C, as the benchmark is key-normalised; the mode is not known. Neither are onsets: a note begins where
    its key did not sound in the frame before.

    Args:
        text: the content of `jsb-chorales-quarter.json`.

    Returns:
        The examples of each split, 'train', 'validation' and 'test'; ids are split and number, as in 'test/012'.

    Raises:
        ValueError: if the text is not that file.
    """
    return _jsb_examples("jsb-chorales-quarter.json", text, _jsb_quarter_example)


def jsb_16th_examples(text: str) -> dict[str, list[Example]]:
    """The benchmark's pieces in sixteenths, four labelled voices in their own keys, never cleaned.

    Neither keys nor onsets are known: a note begins where its voice had another pitch in the frame before. Nor are bar
    lines: `position` counts sixteenths from the beginning, modulo a 4/4 bar, so that it is late by a piece's upbeat.

    Args:
        text: the content of `Jsb16thSeparated.json`.

    Returns:
        The examples of each split, see `jsb_quarter_examples`.

    Raises:
        ValueError: if the text is not that file.
    """
    return _jsb_examples("Jsb16thSeparated.json", text, _jsb_16th_example)


def _jsb_examples(file: str, text: str, example: Callable[[str, list], Example]) -> dict[str, list[Example]]:
    """The examples of each split of one of the benchmark's files, whose pieces are lists of frames of pitches."""
    try:
        content = json.loads(text)
        return {
            split: [example(f"{split}/{index:03}", frames) for index, frames in enumerate(content[key])]
            for key, split in JSB_SPLITS.items()
        }
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"This is not {file}; fetch it again. Received: {error!r}") from error


def _jsb_quarter_example(name: str, chords: list[list[int]]) -> Example:
    frames = np.zeros((len(chords), pianoroll.KEYS), bool)
    for frame, chord in zip(frames, chords, strict=True):
        frame[np.array(chord, int) - pianoroll.LOWEST] = True
    roll = pianoroll.Pianoroll(frames, Fraction(1), pianoroll.run_starts(frames))
    return make_example(name, roll, tonic=0, mode=UNKNOWN_MODE)


def _jsb_16th_example(name: str, frames: list[list[int]]) -> Example:
    pitches = np.array(frames, np.int32).reshape(len(frames), len(voices.SATB))
    columns = np.where(pitches == JSB_SILENCE, voices.REST, pitches - pianoroll.LOWEST)
    score = voices.to_score(columns, None, Fraction(1, 4))
    roll = pianoroll.from_score(score, Fraction(1, 4))
    _, onsets = voices.from_score(score, Fraction(1, 4))
    return make_example(
        name,
        roll,
        tonic=UNKNOWN_TONIC,
        mode=UNKNOWN_MODE,
        voices=columns,
        voice_onsets=onsets,
        position=np.arange(len(columns), dtype=np.int32) % JSB_16TH_BAR,
        frames_per_bar=JSB_16TH_BAR,
    )


def make_example(name: str, roll: pianoroll.Pianoroll, **features: Any) -> Example:
    """An example of a piece's frames; what is not among `features` is unknown."""
    unknown = {
        "title": "",
        "family": "",
        "voices": np.zeros((0, 0), np.int32),
        "voice_onsets": np.zeros((0, 0), bool),
        "position": np.full(len(roll.frames), -1, np.int32),
        "frames_per_bar": 0,
    }
    step = np.array(roll.timestep.as_integer_ratio(), np.int32)
    known = {"id": name, "pianoroll": roll.frames, "onsets": roll.onsets, "timestep": step}
    return unknown | known | features
