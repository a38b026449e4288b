"""Music from counting frames: samplers that need no network, and the chord trigram that every network has to beat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

ORDER = 3
"""The longest n-gram that is counted."""


class FrameCounts:
    """How often each frame comes after the ones before it in some pieces, and music drawn from that.

    Args:
        pieces: arrays `(time, n)` each; two frames are the same where all their n numbers are.

    Attributes:
        after: by the 0 to 2 frames before, the frames that followed, counted. A frame is its array's bytes.
    """

    def __init__(self, pieces: Sequence[np.ndarray]):
        self.after: dict[Hashable, Counter] = defaultdict(Counter)
        self.frames: dict[bytes, np.ndarray] = {}
        for piece in pieces:
            keys = frame_keys(piece)
            self.frames.update(zip(keys, piece, strict=True))
            for t, key in enumerate(keys):
                for k in range(min(t, ORDER - 1) + 1):
                    self.after[tuple(keys[t - k : t])][key] += 1

    def sample(self, lengths: Sequence[int], order: int, seed: int) -> list[np.ndarray]:
        """Pieces of an n-gram model: each frame is drawn as often as it followed the `order - 1` frames before it.

        Counts are not smoothed; where nothing ever followed, fewer frames before are looked at. A piece's first frame
        is any frame.

        Args:
            lengths: frames of each piece, at least 1.
            order: 1: frames are drawn independently; 2: bigram; 3: trigram.
            seed: the same seed gives the same pieces.

        Raises:
            ValueError: if the order is none of these.
        """
        if not 1 <= order <= ORDER:
            raise ValueError(f"The order is 1 to {ORDER}. Received: {order=}")
        random = np.random.default_rng(seed)
        choices = {history: _shares(counts) for history, counts in self.after.items()}
        return [self._piece(length, order, choices, random) for length in lengths]

    def _piece(self, length: int, order: int, choices: dict, random: np.random.Generator) -> np.ndarray:
        keys: list[bytes] = []
        for _ in range(length):
            history = tuple(keys[max(len(keys) - order + 1, 0) :])
            while history not in choices:
                history = history[1:]
            followers, up_to = choices[history]
            keys.append(followers[np.searchsorted(up_to, random.random(), side="right")])
        return np.stack([self.frames[key] for key in keys])


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
        self.after = FrameCounts([np.asarray(piece, bool) for piece in pieces]).after
        self.distinct = len(self.after[()])

    def log_prob(self, piece: np.ndarray) -> np.ndarray:
        """Log probability of each frame of a piece, bool `(time, 88)`: float64 `(time,)`."""
        background = np.exp(np.where(piece, self.log_on, self.log_off).sum(-1))
        chords = frame_keys(np.asarray(piece, bool))
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


def frame_keys(piece: np.ndarray) -> list[bytes]:
    """Each frame as its bytes, which can be counted."""
    return [frame.tobytes() for frame in np.ascontiguousarray(piece)]


def _shares(counts: Counter) -> tuple[list[bytes], np.ndarray]:
    """The frames of a count, and the share of all that each one and those before it have."""
    up_to = np.cumsum(list(counts.values()))
    return list(counts), up_to / up_to[-1]
