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
    k = len(above)
    consonance, parallel = values[..., : 12 * k], values[..., 12 * k :]
    classes = tf.zeros_like(values[..., :12])  # By pitch class, as they follow each other from key 0 on.
    for j, note in enumerate(above):
        sounding = tf.cast(note < END, tf.float32)[..., None]
        interval = (tf.range(12) - note[..., None]) % 12
        weights = tf.gather(consonance[..., 12 * j : 12 * j + 12], interval, axis=-1, batch_dims=note.shape.rank)
        classes += sounding * weights
        if previous is not None:
            own, other = tf.cast(previous[..., k], tf.int32), tf.cast(previous[..., j], tf.int32)
            kept = (own - other) % 12
            known = (own >= 0) & (own < END) & (other >= 0) & (other < END)
            moves = known & (note < END) & ((note - other) % 12 != 0)
            weight = tf.gather(parallel[..., 12 * j : 12 * j + 12], kept, axis=-1, batch_dims=kept.shape.rank)
            weight = tf.where(moves, weight, 0.0)
            classes += weight[..., None] * tf.one_hot((note + kept) % 12, 12)
    keys = tf.gather(classes, tf.range(KEYS) % 12, axis=-1)
    return tf.concat([keys, tf.zeros_like(keys[..., :1])], -1)
