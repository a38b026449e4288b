"""FluidSynth: the program, where it is installed, plays a score with the recorded instruments of a soundfont."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from bachkeras.music import midi
from bachkeras.music.score import Score
from bachkeras.music.synthesis import RATE, TAIL, normalize
from bachkeras.music.tempo import seconds

FOLDERS = (
    *("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts", "/usr/local/share/soundfonts"),
    *("/opt/homebrew/share/soundfonts", "~/.local/share/soundfonts", "~/Library/Audio/Sounds/Banks"),
)
"""Where soundfonts are on Linux and macOS."""

_SILENT = 1e-4  # FluidSynth's reverb is never quite silent.
_PATIENCE = 60  # Seconds to load a large soundfont; playing is many times faster than the music.


class FluidSynthError(ValueError):
    """A score that FluidSynth cannot play."""


def find_soundfont() -> Path | None:
    """A soundfont in the usual `FOLDERS`; None if there is none, or no FluidSynth.

    The system's default comes first, then those that are called General MIDI.
    """
    if shutil.which("fluidsynth") is None:
        return None
    folders = (Path(os.path.expanduser(folder)) for folder in FOLDERS)
    files = [file for folder in folders for file in folder.glob("*.[sS][fF][23]") if file.is_file()]
    return min(files, key=_rank, default=None)


def _rank(file: Path) -> tuple[bool, bool, str]:
    name = file.name.lower()
    return "default" not in name, "gm" not in name, str(file)


def play(score: Score, program: int, soundfont: str | os.PathLike) -> np.ndarray:
    """Plays a score through FluidSynth.

    Args:
        score: at least one note.
        program: General MIDI instrument 0..127 of all parts.
        soundfont: a file in SF2 or SF3.

    Returns:
        Stereo sound with reverb, float32 `(samples, 2)`, as long and as loud as `synthesis.synthesize` makes it.

    Raises:
        FluidSynthError: if the program or the soundfont is not there, or it fails.
        MidiError: if MIDI cannot hold the score.
    """
    if shutil.which("fluidsynth") is None:
        raise FluidSynthError(f"A soundfont needs FluidSynth; install it. Received: soundfont={str(soundfont)!r}")
    if not Path(soundfont).is_file():
        raise FluidSynthError(f"This soundfont is not there. Received: soundfont={str(soundfont)!r}")
    duration = float(seconds(score, score.end)) + TAIL
    try:
        sound = _run(_with_tail(score), program, Path(soundfont), _PATIENCE + duration)[: round(duration * RATE)]
    except (OSError, subprocess.SubprocessError) as error:
        raise FluidSynthError(f"FluidSynth failed: {_reason(error)}. Received: soundfont={str(soundfont)!r}") from error
    if np.abs(sound).max(initial=0) < _SILENT:
        raise FluidSynthError(f"This soundfont makes no sound. Received: soundfont={str(soundfont)!r}")
    return normalize(sound)


def _with_tail(score: Score) -> Score:
    """The score with rests for the tail: not every version of FluidSynth plays on after the end."""
    quarter = float(seconds(score, score.end + score.ticks_per_quarter) - seconds(score, score.end))
    return dataclasses.replace(score, end=score.end + math.ceil(TAIL / quarter) * score.ticks_per_quarter)


def _run(score: Score, program: int, soundfont: Path, timeout: float) -> np.ndarray:
    """What FluidSynth plays, float32 `(samples, 2)`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        midi.write(folder / "score.mid", score, program)
        (folder / "config").touch()  # In place of the user's own, which may load other soundfonts.
        subprocess.run(
            [
                *("fluidsynth", "-n", "-i", "-q", "-f", folder / "config"),
                *("-o", "synth.default-soundfont="),  # It would take the place of a broken one, with nothing said.
                *("-r", str(RATE), "-T", "raw", "-O", "float", "-E", "little", "-F", folder / "sound"),
                *(soundfont.absolute(), folder / "score.mid"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=True,
        )
        return np.fromfile(folder / "sound", "<f4").reshape(-1, 2)


def _reason(error: Exception) -> str:
    """The last line that the program wrote, or what happened to it."""
    lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
    return (lines[-1] if lines else str(error)).rstrip(".")
