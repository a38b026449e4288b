"""What codes mean: the most used ones of a VQ-VAE, as small piano rolls and as MIDI."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bachkeras import _files as files
from bachkeras.data.pipeline import UNKNOWN, Corpus
from bachkeras.evaluation import codes
from bachkeras.models.base import FrameModel
from bachkeras.music import midi, render
from bachkeras.music.pianoroll import KEYS, LOWEST
from bachkeras.music.score import UNKNOWN_MODE, semitones_to_c
from bachkeras.tasks import hearing
from bachkeras.training import directory, samples

MOST = 12
"""Codes of each codebook that are shown."""


FAINT = 0.05
"""The picture leaves out keys that no code has in a larger share of its groups."""


class Meaning(NamedTuple):
    """A code, and the groups that have it.

    Attributes:
        codebook: from 0.
        code: from 0.
        count: how many groups have it.
        share: float `(group_size, 88)`, in how many of them each note sounds.
        typical: bool `(group_size, 88)`, the group that is nearest to `share`.
    """

    codebook: int
    code: int
    count: int
    share: np.ndarray
    typical: np.ndarray


def draw(run: str | os.PathLike, out: Path, *, manual_dir: Path | None = None) -> list[Path]:
    """Show the most used codes of a run's model, by the training music that has them, moved to the tonic C.

    Writes `codes.png`, a row of piano rolls for each codebook with the counts, the darker the more of a code's groups
    have the note; the frames that the codebook stands for are framed. `codes.csv` has the same as numbers. The group
    nearest to each code's mean is a file, `codebook1-code017.mid`.

    Args:
        run: a preset's name or a run directory, of a model with codes.
        out: a new folder.
        manual_dir: see `catalog.build`.

    Returns:
        The MIDI files.

    Raises:
        ValueError: if the model has no codes, or `out` exists.
    """
    if out.exists():
        raise ValueError(f"There is something already: choose another folder. Received: out={str(out)!r}")
    performer = hearing.player(run)
    if not hasattr(performer, "codes"):
        raise ValueError(f"This needs a model with codes, vq-vae. Received: model={performer.card['model']!r}")
    train = directory.corpus(performer.card, "train", manual_dir=manual_dir)
    shift = performer.card["sounding_shift"]
    found = meanings(performer, train)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(out) as folder:
        folder.mkdir()
        (folder / "codes.png").write_bytes(_picture(found, performer, shift))
        _write_table(folder / "codes.csv", found, shift)
        for meaning in found:
            midi.write(folder / _name(meaning), _score(meaning, train.pieces[0], shift))
    return [out / _name(meaning) for meaning in found]


def meanings(model: FrameModel, corpus: Corpus, most: int = MOST) -> list[Meaning]:
    """The most used codes of each codebook, in the groups of some music.

    Args:
        model: one with codes.
        corpus: the music; where a tonic is known it is moved to C.
        most: codes of each codebook.
    """
    used = np.concatenate(codes.pieces(model, corpus))
    groups = np.concatenate([_groups_in_c(piece, model.group_size) for piece in corpus.pieces])
    found = []
    for book, size in enumerate(model.code_sizes):
        counts = np.bincount(used[:, book], minlength=size)
        for code in np.argsort(-counts, kind="stable")[:most]:
            if counts[code]:
                own = groups[used[:, book] == code]
                share = own.mean(0)
                typical = own[np.argmin(((own - share) ** 2).sum((1, 2)))]
                found.append(Meaning(book, int(code), int(counts[code]), share, typical))
    return found


def _groups_in_c(piece: dict[str, Any], size: int) -> np.ndarray:
    """A piece's groups moved to the tonic C, bool `(groups, size, 88)`, the last one filled up with silence."""
    roll, tonic = np.asarray(piece["pianoroll"], bool), int(piece.get("tonic", UNKNOWN["tonic"]))
    shift = 0 if tonic == UNKNOWN["tonic"] else semitones_to_c(tonic)
    padded = np.zeros((-(-len(roll) // size) * size, KEYS), bool)
    frames, keys = np.nonzero(roll)
    inside = (keys + shift >= 0) & (keys + shift < KEYS)
    padded[frames[inside], keys[inside] + shift] = True
    return padded.reshape(-1, size, KEYS)


def _name(meaning: Meaning) -> str:
    return f"codebook{meaning.codebook + 1}-code{meaning.code:03}.mid"


def _score(meaning: Meaning, like: dict[str, Any], shift: int):
    """The typical group as a score, in the timestep of a piece."""
    setting = {"tonic": 0, "mode": UNKNOWN_MODE, "timestep": like["timestep"], "frames_per_bar": 0}
    roll = {"pianoroll": meaning.typical, "position": np.full(len(meaning.typical), -1)}
    title = f"Codebook {meaning.codebook + 1}, code {meaning.code}: {meaning.count} groups"
    return samples.score({**setting, **roll}, False, shift, title)


def _write_table(path: Path, found: list[Meaning], shift: int) -> None:
    """Codes, counts, and the MIDI pitches of the typical groups, a frame between bars."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["codebook", "code", "count", "typical"])
        for meaning in found:
            frames = [" ".join(str(key + LOWEST + shift) for key in np.flatnonzero(frame)) for frame in meaning.typical]
            writer.writerow([meaning.codebook + 1, meaning.code, meaning.count, " | ".join(frames)])


def _picture(found: list[Meaning], model: FrameModel, shift: int) -> bytes:
    """The picture as a PNG, see `draw`."""
    from matplotlib.figure import Figure

    books = len(model.code_sizes)
    keys = np.flatnonzero(np.any([meaning.share.max(0) > FAINT for meaning in found], axis=0))
    low, high = (max(keys[0] - 1, 0), keys[-1] + 2) if len(keys) else (0, KEYS)
    figure = Figure(figsize=(MOST * 0.95 + 1, books * 2.2 + 0.5), dpi=140, facecolor="white", layout="constrained")
    axes = figure.subplots(books, MOST, squeeze=False, sharex=True, sharey=True)
    octaves = [key for key in range(low, high) if (key + LOWEST + shift) % 12 == 0]
    for row in axes.flat:
        row.set_axis_off()
    per_book = model.group_size // books
    for book in range(books):
        for panel, meaning in zip(axes[book], (m for m in found if m.codebook == book), strict=False):
            panel.set_axis_on()
            panel.imshow(
                meaning.share.T[low:high],
                cmap="Blues",
                vmin=0,
                vmax=1,
                aspect="auto",
                origin="lower",
                extent=(0, model.group_size, low - 0.5, min(high, KEYS) - 0.5),
            )
            panel.hlines([key - 0.5 for key in octaves], 0, model.group_size, color="#CCCCCC", linewidth=0.6)
            panel.axvspan(book * per_book, (book + 1) * per_book, fill=False, edgecolor="#C8321E", linewidth=1.2)
            panel.set_title(f"{meaning.code}: {meaning.count}", size=8)
            panel.set_yticks(octaves, [f"C{(key + LOWEST + shift) // 12 - 1}" for key in octaves], size=7)
            panel.set_xticks([])
        axes[book, 0].set_ylabel(f"Codebook {book + 1}", size=9)
    figure.suptitle("The most used codes, and how many groups of training music have them", size=10)
    return render.encode(figure)
