"""Which pieces are one piece: the same notes in another key, at another tempo, in another file or an excerpt of it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from bachkeras.data import splits
from bachkeras.music import pianoroll, timesteps
from bachkeras.music.score import Score

RUN = 8
"""Intervals of a run; as many bytes are one 64-bit number."""

SHARED = 0.2
"""Two pieces are one where they share so many of the runs of the one that has fewer.

Editions of a piece differ in ornaments, each of which breaks the runs around it; different pieces have scales and
trills in common.
"""

_RARE = 50
"""All holders of a run are paired where they are so few; of a scale that thousands have, neighbours alone."""


def fingerprint(score: Score) -> np.ndarray:
    """The runs of a score's top line, in whatever key, rhythm and parts: distinct numbers, uint64 `(runs,)`.

    Two lines are taken, to the nearest sixteenth: the highest notes that begin, which do not depend on how long notes
    are held, and the highest that sound, which do not depend on the parts below. A line of fewer than `RUN` intervals
    is one run.

    Args:
        score: one with notes on the 88 keys.
    """
    sixteenths = timesteps.rounded(score, 4)
    roll = pianoroll.from_score(sixteenths, Fraction(1, 4))
    return np.unique(np.concatenate([_runs(splits.melody(line)) for line in (roll.onsets, roll.frames)]))


def _runs(line: np.ndarray) -> np.ndarray:
    intervals = (np.diff(line) + 128).astype(np.uint8)
    padded = np.pad(intervals, (0, max(RUN - len(intervals), 0)))
    runs = np.lib.stride_tricks.sliding_window_view(padded, RUN)
    return np.ascontiguousarray(runs).view(np.uint64)[:, 0]


def families(fingerprints: Sequence[np.ndarray]) -> np.ndarray:
    """Which pieces are one, by their fingerprints: the number of the first piece of each one's family, int64.

    A piece is also in the family of what is one with a piece of it.
    """
    if not len(fingerprints):
        return np.zeros(0, int)
    sizes = np.array([len(runs) for runs in fingerprints])
    family = np.arange(len(sizes))
    pairs, shared = _shared(fingerprints, sizes)
    for a, b in pairs[:, shared >= SHARED * np.minimum(*sizes[pairs])].T.tolist():
        a, b = _first(family, a), _first(family, b)
        family[max(a, b)] = min(a, b)
    return np.array([_first(family, i) for i in range(len(family))])


def _shared(fingerprints: Sequence[np.ndarray], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pieces that share runs, int64 `(2, pairs)`, and how many."""
    holder = np.repeat(np.arange(len(sizes)), sizes)
    run = np.concatenate(fingerprints)
    order = np.lexsort((holder, run))
    run, holder = run[order], holder[order]
    _, place, holders = np.unique(run, return_inverse=True, return_counts=True)
    rare = holders[place] <= _RARE
    found = []
    for apart in range(1, min(_RARE, len(sizes))):
        same = run[apart:] == run[:-apart]
        if apart > 1:
            same &= rare[apart:]
        if not same.any():
            break
        pairs = np.stack([holder[:-apart][same], holder[apart:][same]])
        found.append(np.unique(pairs, axis=1, return_counts=True))
    if not found:
        return np.zeros((2, 0), int), np.zeros(0, int)
    pairs, place = np.unique(np.concatenate([pairs for pairs, _ in found], axis=1), axis=1, return_inverse=True)
    shared = np.zeros(pairs.shape[1], int)
    np.add.at(shared, place.ravel(), np.concatenate([counts for _, counts in found]))
    return pairs, shared


def _first(family: np.ndarray, piece: int) -> int:
    """The first piece of a family, by way of what is noted so far."""
    while family[piece] != piece:
        family[piece] = family[family[piece]]
        piece = int(family[piece])
    return piece
