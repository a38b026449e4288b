"""Which pieces of two splits share a tune: the longest run of notes that their melodies have in common.

This finds leaks in any corpus, from its piano rolls alone. It is also the check on the splits of the chorales, which
another algorithm made (alignment with gaps, in `bach_multihot/make_splits.py`).
"""

from __future__ import annotations

import collections
import importlib.resources
from collections.abc import Iterable, Sequence

import numpy as np

SHARED_RUN = 15
"""Notes in a row, repeats merged, from which on two melodies are the same tune.

A line of a chorale has 6 to 9 notes, and different tunes may share one and a half (Ein feste Burg and Vom Himmel hoch
end in the same 13 notes). On the quarter grid 33 pairs of different tunes of music21's chorales share 13 notes, 5 share
14. The 380 pairs that share 15 or more are one tune, under one title or several, but for three (O Traurigkeit walks in
the steps of Jesu, der du meine Seele).
"""


BENCHMARKS = ("jsb_quarter", "jsb_16th")
"""Corpora that are a file of the JSB Chorales benchmark."""


def melody(pianoroll: np.ndarray) -> np.ndarray:
    """The top note of every frame that sounds, int64 `(notes,)`, equal neighbours merged; of bool `(time, 88)`."""
    sounding = pianoroll[pianoroll.any(axis=1)]
    return merge(sounding.shape[1] - 1 - np.argmax(sounding[:, ::-1], axis=1))


def merge(pitches: np.ndarray) -> np.ndarray:
    """`pitches`, one-dimensional, without those that equal the one before."""
    return pitches[np.r_[True, pitches[1:] != pitches[:-1]]] if len(pitches) else pitches


def longest_common_run(a: Sequence[int], b: Sequence[int]) -> int:
    """The most notes in a row that two melodies have in common, in whatever key.

    Args:
        a: pitches; 0 notes are common to an empty melody and any other, at least 1 to others.
        b: pitches.
    """
    if not len(a) or not len(b):
        return 0
    intervals = np.diff(b)
    longest = np.zeros(len(b), int)  # longest[j]: how many equal intervals end with interval j - 1 of b.
    best = 0
    for interval in np.diff(a):
        longest[1:] = np.where(intervals == interval, longest[:-1] + 1, 0)
        best = max(best, int(longest.max()))
    return best + 1


def leaks(
    train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], *, notes: int = SHARED_RUN
) -> list[tuple[int, int, int]]:
    """The pairs of melodies that share a run of at least `notes` notes.

    Args:
        train: melodies, as `melody` gives them.
        test: melodies.
        notes: at least 2.

    Returns:
        `(test index, train index, longest common run in notes)`, in the order of `test`.
    """
    if notes < 2:
        raise ValueError(f"A run needs at least 2 notes. Received: {notes=}")
    holders = collections.defaultdict(set)
    for index, pitches in enumerate(train):
        for run in _runs(pitches, notes):
            holders[run].add(index)
    found = []
    for index, pitches in enumerate(test):
        others = set().union(*(holders[run] for run in _runs(pitches, notes) & holders.keys()))
        found.extend((index, other, longest_common_run(train[other], pitches)) for other in sorted(others))
    return found


def _runs(pitches: Sequence[int], notes: int) -> set[bytes]:
    """All runs of `notes` notes of a melody, each as its intervals, a byte each: a large corpus has millions."""
    intervals = np.diff(pitches).astype(np.int8).tobytes()
    return {intervals[begin : begin + notes - 1] for begin in range(len(intervals) - notes + 2)}


def shared_tunes(
    train_rolls: Iterable[np.ndarray], test_rolls: Iterable[np.ndarray], *, notes: int = SHARED_RUN
) -> np.ndarray:
    """Which test pieces share their tune with a training piece: int64 indices into `test_rolls`, ascending.

    Args:
        train_rolls: piano rolls, bool `(time, 88)`, on the same grid as `test_rolls`.
        test_rolls: piano rolls.
        notes: the run that makes two melodies one tune.
    """
    found = leaks([melody(roll) for roll in train_rolls], [melody(roll) for roll in test_rolls], notes=notes)
    return np.unique(np.array([index for index, _, _ in found], int))


def jsb_clean_test(corpus: str) -> np.ndarray:
    """The JSB test pieces without a tune of the training split, as published (Khoo 2026).

    Args:
        corpus: one of `BENCHMARKS`; the benchmark's files have the pieces in different orders.

    Returns:
        Their places in the file's test split, int64 `(49,)`.
    """
    text = importlib.resources.files("bachkeras.data").joinpath(f"{corpus}_clean_test.txt").read_text()
    return np.loadtxt(text.splitlines(), dtype=int)


def published_clean(corpus: str, ids: Iterable[str]) -> list[int]:
    """Which of some JSB test pieces, by their ids as in 'test/012', are in `jsb_clean_test`: places in `ids`."""
    numbers = set(jsb_clean_test(corpus).tolist())
    return [place for place, name in enumerate(ids) if int(name.rpartition("/")[2]) in numbers]
