"""What a voice knows of the key: how its note stands to the tonic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from bachkeras.music.pianoroll import KEYS, LOWEST
from bachkeras.music.score import UNKNOWN_MODE, UNKNOWN_TONIC

MODES = UNKNOWN_MODE + 1


class Tonality(NamedTuple):
    """The key that music is in.

    Attributes:
        tonic: int32 `(...)`, 0..11 from C, 12 unknown.
        mode: int32 `(...)`, 0 major, 1 minor, 2 unknown.
    """

    tonic: tf.Tensor
    mode: tf.Tensor

    @classmethod
    def of(cls, known: Mapping[str, tf.Tensor], time: tf.Tensor | None = None) -> Tonality:
        """That of some conditions, `(batch,)`, or for each of so many frames, `(batch, time)`."""
        key = (tf.cast(known[name], tf.int32) for name in ("tonic", "mode"))
        return cls(*(x if time is None else tf.repeat(x[:, None], time, 1) for x in key))


def logits(values: tf.Tensor, bias: tf.Tensor, key: Tonality) -> tf.Tensor:
    """Logits `(..., 89)` from values `(..., 12)` by degree, semitones above the tonic; 0 where that is not known.

    Args:
        values: of each degree.
        bias: float32 `(3, 12)`, of each degree in each mode, too.
        key: of the shape of the values' leading dimensions.
    """
    values += tf.gather(bias, tf.where(key.mode < MODES, key.mode, UNKNOWN_MODE))
    degree = (tf.range(KEYS) + LOWEST - key.tonic[..., None]) % 12
    keys = tf.gather(values, degree, axis=-1, batch_dims=key.tonic.shape.rank)
    keys = tf.where((key.tonic >= 0) & (key.tonic < UNKNOWN_TONIC), 1.0, 0.0)[..., None] * keys
    return tf.concat([keys, tf.zeros_like(keys[..., :1])], -1)
