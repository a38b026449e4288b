"""From pieces to batches: windows, transposition, padding. Every batch is a function of the seed and the epoch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import tensorflow as tf

from bachkeras.music.pianoroll import KEYS
from bachkeras.music.score import UNKNOWN_MODE, UNKNOWN_TONIC
from bachkeras.music.timesteps import TIMESTEPS

UNKNOWN = {"tonic": UNKNOWN_TONIC, "mode": UNKNOWN_MODE, "timestep": len(TIMESTEPS), "position": -1}
"""The value of each condition that says nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Pieces in memory.

    Attributes:
        pieces: one mapping a piece, with the features of the TFDS builder: `pianoroll` bool `(time, 88)` and,
            each optional, `timestep` (numerator, denominator), `tonic`, `mode`, `position` int `(time,)`, `id`.
        name: the corpus' name, '' for arrays of one's own.
        sounding_shift: semitones from the frames' pitches to the sounding ones.
    """

    pieces: Sequence[Mapping]
    name: str = ""
    sounding_shift: int = 0

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def frames(self) -> int:
        """Frames of all pieces together."""
        return sum(len(piece["pianoroll"]) for piece in self.pieces)

    @property
    def polyphony(self) -> int:
        """The most notes that sound in one frame, at least 1."""
        return max([1, *(int(piece["pianoroll"].sum(-1).max(initial=0)) for piece in self.pieces)])

    def windows(
        self,
        window: int | None,
        *,
        transpose: int = 0,
        untransposed: float = 0.3,
        shuffle: bool = True,
        seed: int = 0,
    ) -> Windows:
        """Cut the pieces into training or evaluation examples.

        Args:
            window: frames of an example; None: whole pieces.
            transpose: transpose each example by up to so many semitones up or down, among those that keep every note
                on the keyboard. Its tonic moves along.
            untransposed: with `transpose`, the share of examples left as they are.
            shuffle: True: a new order, new cuts and new transpositions every epoch; a piece of T frames gives
                ceil(T / window) windows that start anywhere. False: pieces in order, windows end to end.
            seed: of all of this.
        """
        if window is not None and window < 1:
            raise ValueError(f"A window has at least one frame; None means whole pieces. Received: window={window}")
        if transpose < 0:
            raise ValueError(
                f"transpose is the largest distance in semitones, 0 or more. Received: transpose={transpose}"
            )
        return Windows(self, window, transpose, untransposed, shuffle, seed)


def from_arrays(pianorolls: Sequence[np.ndarray], **conditions: Sequence | int) -> Corpus:
    """A corpus of one's own arrays.

    Args:
        pianorolls: bool or 0/1 arrays `(time, 88)`, a list of them or one array `(pieces, time, 88)`.
        **conditions: `tonic`, `mode`: a number for all or a list of one a piece; `timestep`: (numerator, denominator)
            for all or a list of them; `position`: a list of one array `(time,)` a piece.

    Raises:
        ValueError: if an array or a condition has another shape, or there is no such condition.
    """
    for name, value in conditions.items():
        if name not in UNKNOWN:
            raise ValueError(f"The conditions are {', '.join(UNKNOWN)}. Received: {name}={value}")
        if name != "position" and np.ndim(value) == (1 if name == "timestep" else 0):
            conditions[name] = [value] * len(pianorolls)
        elif np.isscalar(value) or len(value) != len(pianorolls):
            raise ValueError(f"{name} needs a value for each of {len(pianorolls)} pieces. Received: {name}={value}")
    pieces = []
    for i, roll in enumerate(pianorolls):
        roll = np.asarray(roll)
        if roll.ndim != 2 or roll.shape[1] != KEYS:
            raise ValueError(f"A pianoroll is an array (time, {KEYS}). Received: pianorolls[{i}].shape={roll.shape}")
        piece = {name: values[i] for name, values in conditions.items()}
        if "position" in piece and np.shape(piece["position"]) != (len(roll),):
            raise ValueError(f"position needs a number a frame. Received: position[{i}]={piece['position']}")
        pieces.append(piece | {"pianoroll": roll.astype(bool)})
    return Corpus(pieces)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Examples waiting to be batched; made by `Corpus.windows`."""

    corpus: Corpus
    window: int | None
    transpose: int
    untransposed: float
    shuffle: bool
    seed: int

    def batch(self, batch_size: int, *, first_epoch: int = 0) -> tf.data.Dataset:
        """A dataset of batches, for `fit`, `evaluate` and `predict`.

        A batch is a dict: `pianoroll` float32 `(batch, time + 1, 88)`, the frame before the window first (zeros at a
        piece's start); `mask` float32 `(batch, time)`, 0 where padded; `tonic`, `mode`, `timestep` int32 `(batch,)`;
        `position` int32 `(batch, time)`. There is no y. Shuffled pieces come in batches of similar length.

        Args:
            batch_size: examples in a batch; the last ones of an epoch may have fewer.
            first_epoch: number of the epoch that the first pass over the dataset is.
        """
        if batch_size < 1:
            raise ValueError(f"A batch has at least one example. Received: batch_size={batch_size}")
        if not self.corpus.pieces:
            raise ValueError(f"There are no pieces to cut windows from. Received: corpus={self.corpus.name!r}")
        epochs = itertools.count(first_epoch)
        time = self.window
        signature = {
            "pianoroll": tf.TensorSpec((None, None if time is None else time + 1, KEYS), tf.float32),
            "mask": tf.TensorSpec((None, time), tf.float32),
            "position": tf.TensorSpec((None, time), tf.int32),
            **{name: tf.TensorSpec((None,), tf.int32) for name in ("tonic", "mode", "timestep")},
        }
        dataset = tf.data.Dataset.from_generator(
            lambda: self._epoch(next(epochs) if self.shuffle else 0, batch_size), output_signature=signature
        )
        batches = len(self._batches(self._examples(0), batch_size, np.random.default_rng(0)))
        return dataset.apply(tf.data.experimental.assert_cardinality(batches)).prefetch(4)

    def _epoch(self, epoch: int, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
        random = np.random.default_rng([self.seed, epoch])
        examples = self._examples(random)
        for batch in self._batches(examples, batch_size, random):
            yield _stack([self._cut(example) for example in batch], self.window)

    def _examples(self, random) -> list[tuple[int, int, int, int]]:
        """`(piece, start, stop, semitones)` of every example of an epoch, in the pieces' order."""
        random = np.random.default_rng(random)
        examples = []
        for i, piece in enumerate(self.corpus.pieces):
            frames = len(piece["pianoroll"])
            window = self.window or frames
            for start in range(0, frames, window or 1):
                if self.shuffle:
                    start = int(random.integers(max(frames - window, 0) + 1))
                examples.append((i, start, min(start + window, frames), self._semitones(piece, random)))
        return examples

    def _semitones(self, piece, random) -> int:
        """How far to transpose an example: never so far that a note leaves the keyboard."""
        if not self.transpose or random.random() < self.untransposed:
            return 0
        keys = np.flatnonzero(piece["pianoroll"].any(0))
        lowest, highest = (keys[0], keys[-1]) if keys.size else (0, KEYS - 1)
        down, up = min(self.transpose, int(lowest)), min(self.transpose, int(KEYS - 1 - highest))
        return int(random.integers(-down, up + 1))

    def _batches(self, examples, batch_size, random) -> list[list]:
        if self.shuffle:
            examples = [examples[i] for i in random.permutation(len(examples))]
            # Like lengths together wastes no work on padding; the jitter keeps the company changing.
            examples.sort(key=lambda example: (example[2] - example[1]) * random.uniform(0.9, 1.1))
        batches = [examples[i : i + batch_size] for i in range(0, len(examples), batch_size)]
        return [batches[i] for i in random.permutation(len(batches))] if self.shuffle else batches

    def _cut(self, example) -> dict[str, np.ndarray]:
        i, start, stop, semitones = example
        piece = self.corpus.pieces[i]
        roll = piece["pianoroll"]
        before = roll[start - 1 : start] if start else np.zeros((1, KEYS), bool)
        tonic = int(piece.get("tonic", UNKNOWN["tonic"]))
        return {
            "pianoroll": np.roll(np.concatenate([before, roll[start:stop]]), semitones, axis=1),
            "tonic": tonic if tonic == UNKNOWN["tonic"] else (tonic + semitones) % 12,
            "mode": int(piece.get("mode", UNKNOWN["mode"])),
            "timestep": timestep_index(piece.get("timestep")),
            "position": np.broadcast_to(piece.get("position", UNKNOWN["position"]), len(roll))[start:stop],
        }


def timestep_index(timestep: Sequence[int] | Fraction | None) -> int:
    """Place of a timestep in `TIMESTEPS`; the unknown one's where it is None or not among them."""
    if timestep is None:
        return UNKNOWN["timestep"]
    value = timestep if isinstance(timestep, Fraction) else Fraction(int(timestep[0]), int(timestep[1]))
    return TIMESTEPS.index(value) if value in TIMESTEPS else UNKNOWN["timestep"]


def _stack(examples: list[dict], window: int | None) -> dict[str, np.ndarray]:
    """Examples of one batch, padded at the end to the window or to the longest."""
    lengths = [len(example["position"]) for example in examples]
    time = window or max(lengths)
    batch = {
        "pianoroll": np.zeros((len(examples), time + 1, KEYS), np.float32),
        "mask": np.zeros((len(examples), time), np.float32),
        "position": np.full((len(examples), time), UNKNOWN["position"], np.int32),
    }
    for i, (example, length) in enumerate(zip(examples, lengths, strict=True)):
        batch["pianoroll"][i, : length + 1] = example["pianoroll"]
        batch["mask"][i, :length] = 1
        batch["position"][i, :length] = example["position"]
    for name in ("tonic", "mode", "timestep"):
        batch[name] = np.array([example[name] for example in examples], np.int32)
    return batch
