"""What a voice knows of its intervals to the voices above it: consonance, and parallels."""

from __future__ import annotations

import tensorflow as tf

from bachkeras.layers.frame.base import END
from bachkeras.music.pianoroll import KEYS


def logits(values: tf.Tensor, above: list[tf.Tensor], previous: tf.Tensor | None) -> tf.Tensor:
    """Logits `(..., 89)` of the next voice from `(..., 2 * 12 * above)` values by interval class; see `ChainedVoices`.

    Args:
        values: consonance with each voice above, then parallels with each.
        above: the events of those voices, int32 `(...)` each.
        previous: int32 `(..., voices)`, the events of the frame before; None: none that are known.
    """
    k, rank = len(above), above[0].shape.rank
    consonance, parallel = (
        tf.reshape(part, tf.concat([tf.shape(above[0]), [k, 12]], 0)) for part in tf.split(values, 2, -1)
    )
    notes = tf.stack(above, -1)
    interval = (tf.range(12) - notes[..., None]) % 12
    sounding = tf.cast(notes < END, tf.float32)[..., None]
    weights = sounding * tf.gather(consonance, interval, axis=-1, batch_dims=rank + 1)
    if previous is not None:
        own, others = tf.cast(previous[..., k : k + 1], tf.int32), tf.cast(previous[..., :k], tf.int32)
        kept = (own - others) % 12
        known = (own >= 0) & (own < END) & (others >= 0) & (others < END)
        moves = known & (notes < END) & ((notes - others) % 12 != 0)
        weight = tf.where(moves, tf.gather(parallel, kept, axis=-1, batch_dims=rank + 1), 0.0)
        weights += weight[..., None] * tf.one_hot((notes + kept) % 12, 12)
    classes = tf.reduce_sum(weights, -2)  # By pitch class, as they follow each other from key 0 on.
    keys = tf.gather(classes, tf.range(KEYS) % 12, axis=-1)
    return tf.concat([keys, tf.zeros_like(keys[..., :1])], -1)
