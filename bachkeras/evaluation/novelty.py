"""Novelty and variety: what samples share with the training pieces, and with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from bachkeras.evaluation.parts import Parts, melody
from bachkeras.evaluation.style import chord_types, ngrams
from bachkeras.music.voices import REST

Token = tuple[tuple[int, ...], int, float]

BLEU = 4
"""The longest n-gram of self-BLEU."""


def longest_copies(samples: Sequence[Parts], train: Sequence[Parts]) -> np.ndarray:
    """Length of the longest run that each sample shares with any training piece, in beats: float `(samples,)`.

    Four voices, quarter notes, transposition-invariant: a beat is the same where the chord above the bass and the
    bass' motion since the beat before are. Frames longer than a beat count as what they are. Silence copies nothing.
    """
    numbers: dict[Token | None, int] = {None: -2}
    known = [[numbers.setdefault(token, len(numbers)) for token in tokens(piece)] for piece in train]
    corpus = np.concatenate([[-3, *piece] for piece in known]) if known else np.zeros(0, int)
    return np.array([_longest(sample, corpus, numbers) for sample in samples], float)


def _longest(sample: Parts, corpus: np.ndarray, numbers: dict[Token | None, int]) -> float:
    ending_here = np.zeros(len(corpus), int)  # Tokens on end that the sample and the corpus share up to each place.
    best = 0
    for token in tokens(sample):
        before = np.concatenate([[0], ending_here[:-1]])
        ending_here = np.where(corpus == numbers.get(token, -1) if token else False, before + 1, 0)
        best = max(best, int(ending_here.max(initial=0)))
    return best * float(max(sample.timestep, 1))


def tokens(parts: Parts) -> list[Token | None]:
    """Each beat as its voices above the bass, the bass' motion since the beat before, and its length in quarters.

    Labelled, a rest is `REST`; by rank the notes are those that sound, and the bass is the lowest. The first beat moves
    by 0, a beat to or from a rest of the bass by `REST`. A silent beat is None.
    """
    found, last, length = [], None, float(max(parts.timestep, 1))
    for frame in parts.on_beats:
        sounding = frame[frame != REST]
        bass = int(frame[-1]) if parts.labelled else int(sounding.min(initial=REST))
        heard = frame if parts.labelled else sounding
        above = np.where((heard == REST) | (bass == REST), REST, heard - bass)
        motion = 0 if last is None else REST if REST in (bass, last) else bass - last
        found.append((tuple(above.tolist()), motion, length) if len(sounding) else None)
        last = bass
    return found


def self_bleu(sequences: Sequence[Sequence[Hashable]]) -> float | None:
    """How much each sequence is made of the others' n-grams, 0 to 1, a mean over the sequences (Zhu et al. 2018).

    BLEU (Papineni et al. 2002) of each against all others: the geometric mean of the clipped precisions of n = 1 to 4;
    a precision of zero counts as 1e-9; no brevity penalty. A sequence with no 4-gram is left out; None where fewer
    than two are left.
    """
    sequences = [sequence for sequence in sequences if len(sequence) >= BLEU]
    if len(sequences) < 2:
        return None
    counts = [[Counter(ngrams(sequence, n)) for n in range(1, BLEU + 1)] for sequence in sequences]
    most = [_two_most([count[n] for count in counts]) for n in range(BLEU)]
    scores = []
    for i, own in enumerate(counts):
        hits = [sum(min(k, _others(most[n][g], i)) for g, k in own[n].items()) / own[n].total() for n in range(BLEU)]
        scores.append(np.exp(np.log(np.maximum(hits, 1e-9)).mean()))
    return float(np.mean(scores))


def soprano_self_bleu(pieces: Sequence[Parts]) -> float | None:
    """`self_bleu` of the melodic intervals of the highest voices."""
    return self_bleu([np.diff(melody(parts, 0)).tolist() for parts in pieces])


def _two_most(counts: Sequence[Counter]) -> dict[tuple, list[tuple[int, int]]]:
    """By n-gram, the two highest counts and who has them, highest first."""
    found: dict[tuple, list[tuple[int, int]]] = {}
    for i, count in enumerate(counts):
        for gram, k in count.items():
            found[gram] = sorted([*found.get(gram, []), (k, i)], reverse=True)[:2]
    return found


def _others(most: list[tuple[int, int]], i: int) -> int:
    """The highest count of an n-gram among the sequences but the i-th."""
    return next((k for k, owner in most if owner != i), 0)


def distinct(pieces: Sequence[Parts], n: int) -> float | None:
    """Distinct chord n-grams over all of them, pooled over the pieces (Li et al. 2016); None where there is none."""
    found = [gram for parts in pieces for gram in ngrams(chord_types(parts), n)]
    return len(set(found)) / len(found) if found else None
