"""From pieces to batches: windows, transposition, padding. Every batch is a function of the seed and the epoch."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import tensorflow as tf

from bachkeras.music.pianoroll import KEYS
from bachkeras.music.score import UNKNOWN_MODE, UNKNOWN_TONIC
from bachkeras.music.timesteps import TIMESTEPS
from bachkeras.music.voices import REST, to_frames

UNKNOWN = {"tonic": UNKNOWN_TONIC, "mode": UNKNOWN_MODE, "timestep": len(TIMESTEPS), "position": -1}
"""The value of each condition that says nothing."""


FRAME_ARRAYS = {
    "pianoroll": (np.float32, 0),
    "onsets": (bool, False),
    "voices": (np.int32, REST),
    "voice_onsets": (bool, False),
}
"""What a piece has a row a frame of: dtype in a batch, and the value that says silence."""

VOICE_ARRAYS = ("voices", "voice_onsets")
"""Those of them with a column a labelled voice."""


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Pieces in memory.

    Attributes:
        pieces: one mapping a piece, with the features of the TFDS builder: `pianoroll` bool `(time, 88)` and, each
            optional, `onsets` bool `(time, 88)`, `voices` int `(time, voices)`, 88 = rest, `voice_onsets` bool
            `(time, voices)`, `timestep` (numerator, denominator), `tonic`, `mode`, `position` int `(time,)`, `id`.
        name: the corpus' name or its folder's path, '' for arrays of one's own.
        sounding_shift: semitones from the frames' pitches to the sounding ones.
        version: what its frames and splits depend on, see `catalog.version`.
    """

    pieces: Sequence[Mapping]
    name: str = ""
    sounding_shift: int = 0
    version: str = ""

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

    @functools.cached_property
    def voices(self) -> int:
        """The number of labelled voices, 0 where not all pieces have the same."""
        numbers = {piece["voices"].shape[1] if "voices" in piece else 0 for piece in self.pieces}
        return numbers.pop() if len(numbers) == 1 else 0

    @functools.cached_property
    def frame_arrays(self) -> list[str]:
        """Which of `FRAME_ARRAYS` all pieces have."""
        names = [name for name in FRAME_ARRAYS if all(name in piece for piece in self.pieces)]
        return [name for name in names if self.voices or name not in VOICE_ARRAYS]

    def without_first(self, frames: int) -> Corpus:
        """The pieces without so many frames at their beginning; those that have no others are left out."""
        arrays = [*FRAME_ARRAYS, "position"]
        pieces = [
            {name: value[frames:] if name in arrays and np.ndim(value) else value for name, value in piece.items()}
            for piece in self.pieces
        ]
        return dataclasses.replace(self, pieces=[piece for piece in pieces if len(piece["pianoroll"])])

    def windows(
        self,
        window: int | None,
        *,
        transpose: int = 0,
        untransposed: float = 0.3,
        overhang: float = 0.0,
        shuffle: bool = True,
        seed: int = 0,
    ) -> Windows:
        """Cut the pieces into training or evaluation examples.

        Args:
            window: frames of an example; None: whole pieces.
            transpose: transpose each example by up to so many semitones up or down, among those that keep every note
                on the keyboard. Its tonic moves along.
            untransposed: with `transpose`, the share of examples left as they are.
            overhang: the share of shuffled windows that begin anywhere, also where too little of the piece is left to
                fill them: the rest is padded, as it is in a piece's last window where windows stand end to end.
            shuffle: True: a new order, new cuts and new transpositions every epoch; a piece of T frames gives
                ceil(T / window) windows that start anywhere. False: pieces in order, windows end to end.
            seed: of all of this.
        """
        if window is not None and window < 1:
            raise ValueError(f"A window has at least one frame; None means whole pieces. Received: window={window}")
        if not 0 <= overhang <= 1:
            raise ValueError(f"overhang is a share of the windows, 0 to 1. Received: overhang={overhang}")
        if transpose < 0:
            raise ValueError(
                f"transpose is the largest distance in semitones, 0 or more. Received: transpose={transpose}"
            )
        return Windows(self, window, transpose, untransposed, overhang, shuffle, seed)


def from_arrays(pianorolls: Sequence[np.ndarray], **features: Sequence | int) -> Corpus:
    """A corpus of one's own arrays.

    Args:
        pianorolls: bool or 0/1 arrays `(time, 88)`, a list of them or one array `(pieces, time, 88)`.
        **features: `tonic`, `mode`: a number for all or a list of one a piece; `timestep`: (numerator, denominator)
            for all or a list of them; `position`, `onsets`, `voices`, `voice_onsets`: a list of one array a piece, with
            a row a frame, see `Corpus`.

    Raises:
        ValueError: if an array or a feature has another shape, or there is no such feature.
    """
    known = [*UNKNOWN, *(name for name in FRAME_ARRAYS if name != "pianoroll")]
    for name, value in features.items():
        if name not in known:
            raise ValueError(f"The features are {', '.join(known)}. Received: {name}={value}")
        if name in UNKNOWN and name != "position" and np.ndim(value) == (1 if name == "timestep" else 0):
            features[name] = [value] * len(pianorolls)
        elif np.isscalar(value) or len(value) != len(pianorolls):
            raise ValueError(f"{name} needs a value for each of {len(pianorolls)} pieces. Received: {name}={value}")
    pieces = []
    for i, roll in enumerate(pianorolls):
        roll = np.asarray(roll)
        if roll.ndim != 2 or roll.shape[1] != KEYS:
            raise ValueError(f"A pianoroll is an array (time, {KEYS}). Received: pianorolls[{i}].shape={roll.shape}")
        piece = {name: values[i] for name, values in features.items()} | {"pianoroll": roll.astype(bool)}
        _check(piece, f"pieces[{i}]")
        pieces.append(piece)
    return Corpus(pieces)


