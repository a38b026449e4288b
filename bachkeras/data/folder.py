"""A folder of MIDI files as a corpus: what is in it, what is left out and why, and who trains on what."""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import os
import pickle
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bachkeras.data import duplicates, parallel, partition, sources
from bachkeras.music import bars, midi, pianoroll, reading, smf, timesteps
from bachkeras.music.score import UNKNOWN_MODE, UNKNOWN_TONIC, Score

SHORTEST = 20
"""Frames that the pieces of a folder have together, at the least: two to be tested on."""

PERFORMANCE = "played live, so its ticks say nothing of beats; --keep-performances keeps it"


class FolderError(ValueError):
    """A folder that is no corpus."""


class Contents(NamedTuple):
    """What a folder holds.

    Attributes:
        pieces: examples by split, packed; see `unpack`.
        counts: how many `files` were found, of them `performances` left out and `failed`; pieces that are `copies`, of
            which others are one; `cut_in_time` 1 where too few pieces are there and each is in all splits; and what
            the grids lost, as of `sources.chorale_examples`.
        left_out: the file and the reason of each that is left out.
    """

    pieces: dict[str, list[bytes]]
    counts: dict[str, int]
    left_out: dict[str, str]


class _Piece(NamedTuple):
    """A file that was read, or why not."""

    example: bytes = b""
    frames: int = 0
    digest: str = ""
    fingerprint: np.ndarray = np.zeros(0, np.uint64)
    lost: Mapping[str, int] = {}
    reason: str = ""


def files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and in those inside it, sorted; links to folders are not followed.

    Raises:
        FolderError: if there is no such folder, or it has none.
    """
    if not folder.is_dir():
        raise FolderError(f"There is no such folder. Received: {str(folder)!r}")
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(reading.MIDI) and not name.startswith("._")  # macOS's notes beside a file.
    ]
    if not found:
        raise FolderError(
            f"There is no MIDI file ({', '.join(reading.MIDI)}) in this folder. Received: {str(folder)!r}"
        )
    return sorted(found)


def digest(folder: Path, *, keep_performances: bool = False) -> str:
    """SHA-256, hexadecimal, of the names and contents of a folder's MIDI files and of how they are read.

    Raises:
        FolderError: see `files`.
    """
    found = files(folder)
    states = tuple((path, *_state(path)) for path in found)
    return _digest(folder, states, keep_performances)


def _state(path: Path) -> tuple[int, int]:
    """What changes with a file's content, as far as the file system knows."""
    with contextlib.suppress(OSError):
        state = path.stat()
        return state.st_size, state.st_mtime_ns
    return 0, 0


@functools.lru_cache(maxsize=4)  # Each split is loaded on its own.
def _digest(folder: Path, states: tuple[tuple[Path, int, int], ...], keep_performances: bool) -> str:
    sha = hashlib.sha256(repr(keep_performances).encode())
    for path, *_ in states:
        try:
            content = hashlib.sha256(midi.content(path)).hexdigest()
        except OSError as error:
            content = str(error.strerror)
        sha.update(f"{_name(path, folder)}\0{content}\0".encode())
    return sha.hexdigest()


def read(folder: Path, *, keep_performances: bool = False) -> Contents:
    """Read a folder's files on all cores, each on the grid of its most common note duration, cleaned.

    Pieces that are one (`duplicates.families`) are in one split, see `partition`; where there are not three different
    ones, the beginning of each is in train, then a tenth in validation, the last tenth in test.

    Args:
        folder: any folder.
        keep_performances: whether to keep pieces that were played live, see `timesteps.is_performance`.

    Raises:
        FolderError: if nothing of it can be used.
    """
    found = files(folder)
    read = functools.partial(_read, folder=folder, keep_performances=keep_performances)
    everything = dict(zip(found, parallel.ordered_map(read, found, description="Reading MIDI"), strict=True))
    left_out = {_name(path, folder): piece.reason for path, piece in everything.items() if piece.reason}
    pieces = [piece for piece in everything.values() if not piece.reason]
    if sum(piece.frames for piece in pieces) < SHORTEST:
        reasons = [f"{name}: {reason}" for name, reason in left_out.items()] or ["what there is, is too short"]
        more = f" ({len(reasons) - 3} more)" if len(reasons) > 3 else ""
        raise FolderError(
            f"No file of this folder can be used: {'; '.join(reasons[:3])}{more}. Received: {str(folder)!r}"
        )
    families = duplicates.families([piece.fingerprint for piece in pieces])
    different = len(set(families.tolist()))
    counts = collections.Counter(
        files=len(found),
        performances=sum(reason == PERFORMANCE for reason in left_out.values()),
        failed=sum(reason != PERFORMANCE for reason in left_out.values()),
        copies=len(pieces) - different,
        cut_in_time=int(different < 3),
    )
    for piece in pieces:
        counts.update(piece.lost)
    shared_out = _in_time(pieces) if different < 3 else _by_family(pieces, families)
    return Contents(shared_out, dict(counts), left_out)


