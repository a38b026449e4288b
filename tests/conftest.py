"""Shared fixtures: small music, and the benchmark's files where they are."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # As the command line does: small steps run faster so.

import shutil
from pathlib import Path

import bach_multihot
import numpy as np
import pytest

from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus
from bachkeras.music.pianoroll import KEYS, run_starts
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


def short_pieces(voices: int = 4) -> list[np.ndarray]:
    """Pieces of 5 to 24 frames."""
    random = np.random.default_rng(0)
    return [chorale_like(random, int(random.integers(5, 25)), voices) for _ in range(12)]


def by_rank(roll: np.ndarray, voices: int) -> np.ndarray:
    """The notes of each frame from the top, then rests, int32 (frames, voices)."""
    ranked = -np.sort(-np.where(roll, np.arange(1, KEYS + 1), 0), axis=1)[:, :voices]
    return np.where(ranked > 0, ranked - 1, REST).astype(np.int32)


def small_corpora(name: str = "chorales", voices: int = 4) -> dict[str, Corpus]:
    """Three splits of one corpus, every piece in D minor, in eighths, 4/4; its voices are the notes by rank."""
    pieces = [
        {
            "id": "x",
            "pianoroll": roll,
            "onsets": run_starts(roll),
            "voices": (columns := by_rank(roll, voices)),
            "voice_onsets": (columns != REST) & (np.diff(columns, axis=0, prepend=-1) != 0),
            "timestep": np.array([1, 2], np.int32),
            "tonic": np.int32(2),
            "mode": np.int32(1),
            "position": np.arange(len(roll), dtype=np.int32) % 8,
            "frames_per_bar": np.int32(8),
        }
        for roll in short_pieces(voices)
    ]
    return {split: Corpus(pieces[i::3], name) for i, split in enumerate(catalog.SPLITS)}


@pytest.fixture(scope="session")
def rolls() -> list[np.ndarray]:
    return short_pieces()


@pytest.fixture(scope="session")
def corpora() -> dict[str, Corpus]:
    return small_corpora()


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