def _check(piece: Mapping, name: str) -> None:
    """Refuse a piece whose arrays do not go together."""
    frames = len(piece["pianoroll"])
    voices = np.asarray(piece.get("voices", np.full((frames, 1), REST)))
    columns = voices.shape[1] if voices.ndim == 2 else 1
    shapes = {"position": (frames,), "onsets": (frames, KEYS)} | dict.fromkeys(VOICE_ARRAYS, (frames, columns))
    for feature in piece.keys() & shapes.keys():
        if np.shape(piece[feature]) != shapes[feature]:
            shape = np.shape(piece[feature])
            raise ValueError(f"{feature} needs a row a frame, {frames}. Received: {name}, {feature}.shape={shape}")
    if np.any((voices < 0) | (voices > REST)):
        raise ValueError(f"A voice holds a key, 0..{KEYS - 1}, or {REST} for a rest. Received: {name}, voices={voices}")
    if np.any(to_frames(voices) & ~piece["pianoroll"]):
        raise ValueError(f"What the voices sing stands in the pianoroll too. Received: {name}")


@dataclasses.dataclass(frozen=True)
class Windows:
    """Examples waiting to be batched; made by `Corpus.windows`."""

    corpus: Corpus
    window: int | None
    transpose: int
    untransposed: float
    overhang: float
    shuffle: bool
    seed: int

    def batch(self, batch_size: int, *, first_epoch: int = 0) -> tf.data.Dataset:
        """A dataset of batches, for `fit`, `evaluate` and `predict`.

        A batch is a dict: `pianoroll` float32 `(batch, time + 1, 88)`, the frame before the window first (silence at a
        piece's start); where all pieces have them, `onsets`, `voices` and `voice_onsets` with as many frames; `mask`
        float32 `(batch, time)`, 0 where padded; `last` bool `(batch, time)`, true at a piece's last frame; `tonic`,
        `mode`, `timestep` int32 `(batch,)`; `position` int32 `(batch, time)`. There is no y. Shuffled pieces come in
        batches of similar length.

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
        frames = None if time is None else time + 1
        columns = {"pianoroll": KEYS, "onsets": KEYS, "voices": self.corpus.voices, "voice_onsets": self.corpus.voices}
        signature = {
            **{
                name: tf.TensorSpec((None, frames, columns[name]), FRAME_ARRAYS[name][0])
                for name in self.corpus.frame_arrays
            },
            "mask": tf.TensorSpec((None, time), tf.float32),
            "last": tf.TensorSpec((None, time), tf.bool),
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
                    fits = max(frames - window, 0)
                    over = self.overhang and random.random() < self.overhang
                    start = int(random.integers(frames if over else fits + 1))
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
        frames = len(piece["pianoroll"])
        tonic = int(piece.get("tonic", UNKNOWN["tonic"]))
        return {
            **{name: _transposed(name, piece[name], start, stop, semitones) for name in self.corpus.frame_arrays},
            "last": np.arange(start, stop) == frames - 1,
            "position": np.broadcast_to(piece.get("position", UNKNOWN["position"]), frames)[start:stop],
            "tonic": tonic if tonic == UNKNOWN["tonic"] else (tonic + semitones) % 12,
            "mode": int(piece.get("mode", UNKNOWN["mode"])),
            "timestep": timestep_index(piece.get("timestep")),
        }


def _transposed(name: str, array: np.ndarray, start: int, stop: int, semitones: int) -> np.ndarray:
    """One of `FRAME_ARRAYS` from the frame before `start` on, silence at a piece's beginning."""
    dtype, silence = FRAME_ARRAYS[name]
    before = array[start - 1 : start] if start else np.full((1, array.shape[1]), silence)
    window = np.concatenate([before, array[start:stop]]).astype(dtype)
    if name == "voices":
        return np.where(window == REST, REST, window + semitones)
    return window if name == "voice_onsets" else np.roll(window, semitones, axis=1)


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
    batch = {"mask": (np.arange(time) < np.array(lengths)[:, None]).astype(np.float32)}
    padding = {name: silence for name, (_, silence) in FRAME_ARRAYS.items()}
    padding |= {"last": False, "position": UNKNOWN["position"]}
    for name in examples[0].keys() & padding.keys():
        frames = time + 1 if name in FRAME_ARRAYS else time
        batch[name] = np.stack([_padded(example[name], frames, padding[name]) for example in examples])
    for name in ("tonic", "mode", "timestep"):
        batch[name] = np.array([example[name] for example in examples], np.int32)
    return batch


def _padded(array: np.ndarray, frames: int, value) -> np.ndarray:
    """An array with a row a frame, filled up to `frames` rows."""
    padded = np.full((frames, *array.shape[1:]), value, array.dtype)
    padded[: len(array)] = array
    return padded
