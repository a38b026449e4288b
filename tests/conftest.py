"""Shared fixtures: small music, and the benchmark's files where they are."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # As the command line does: small steps run faster so.

import shutil
from pathlib import Path

import bach_multihot
import numpy as np
import pytest

from bachkeras.music.pianoroll import KEYS
from bachkeras.music.voices import REST


def chorale_like(random: np.random.Generator, frames: int, voices: int = 4) -> np.ndarray:
    """Frames of up to `voices` distinct notes that mostly stay, bool (frames, 88); some are empty."""
    roll = np.zeros((frames, KEYS), bool)
    chord = random.choice(np.arange(20, 60), voices, replace=False)
    for frame in roll:
        if random.random() < 0.5:
            chord = random.choice(np.arange(20, 60), random.integers(0, voices + 1), replace=False)
        frame[chord] = True
    return roll


@pytest.fixture(scope="session")
def rolls() -> list[np.ndarray]:
    """Pieces of 5 to 24 frames."""
    random = np.random.default_rng(0)
    return [chorale_like(random, int(random.integers(5, 25))) for _ in range(12)]


@pytest.fixture(scope="session")
def parts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Four voices and their onsets, `(time, 4)` each, of 5 to 24 frames: rests, unisons, crossings, repeated notes."""
    random = np.random.default_rng(1)
    pieces = []
    for frames in random.integers(5, 25, 12):
        columns = random.choice([*range(30, 60), REST], (frames, 4))
        for t in np.flatnonzero(random.random(frames) < 0.6)[1:]:
            columns[t] = np.where(random.random(4) < 0.8, columns[t - 1], columns[t])
        onsets = random.random((frames, 4)) < 0.4
        onsets[1:] |= columns[1:] != columns[:-1]
        onsets[0] = True
        pieces.append((columns, onsets & (columns != REST)))
    return pieces


@pytest.fixture(scope="session")
def jsb_dir() -> Path:
    """The folder with the benchmark's files."""
    folder = os.environ.get("BACHKERAS_JSB_DIR")
    if not folder:
        pytest.skip("BACHKERAS_JSB_DIR is not set: it names the folder that holds jsb-chorales-quarter.json")
    return Path(folder).absolute()


@pytest.fixture
def few_chorales(tmp_path, monkeypatch) -> dict[str, list[str]]:
    """The builder with a table of five chorales; their ids by split."""
    ids = {"train": ["bwv66.6", "bwv253"], "validation": ["bwv254"], "test": ["bwv101.7", "bwv255"]}
    folder = tmp_path / "bach_multihot"
    shutil.copytree(Path(bach_multihot.__file__).parent, folder)
    rows = [f"{name}\ttune of {name}\t{split}" for split, names in ids.items() for name in names]
    (folder / "splits.tsv").write_text("\n".join(["id\tfamily\tsplit", *rows]) + "\n")
    monkeypatch.setattr(bach_multihot.Builder, "pkg_dir_path", folder)
    return ids
