"""Likelihood under a protocol, and the chord trigram that every network has to beat."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bachkeras.data import splits

if TYPE_CHECKING:
    from bachkeras.data.pipeline import Corpus
    from bachkeras.layers.frame import FrameDistribution
    from bachkeras.models.base import FrameModel

PROTOCOLS = {("jsb_quarter", "sets"): "Q88", ("jsb_16th", "voices"): "S16"}
"""Published benchmarks, by corpus and by what is scored: the sets of notes of the frames, or the labelled voices."""


def protocol(corpus: Corpus, frame: FrameDistribution | None = None) -> str:
    """What a likelihood is of: a benchmark's name, or corpus and contents, "chorales, voices with onsets".

    Args:
        corpus: the pieces that are scored.
        frame: the distribution that scores them; None: one over sets of notes.
    """
    contents = "voices" if frame is not None and frame.labelled else "sets"
    if frame is not None and frame.onsets:
        return f"{corpus.name}, {contents} with onsets"
    return PROTOCOLS.get((corpus.name, contents), f"{corpus.name}, {contents}")


def quoted(corpus: Corpus) -> Corpus:
    """The corpus as a quoted likelihood may see it.

    A key found by analysing a whole piece is knowledge of its future, so tonic and mode become unknown. Only the
    benchmark's own normalisation to C stays.
    """
    if corpus.name in splits.BENCHMARKS:
        return corpus
    hidden = ("tonic", "mode")
    pieces = [{key: value for key, value in piece.items() if key not in hidden} for piece in corpus.pieces]
    return dataclasses.replace(corpus, pieces=pieces)


def may_share_tunes(trained_on: Iterable[str], test: str) -> list[str]:
    """Those corpora whose training pieces may share tunes with a corpus' test split: a likelihood there is no figure.

    A corpus' own splits share none by its protocol. All `chorales*` have one table of splits, and what shares a tune
    with a benchmark test piece is in its test split. (A name with a separator is a user's folder.)

    Args:
        trained_on: corpora whose training split a model's weights have seen.
        test: the corpus of the test split.
    """
    return [name for name in trained_on if name != test and not (name.startswith("chorales") and os.sep not in name)]


def log_probs(model: FrameModel, corpus: Corpus, batch_size: int = 16) -> dict[str, np.ndarray]:
    """Log probabilities of each piece, whole, in nats: float64 `(pieces,)` each, as `FrameModel.log_probs` has them.

    All frames count, the first included.
    """
    batches = corpus.windows(None, shuffle=False).batch(batch_size)
    parts = [model.log_probs(batch) for batch in batches]
    log_p = {name: np.concatenate([np.asarray(part[name], np.float64) for part in parts]) for name in parts[0]}
    if len(log_p["frame"]) != len(corpus):
        raise ValueError(f"A piece without frames has no likelihood. Received: corpus={corpus.name!r}")
    return log_p


def clean_pieces(corpus: Corpus) -> list[int] | None:
    """Indices of those of the benchmark's test pieces that were published as clean; None for other corpora."""
    if corpus.name not in splits.BENCHMARKS:
        return None
    return splits.published_clean(corpus.name, (piece["id"] for piece in corpus.pieces))


def nats_per_frame(log_p: np.ndarray, corpus: Corpus, pieces: Sequence[int] | None = None) -> float | None:
    """Micro average of `-log_p` over the frames of some pieces, by default all; None for no pieces."""
    pieces = range(len(corpus)) if pieces is None else pieces
    frames = sum(len(corpus.pieces[i]["pianoroll"]) for i in pieces)
    return float(-sum(log_p[i] for i in pieces) / frames) if frames else None


class ChordTrigram:
    """A smoothed trigram over whole chords (sets of keys), the floor without a network.

    With n training frames, D distinct chords and b(c) the product of 88 Bernoullis, p_key = (n_key + .5) / (n + 1):

        p_1(c) = (n(c) + D b(c)) / (n + D)
        p_k(c | h) = (n(h, c) + w d(h) p_{k-1}(c)) / (n(h) + w d(h)),   k = 2, 3

    where h are the k - 1 chords before, d(h) the distinct chords seen after h, and an unseen h gives p_{k-1}. A piece's
    first frame has p_1, its second p_2.

    Args:
        pieces: training frames, bool `(time, 88)` each.
        weight: w, the strength of the shorter history (3 is best on the benchmark's validation split).
    """

    def __init__(self, pieces: Sequence[np.ndarray], weight: float = 3.0):
        self.weight = weight
        frames = np.concatenate(pieces)
        key = (frames.sum(0) + 0.5) / (len(frames) + 1)
        self.log_on, self.log_off = np.log(key), np.log1p(-key)
        self.frames = len(frames)
        self.after: dict[Hashable, Counter] = defaultdict(Counter)
        for piece in pieces:
            chords = _chords(piece)
            for t, chord in enumerate(chords):
                for k in range(min(t, 2) + 1):
                    self.after[tuple(chords[t - k : t])][chord] += 1
        self.distinct = len(self.after[()])

    def log_prob(self, piece: np.ndarray) -> np.ndarray:
        """Log probability of each frame of a piece, bool `(time, 88)`: float64 `(time,)`."""
        background = np.exp(np.where(piece, self.log_on, self.log_off).sum(-1))
        chords = _chords(piece)
        return np.log([self._probability(chords[max(t - 2, 0) : t], c, background[t]) for t, c in enumerate(chords)])

    def _probability(self, history: list[bytes], chord: bytes, background: float) -> float:
        p = (self.after[()][chord] + self.distinct * background) / (self.frames + self.distinct)
        for k in range(1, len(history) + 1):
            seen = self.after.get(tuple(history[-k:]))
            if not seen:
                return p
            smooth = self.weight * len(seen)
            p = (seen[chord] + smooth * p) / (seen.total() + smooth)
        return p


def _chords(piece: np.ndarray) -> list[bytes]:
    return [frame.tobytes() for frame in np.packbits(np.asarray(piece, bool), axis=1)]
