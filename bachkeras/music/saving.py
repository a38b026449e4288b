"""Saving: scores as the numbered files of a folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bachkeras import _files as files
from bachkeras.music import audio, midi, musicxml, render
from bachkeras.music.score import Score

ENDINGS = (".mid", ".png", ".musicxml", ".wav")
"""Of the files that are written of a score."""


def check(folder: Path) -> None:
    """Refuse a folder that holds numbered files of this kind already.

    Raises:
        ValueError: if it does, or is no folder.
    """
    files.check_folder(folder)
    if any(path.suffix in ENDINGS for path in folder.glob("[0-9][0-9][0-9].*")):
        raise ValueError(f"There is music already: choose another folder. Received: out={str(folder)!r}")


def write(
    folder: Path, scores: Sequence[Score], *, program: int = 0, as_musicxml: bool = False, as_wav: bool = False
) -> list[Path]:
    """Write scores as 001.mid and its picture 001.png, 002.mid ...

    Args:
        folder: it is made where it is not there.
        scores: what to write.
        program: General MIDI instrument, see `midi.write`.
        as_musicxml: write 001.musicxml ... too.
        as_wav: write 001.wav ... too, see `audio.write`.

    Returns:
        The MIDI files.

    Raises:
        ValueError: see `check`; or if a format cannot hold a score.
    """
    check(folder)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    names = [f"{i:03}" for i in range(1, len(scores) + 1)]
    moved: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # All of them or none: what is broken off leaves no music behind.
        with tempfile.TemporaryDirectory(prefix=files.UNFINISHED, dir=folder) as made:
            for name, score in zip(names, scores, strict=True):
                _write(Path(made) / name, score, program, as_musicxml, as_wav)
            for path in sorted(Path(made).iterdir()):
                moved.append(path.replace(folder / path.name))
    except BaseException:
        for path in moved:
            path.unlink()
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()  # If nothing else is in it.
        raise
    return [folder / f"{name}.mid" for name in names]


def _write(path: Path, score: Score, program: int, as_musicxml: bool, as_wav: bool) -> None:
    midi.write(path.with_suffix(".mid"), score, program)
    render.picture(path.with_suffix(".png"), score)
    if as_musicxml:
        musicxml.write(path.with_suffix(".musicxml"), score)
    if as_wav:
        audio.write(path.with_suffix(".wav"), score, program)
