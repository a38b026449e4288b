"""Synthesis: a score as sound, from sines alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bachkeras.music.score import Score
from bachkeras.music.tempo import seconds

RATE = 44_100
"""Samples a second."""

PEAK = 0.9
"""The largest sample of every sound, of a full scale of 1."""

TAIL = 1.5
"""Seconds of a sound after the end of its score, in which the last notes die away."""

GAP = 0.05
"""Seconds in which a note dies away before the same one is struck again."""

_HIGHEST = 12_000  # Hz; higher partials are left out, so that none reaches half of RATE.
_BLOCK = 2**15  # Samples computed at once: they stay in the processor's cache.


class Timbre(NamedTuple):
    """How a family of instruments sounds.

    Attributes:
        partials: amplitudes of the fundamental and the harmonics above it.
        decay: how fast A4 dies away, in 1/s, to a share of exp(-decay) each second; its k-th harmonic does so k times
            as fast. 0 is a sustained sound.
        attack: seconds in which a note rises to its full amplitude.
        release: seconds in which it dies away after its end, less than `TAIL`.
    """

    partials: tuple[float, ...]
    decay: float
    attack: float
    release: float


STRUCK = Timbre((1, 0.5, 0.33, 0.25, 0.15, 0.1, 0.08, 0.05), decay=0.9, attack=0.004, release=0.15)
PLUCKED = Timbre((1, 0.9, 0.75, 0.6, 0.5, 0.4, 0.33, 0.27, 0.2, 0.15), decay=0.7, attack=0.003, release=0.1)
ORGAN = Timbre((1, 0.6, 0.3, 0.35, 0, 0.12, 0, 0.15), decay=0, attack=0.02, release=0.12)
BOWED = Timbre((1, 0.55, 0.4, 0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05), decay=0, attack=0.06, release=0.2)
SUNG = Timbre((1, 0.45, 0.25, 0.12, 0.06, 0.03), decay=0, attack=0.05, release=0.2)
BLOWN = Timbre((1, 0.4, 0.5, 0.2, 0.25, 0.1), decay=0, attack=0.03, release=0.1)

_FAMILIES = (
    *(STRUCK, STRUCK, ORGAN, PLUCKED),  # piano, chromatic percussion, organ, guitar
    *(PLUCKED, BOWED, BOWED, BLOWN),  # bass, strings, ensemble, brass
    *(BLOWN, BLOWN, BLOWN, BOWED),  # reed, pipe, synth lead, synth pad
    *(BOWED, PLUCKED, STRUCK, STRUCK),  # synth effects, ethnic, percussive, sound effects
)
_UNLIKE_THEIR_FAMILY = {
    **dict.fromkeys((6, 7, 45, 46), PLUCKED),  # harpsichord, clavi, pizzicato, harp
    **dict.fromkeys((47, 55), STRUCK),  # timpani, orchestra hit
    **dict.fromkeys((52, 53, 54, 85, 91), SUNG),  # choir, voices
    **dict.fromkeys((109, 111), BLOWN),  # bag pipe, shanai
    110: BOWED,  # fiddle
}


class _Stroke(NamedTuple):
    """A note, in samples: it begins at `start`, is silent from `stop` on and dies away in `fall` until then."""

    start: int
    stop: int
    fall: int


def check(score: Score, program: int) -> None:
    """Raises ValueError if a score has no notes to hear, or there is no such program."""
    if not (score.notes["start"] < score.notes["end"]).any():
        raise ValueError(f"Nothing sounds in a score without notes. Received: {score.end=}, {len(score.notes)=}")
    if program not in range(128):
        raise ValueError(f"A program of General MIDI is a number 0..127. Received: {program=}")


def synthesize(score: Score, program: int = 0) -> np.ndarray:
    """Plays a score with sums of sines, in one of six timbres.

    All notes are as loud, so that low ones are not lost. Where a pitch is struck again in its part, the earlier note
    ends with a short gap. A rest is silent as soon as what was before has died away.

    Args:
        score: at least one note.
        program: General MIDI instrument 0..127 of all parts; its family decides the timbre.

    Returns:
        Mono sound, float32 `(samples,)`, `RATE` samples a second, `TAIL` seconds longer than the score; the largest
        sample is `PEAK`, either way.

    Raises:
        ValueError: if the score has no notes, or there is no such program.
    """
    check(score, program)
    timbre = _UNLIKE_THEIR_FAMILY.get(program, _FAMILIES[program // 8])
    sound = np.zeros(round((float(seconds(score, score.end)) + TAIL) * RATE), np.float32)
    rise = _ramp(round(timbre.attack * RATE))
    for pitch, strokes in _strokes(score, timbre):
        tone = _tone(pitch, timbre, max(stroke.stop - stroke.start for stroke in strokes))
        for start, stop, fall in strokes:
            note = tone[: stop - start].copy()
            note[: len(rise)] *= rise[: len(note)]
            note[-fall:] *= _ramp(min(fall, len(note)))[::-1]
            sound[start:stop] += note
    return normalize(sound)


def normalize(sound: np.ndarray) -> np.ndarray:
    """Scales a sound, float, in place until its largest sample is `PEAK`; it must not be silent."""
    sound *= PEAK / max(sound.max(), -sound.min())
    return sound


def _strokes(score: Score, timbre: Timbre) -> Iterator[tuple[int, list[_Stroke]]]:
    """The strokes of each pitch; as in MIDI, a note stops at the latest where its pitch begins again in its part."""
    notes = score.notes[score.notes["start"] < score.notes["end"]]
    notes = notes[np.lexsort((notes["end"], notes["start"], notes["part"], notes["pitch"]))]
    start, end = (np.round(seconds(score, notes[name]) * RATE).astype(np.int64) for name in ("start", "end"))
    stop = end + round(timbre.release * RATE)
    again = (notes["pitch"][1:] == notes["pitch"][:-1]) & (notes["part"][1:] == notes["part"][:-1])
    stop[:-1][again] = np.minimum(stop[:-1], start[1:])[again]
    fall = np.maximum(stop - end, round(GAP * RATE))
    rows = np.stack([start, stop, fall], axis=1)
    for pitch in np.unique(notes["pitch"]).tolist():
        found = rows[(notes["pitch"] == pitch) & (start < stop)]
        yield pitch, [_Stroke(*row) for row in found.tolist()]


def _tone(pitch: int, timbre: Timbre, count: int) -> np.ndarray:
    """`count` samples of a pitch, float32, of a power that depends on the pitch alone, without attack and release."""
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    partials = np.array(timbre.partials[: max(int(_HIGHEST / frequency), 1)], np.float64)
    # Ears hear low tones less well.
    partials *= (440 / frequency) ** 0.2 / np.linalg.norm(partials)
    # A pointer that turns and shrinks: its powers are the harmonics, which shrink the faster the higher they are.
    turn = (2j * np.pi * frequency - timbre.decay * (frequency / 440) ** 0.5) / RATE
    pointer = np.exp(turn * np.arange(min(count, _BLOCK)))
    tone = np.empty(count, np.float32)
    for first in range(0, count, _BLOCK):
        powers = (pointer[: count - first] * np.exp(turn * first)).astype(np.complex64)
        total = np.zeros_like(powers)
        for partial in partials[::-1].tolist():  # Horner's rule
            total += partial
            total *= powers
        tone[first : first + _BLOCK] = total.imag
    return tone


def _ramp(count: int) -> np.ndarray:
    """A smooth rise from 0 to 1, float32 `(count,)`."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
