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

FORMAT = 1
"""Number of the way in which folders are read: with another one, they are read again."""

SHORTEST = 20
"""Frames of a piece that is cut in time, at the least: two to be tested on."""

PERFORMANCE = "played live, so its ticks say nothing of beats; --keep-performances keeps it"


def is_folder(name: str) -> bool:
    """Whether a corpus' name is that of a folder: a path, which holds a separator, as in ./chorales."""
    return os.sep in name or bool(os.altsep and os.altsep in name)


def canonical(name: str) -> str:
    """A corpus' one name: of a folder its whole path."""
    return os.path.abspath(os.path.expanduser(name)) if is_folder(name) else name


class FolderError(ValueError):
    """A folder that is no corpus."""


class Contents(NamedTuple):
    """What a folder holds.

    Attributes:
        pieces: examples by split, packed; see `unpack`.
        counts: how many `files` were found; how many pieces are `copies` of others; `cut_in_time`, 1 where there are
            too few families and each piece is in all splits; what the grids lost, as of `sources.chorale_examples`.
        left_out: the file and the reason of each that is left out.
    """

    pieces: dict[str, list[bytes]]
    counts: dict[str, int]
    left_out: dict[str, str]


class _Piece(NamedTuple):
    """A file that was read, or why not."""

    name: str
    example: bytes = b""
    frames: int = 0
    digest: str = ""
    fingerprint: np.ndarray = np.zeros(0, np.uint64)
    lost: Mapping[str, int] = {}
    reason: str = ""


def files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and in those inside it, sorted; links to folders are not followed.

    A folder inside that cannot be looked into is among them: it is one that cannot be read.

    Raises:
        FolderError: if there is no such folder, or it has none.
    """
    if not folder.is_dir():
        fault = "This is no folder" if folder.exists() else "There is no such folder"
        raise FolderError(f"{fault}. Received: {str(folder)!r}")
    closed: list[Path] = []
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)))
        for name in names
        if name.lower().endswith(reading.MIDI) and not name.startswith("._")  # macOS's notes beside a file.
    ]
    found += closed
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
    sha = hashlib.sha256(f"{FORMAT} {keep_performances}".encode())
    for path, *_ in states:
        try:
            content = hashlib.sha256(midi.content(path)).hexdigest()
        except OSError as error:
            content = str(error.strerror)
        sha.update(f"{_name(path, folder)}\0{content}\0".encode())
    return sha.hexdigest()


def read(folder: Path, *, keep_performances: bool = False) -> Contents:
    """Read a folder's files on all cores, each on the grid of its most common note duration, cleaned.

    Pieces that are one (`duplicates.families`) are in one split, see `partition`. Where there are not three different
    ones, of each the file with most notes counts, its beginning in train, a tenth in validation, the last one in test.

    Args:
        folder: any folder.
        keep_performances: whether to keep pieces that were played live, see `timesteps.is_performance`.

    Raises:
        FolderError: if nothing of it can be used.
    """
    found = files(folder)
    reader = functools.partial(_read, folder=folder, keep_performances=keep_performances)
    everything = parallel.ordered_map(reader, found, description="Reading MIDI")
    left_out = {piece.name: piece.reason for piece in everything if piece.reason}
    pieces = [piece for piece in everything if not piece.reason]
    families = duplicates.families([piece.fingerprint for piece in pieces]).tolist()
    different = len(set(families))
    if different < 3:
        pieces = _fullest(pieces, families, left_out)
    if not pieces:
        reasons = [f"{name}: {reason}" for name, reason in left_out.items()]
        more = f" ({len(reasons) - 3} more)" if len(reasons) > 3 else ""
        raise FolderError(
            f"No file of this folder can be used: {'; '.join(reasons[:3])}{more}. Received: {str(folder)!r}"
        )
    counts = collections.Counter(
        files=len(found),
        copies=len(pieces) - min(different, len(pieces)),
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


def _fullest(pieces: list[_Piece], families: list[int], left_out: dict[str, str]) -> list[_Piece]:
    """Of each family the piece with most notes, if it can be cut; why the others are `left_out` is noted."""
    kept = {}
    for piece, family in sorted(zip(pieces, families, strict=True), key=lambda pair: -pair[0].lost["notes"]):
        if piece.frames < SHORTEST:
            left_out[piece.name] = f"too short to be cut, with {piece.frames} timesteps, and there are not three pieces"
        elif kept.setdefault(family, piece) is not piece:
            left_out[piece.name] = f"the same music as {kept[family].name}"
    return [*kept.values()]


def _by_family(pieces: list[_Piece], families: list[int]) -> dict[str, list[bytes]]:
    splits = partition.by_family([piece.frames for piece in pieces], families, [piece.digest for piece in pieces])
    return {
        name: [piece.example for piece, split in zip(pieces, splits, strict=True) if split == name]
        for name in ("train", "validation", "test")
    }


def _in_time(pieces: list[_Piece]) -> dict[str, list[bytes]]:
    """Every piece in three parts."""
    splits: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for example in unpack([piece.example for piece in pieces]):
        frames = len(example["pianoroll"])
        for split, part in partition.in_time(frames).items():
            along = {key: example[key][part] for key in ("pianoroll", "onsets", "position")}
            splits[split].append(_pack(example | along | {"id": f"{example['id']} ({split})"}))
    return splits


def _read(path: Path, folder: Path, keep_performances: bool) -> _Piece:
    name = _name(path, folder)
    try:
        content = midi.content(path)
        score = reading.as_played(midi.from_bytes(content))
    except OSError as error:
        return _Piece(name, reason=str(error.strerror))
    except smf.SmfError as error:
        return _Piece(name, reason=str(error))
    if not pianoroll.on_keys(score).any():
        return _Piece(name, reason="it has no notes (drums do not count)")
    if not keep_performances and timesteps.is_performance(score):
        return _Piece(name, reason=PERFORMANCE)
    score = timesteps.rounded(score)
    example, lost = _example(name, score)
    if not len(example["pianoroll"]):
        return _Piece(name, reason="none of its notes sounds at the beginning of a timestep")
    sha = hashlib.sha256(content).hexdigest()
    return _Piece(name, _pack(example), len(example["pianoroll"]), sha, duplicates.fingerprint(score), lost)


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
    """A file's name in the corpus: its path in the folder; what is no text is written as Python does."""
    text = path.relative_to(folder).as_posix()
    return "".join(sign if sign.isprintable() and sign != "\\" else ascii(sign)[1:-1] for sign in text)
