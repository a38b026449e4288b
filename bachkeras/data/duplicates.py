"""Which pieces are one piece: the same notes in another key, at another tempo, in another file or an excerpt of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bachkeras.music.score import Score

RUN = 8
"""Intervals of a run; as many bytes are one 64-bit number."""

SHARED = 0.2
"""Two pieces are one where they share so many of the runs of the one that has fewer.

Editions of a piece differ in ornaments, each of which breaks the runs around it; different pieces have scales and
trills in common.
"""


def fingerprint(score: Score) -> np.ndarray:
    """The runs of a score's top line, in whatever key, rhythm and parts: distinct numbers, uint64 `(runs,)`.

    The top line is the highest note of all that begin together. A line of fewer than `RUN` intervals is one run.

    Args:
        score: one with notes.
    """
    notes = score.notes[np.lexsort((-score.notes["pitch"], score.notes["start"]))]
    _, first = np.unique(notes["start"], return_index=True)
    intervals = (np.diff(notes["pitch"][first]) + 128).astype(np.uint8)
    padded = np.pad(intervals, (0, max(RUN - len(intervals), 0)))
    runs = np.lib.stride_tricks.sliding_window_view(padded, RUN)
    return np.unique(np.ascontiguousarray(runs).view(np.uint64))


def families(fingerprints: Sequence[np.ndarray]) -> np.ndarray:
    """Which pieces are one, by their fingerprints: the number of the first piece of each one's family, int64.

    A piece is also in the family of what is one with a piece of it.
    """
    if not len(fingerprints):
        return np.zeros(0, int)
    sizes = np.array([len(runs) for runs in fingerprints])
    holder = np.repeat(np.arange(len(sizes)), sizes)
    run = np.concatenate(fingerprints)
    order = np.lexsort((holder, run))
    run, holder = run[order], holder[order]
    # Of all who have a run only neighbours are paired: a scale that thousands have would make millions of pairs.
    same = run[1:] == run[:-1]
    pairs, shared = np.unique(np.stack([holder[:-1][same], holder[1:][same]]), axis=1, return_counts=True)
    one = shared >= SHARED * np.minimum(*sizes[pairs])
    family = np.arange(len(sizes))
    for a, b in pairs[:, one].T.tolist():
        a, b = _first(family, a), _first(family, b)
        family[max(a, b)] = min(a, b)
    return np.array([_first(family, i) for i in range(len(family))])


def _first(family: np.ndarray, piece: int) -> int:
    """The first piece of a family, by way of what is noted so far."""
    while family[piece] != piece:
        family[piece] = family[family[piece]]
        piece = int(family[piece])
    return piece