def unpack(examples: list[bytes]) -> Iterator[sources.Example]:
    """Examples of `Contents.pieces`, one at a time: ten thousand rolls at once would fill the memory."""
    for example in examples:
        yield pickle.loads(zlib.decompress(example))


def _pack(example: sources.Example) -> bytes:
    return zlib.compress(pickle.dumps(example), 1)


def _by_family(pieces: list[_Piece], families: np.ndarray) -> dict[str, list[bytes]]:
    splits = partition.by_family(
        [piece.frames for piece in pieces], families.tolist(), [piece.digest for piece in pieces]
    )
    return {
        name: [piece.example for piece, split in zip(pieces, splits, strict=True) if split == name]
        for name in ("train", "validation", "test")
    }


def _in_time(pieces: list[_Piece]) -> dict[str, list[bytes]]:
    """Every piece in three parts, of at least a frame each."""
    splits: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for example in unpack([piece.example for piece in pieces]):
        frames = len(example["pianoroll"])
        for split, part in partition.in_time(frames).items():
            along = {key: example[key][part] for key in ("pianoroll", "onsets", "position")}
            if len(along["position"]):
                splits[split].append(_pack(example | along | {"id": f"{example['id']} ({split})"}))
    return splits


def _read(path: Path, folder: Path, keep_performances: bool) -> _Piece:
    try:
        content = midi.content(path)
        score = reading.as_played(midi.from_bytes(content))
    except OSError as error:
        return _Piece(reason=str(error.strerror))
    except smf.SmfError as error:
        return _Piece(reason=str(error))
    if not pianoroll.on_keys(score).any():
        return _Piece(reason="it has no notes (drums do not count)")
    if not keep_performances and timesteps.is_performance(score):
        return _Piece(reason=PERFORMANCE)
    score = timesteps.rounded(score)
    example, lost = _example(_name(path, folder), score)
    if not len(example["pianoroll"]):
        return _Piece(reason="none of its notes sounds at the beginning of a timestep")
    sha = hashlib.sha256(content).hexdigest()
    return _Piece(_pack(example), len(example["pianoroll"]), sha, duplicates.fingerprint(score), lost)


def _example(name: str, score: Score) -> tuple[sources.Example, dict[str, int]]:
    """The example of a score, and what was lost."""
    roll = pianoroll.from_score(score)
    position = bars.positions(score, roll.timestep, len(roll.frames))
    kept = pianoroll.kept_frames(roll)
    key = score.keys[0] if score.keys else None
    meter = bars.main_meter(score)
    lost = pianoroll.losses(score, roll.timestep)._asdict()
    example = sources.make_example(
        name,
        roll.take(kept),
        title=score.title,
        tonic=key.tonic if key else UNKNOWN_TONIC,
        mode=key.mode if key else UNKNOWN_MODE,
        position=position[kept],
        frames_per_bar=sources.frames_per_bar(meter, roll.timestep) if meter else 0,
    )
    return example, lost | {"frames": len(kept), "cut": int(np.sum(~kept))}


def _name(path: Path, folder: Path) -> str:
    """A file's name in the corpus: its path in the folder; bytes that are no text are written in hexadecimal."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
