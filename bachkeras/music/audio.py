"""Audio files: `write` a `Score` as sound, played by FluidSynth where it is installed and by `synthesis` elsewhere."""

from __future__ import annotations

import io
import os
import warnings
import wave

import numpy as np

from bachkeras import _files as files
from bachkeras.music import fluidsynth, synthesis
from bachkeras.music.fluidsynth import FluidSynthError
from bachkeras.music.midi import MidiError
from bachkeras.music.score import Score
from bachkeras.music.synthesis import RATE, synthesize

VARIABLE = "BACHKERAS_SOUNDFONT"
"""The environment variable that names a soundfont."""


def write(path: str | os.PathLike, score: Score, program: int = 0, soundfont: str | os.PathLike | None = None) -> None:
    """Writes a WAV file: 16 bits, 44.1 kHz, `synthesis.TAIL` seconds longer than the score.

    FluidSynth plays the score, in stereo, with the soundfont that is given, that the environment variable
    `BACHKERAS_SOUNDFONT` names or that is in one of the usual folders. Where it is not installed, or there is no
    soundfont, `synthesize` plays it, in mono; so it does, with a warning, where FluidSynth fails with a soundfont
    that nobody named.

    Args:
        path: the file, replaced as a whole: it is never half-written.
        score: at least one note.
        program: General MIDI instrument 0..127 of all parts, see `instruments.program`; 0 is a grand piano.
        soundfont: a file in SF2 or SF3; None is the one of the variable, or of the usual folders.

    Raises:
        ValueError: if the score has no notes, or there is no such program.
        FluidSynthError: if a soundfont is named, and it or FluidSynth is not there, or fails; a ValueError.
        MidiError: if a soundfont is named, and MIDI cannot hold the score; a ValueError.
        OSError: if the file cannot be written.
    """
    synthesis.check(score, program)
    files.replace(path, _wav(_play(score, program, soundfont)))


def _play(score: Score, program: int, soundfont: str | os.PathLike | None) -> np.ndarray:
    if named := soundfont or os.environ.get(VARIABLE):
        return fluidsynth.play(score, program, named)
    if found := fluidsynth.find_soundfont():
        try:
            return fluidsynth.play(score, program, found)
        except (FluidSynthError, MidiError) as error:
            warnings.warn(f"Simple sounds play instead of a soundfont: {error}", RuntimeWarning, stacklevel=3)
    return synthesize(score, program)


def _wav(sound: np.ndarray) -> bytes:
    """The file of a sound, float32 `(samples,)` or `(samples, 2)` within -1..1."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1 if sound.ndim == 1 else 2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    return content.getvalue()
