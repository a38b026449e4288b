"""What a corpus holds, in lines and in a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bachkeras import _files as files
from bachkeras.data import catalog, splits
from bachkeras.data.pipeline import UNKNOWN, Corpus
from bachkeras.music.pianoroll import LOWEST
from bachkeras.music.render import encode
from bachkeras.music.score import MINOR, TONICS


def describe(name: str, corpora: Mapping[str, Corpus], metadata: Mapping[str, Any]) -> Iterator[str]:
    """Lines on a corpus: sizes, timesteps, polyphony, keys, losses, leak, and the digest of its examples.

    Args:
        name: of the corpus.
        corpora: its splits.
        metadata: what its builder counted.
    """
    for split, corpus in corpora.items():
        sounding = sum(int(piece["pianoroll"].sum()) for piece in corpus.pieces)
        notes = sum(int(piece["onsets"].sum()) for piece in corpus.pieces)
        yield (
            f"{split}: {len(corpus)} pieces, {corpus.frames} frames, {notes} notes, {sounding / corpus.frames:.2f} in "
            f"a frame, at most {corpus.polyphony}"
        )
    pieces = [piece for corpus in corpora.values() for piece in corpus.pieces]
    steps = Counter(Fraction(*map(int, piece["timestep"])) for piece in pieces)
    yield "timestep in quarters: " + _counts(steps)
    yield "keys: " + _counts(Counter(_key(piece) for piece in pieces))
    if "vanished" in metadata:
        yield (
            f"lost on the grid: {metadata['vanished']} of {metadata['notes']} notes vanish between two frames, "
            f"{metadata['moved']} start late; cleaning cut {metadata['cut']} of {metadata['frames']} frames"
        )
    yield from _folder(metadata)
    rolls = {split: [piece["pianoroll"] for piece in corpora[split].pieces] for split in ("train", "test")}
    leak = splits.shared_tunes(rolls["train"], rolls["test"])
    text = f"leak: {len(leak)} of {len(rolls['test'])} test pieces share {splits.SHARED_RUN} melody notes in a row"
    yield f"{text} with a training piece, as their own grids have them"
    if name in splits.BENCHMARKS:
        clean = splits.published_clean(name, (piece["id"] for piece in corpora["test"].pieces))
        shared = len(set(clean) & set(leak.tolist()))
        yield f"published as clean: {len(clean)} test pieces; {shared} of them are among those {len(leak)}"
    yield f"sha256: {catalog.digest(list(corpora.values()))}"


def draw(path: Path, name: str, corpora: Mapping[str, Corpus]) -> None:
    """Draw timesteps, keys, polyphony and pitches of a corpus, all splits together, as a PNG.

    Raises:
        OSError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    pieces = [piece for corpus in corpora.values() for piece in corpus.pieces]
    frames = np.concatenate([piece["pianoroll"] for piece in pieces])
    polyphony = np.bincount(frames.sum(axis=1)) / len(frames)
    pitches = Counter(dict(enumerate(frames.mean(axis=0).tolist(), LOWEST)))
    keys = Counter(_key(piece) for piece in pieces)
    steps = Counter(Fraction(*map(int, piece["timestep"])) for piece in pieces)
    panels = {
        "Timestep in quarters, pieces": {str(step): steps[step] for step in sorted(steps)},
        "Key, pieces": dict(keys.most_common()),
        "Notes in a frame, share of frames": dict(enumerate(polyphony.tolist())),
        "MIDI pitch, share of frames": dict(sorted(pitches.items())),
    }
    figure = Figure(figsize=(10, 6), dpi=120, facecolor="white", layout="constrained")
    figure.suptitle(f"{name}: {len(pieces)} pieces, {len(frames)} frames", fontsize=10, parse_math=False)
    for axes, (title, bars) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        axes.bar(list(bars), list(bars.values()), color="#28509E")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
        if title.endswith("pieces"):
            axes.yaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(bars) > 6 and isinstance(next(iter(bars)), str):
            axes.tick_params(axis="x", rotation=90)
    files.replace(path, encode(figure))


def _folder(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Lines on a folder: what of it is in the corpus, and what is not, and why."""
    if "files" not in metadata:
        return
    used = metadata["files"] - len(metadata["left_out"])
    yield f"files: {used} of {metadata['files']} used; {metadata['copies']} of them copies of others"
    if metadata["cut_in_time"]:
        yield "there are not three different pieces: each is cut, and the end of it is what is held out"
    yield from catalog.left_out(metadata)


def _counts(counter: Counter) -> str:
    return ", ".join(f"{value} × {count}" for value, count in counter.most_common())


def _key(piece: Mapping) -> str:
    if int(piece["tonic"]) == UNKNOWN["tonic"]:
        return "unknown"
    tonic = TONICS[int(piece["tonic"])]
    if int(piece["mode"]) == UNKNOWN["mode"]:
        return f"{tonic}, mode unknown"
    return f"{tonic.lower()} minor" if int(piece["mode"]) == MINOR else f"{tonic} major"
