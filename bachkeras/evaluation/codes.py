"""How a model's codes are used, and what a prior must beat: n-grams of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from bachkeras.data.pipeline import Corpus
    from bachkeras.models.base import FrameModel

WEIGHT = 3
"""Of the unigram in the bigram, see `bigram_nats`; that of the chord trigram."""


def phases(model: FrameModel, corpus: Corpus, batch_size: int = 64) -> list[np.ndarray]:
    """The codes of each piece counted from its first frame, then of each from its second, and so on.

    Where groups fall in a piece is chance, so all `group_size` ways of counting are groups of its music.

    Returns:
        int `(groups, codebooks)`, a piece each, `group_size` times as many as there are pieces; those that a way of
        counting leaves no frame are left out.
    """
    return [
        found for phase in range(model.group_size) for found in pieces(model, corpus.without_first(phase), batch_size)
    ]


def pieces(model: FrameModel, corpus: Corpus, batch_size: int = 64) -> list[np.ndarray]:
    """The codes of each piece, int `(groups, codebooks)`, counted from its first frame."""
    found = []
    for batch in corpus.windows(None, shuffle=False).batch(batch_size):
        counted = groups(batch["mask"], model.group_size)
        found += [c[g] for c, g in zip(np.asarray(model.codes(batch)), counted, strict=True)]
    return found


def groups(mask: np.ndarray, size: int) -> np.ndarray:
    """Whether each group has a frame that is not padded: `(batch, time)` to bool `(batch, groups)`."""
    starts = np.arange(0, np.shape(mask)[1], size)
    return np.maximum.reduceat(np.asarray(mask), starts, axis=1) > 0


def perplexity(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Exponential of the entropy of each codebook's use: float64 `(codebooks,)`, 1 to the codebook's size.

    Args:
        codes: int `(n, codebooks)`; of no codes it is 1.
        sizes: codes in each codebook.
    """
    use = [count / max(len(codes), 1) for count in _counts(codes, sizes)]
    return np.array([np.exp(special.entr(p).sum()) for p in use])


def share_used(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Share of each codebook that occurs among the codes: float64 `(codebooks,)`; see `perplexity`."""
    return np.array([np.mean(count > 0) for count in _counts(codes, sizes)])


def _counts(codes: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """How often each code of each codebook occurs."""
    counts = [np.bincount(book, minlength=size) for book, size in zip(np.transpose(codes), sizes, strict=True)]
    if [len(count) for count in counts] != list(sizes):
        raise ValueError(f"A code is below its codebook's size. Received: codes up to {np.max(codes)}, sizes={sizes}")
    return counts


def unigram_nats(train: Sequence[np.ndarray], test: Sequence[np.ndarray], sizes: Sequence[int]) -> float:
    """Nats per code of sequences of codes, each codebook by itself: p(c) = (n(c) + 1/2) / (N + size / 2).

    Args:
        train: int `(groups, codebooks)` each, where codes are counted.
        test: likewise, what is scored.
        sizes: codes in each codebook.
    """
    scored = np.concatenate(test)
    return float(np.mean([-np.log(p[c]).mean() for p, c in zip(_unigrams(train, sizes), scored.T, strict=True)]))


def bigram_nats(train: Sequence[np.ndarray], test: Sequence[np.ndarray], sizes: Sequence[int]) -> float:
    """Nats per code, each codebook by itself, given its code in the group before; arguments as in `unigram_nats`.

        p(c|h) = (n(h, c) + 3 d(h) p(c)) / (n(h) + 3 d(h)),   d(h) = codes seen after h;   p(c) where h was not seen

    The smoothing is that of `ngrams.ChordTrigram`. The first code of a sequence has p(c).
    """
    nats = 0.0
    for k, (size, p) in enumerate(zip(sizes, _unigrams(train, sizes), strict=True)):
        pairs = np.zeros((size, size))
        for piece in train:
            np.add.at(pairs, (piece[:-1, k], piece[1:, k]), 1)
        distinct = np.count_nonzero(pairs, axis=1)[:, None]
        total = pairs.sum(1, keepdims=True) + WEIGHT * distinct
        after = np.where(total > 0, (pairs + WEIGHT * distinct * p) / np.maximum(total, 1), p)
        for piece in test:
            nats -= np.log(p[piece[:1, k]]).sum() + np.log(after[piece[:-1, k], piece[1:, k]]).sum()
    return float(nats / sum(piece.size for piece in test))


def _unigrams(train, sizes) -> list[np.ndarray]:
    """The smoothed share of each code in each codebook."""
    return [(count + 0.5) / (count.sum() + 0.5 * len(count)) for count in _counts(np.concatenate(train), sizes)]
