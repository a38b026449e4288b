"""Where a piece ends: after each frame, whether it was the last."""

from __future__ import annotations

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.music.pianoroll import KEYS, LOWEST

DEGREES = 12
"""Pitch classes, counted in semitones above the tonic."""


@keras.saving.register_keras_serializable(package="bachkeras")
class Ending(keras.layers.Layer):
    """A Bernoulli after each frame, from what was known before it and the frame itself.

        p(last_t | x_{<=t}) = sigmoid(w gelu(W [context_t, features_t, degrees_t] + b) + c)

    `degrees_t` is the frame as seen from the tonic, see `degrees`: pieces end on it, in every key.

    Args:
        units: width of the hidden layer.
        dropout: share of the inputs and of the hidden layer that training drops; pieces are few.
    """

    def __init__(self, units: int = 64, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.hidden = keras.layers.Dense(units, activation="gelu", dtype=self.dtype_policy, name="hidden")
        # A piece has hundreds of frames, and one of them is the last.
        rare = keras.initializers.Constant(-5.0)
        self.logit = keras.layers.Dense(1, bias_initializer=rare, dtype=self.dtype_policy, name="logit")

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}

    def build(self, context_shape, features_shape):
        """Create the weights for contexts and features of these sizes."""
        size = context_shape[-1] + features_shape[-1] + 2 * DEGREES
        self.hidden.build((*context_shape[:-1], size))
        self.logit.build((*context_shape[:-1], self.units))
        super().build((context_shape, features_shape))

    def call(
        self, context: tf.Tensor, features: tf.Tensor, pianoroll: tf.Tensor, tonic: tf.Tensor, training=None
    ) -> tf.Tensor:
        """Log odds that a frame is the last, float32 `(...)`.

        Args:
            context: `(..., C)`, what the model knew before it wrote the frame.
            features: `(..., F)`, the frame's, as the model reads them.
            pianoroll: `(..., 88)`, the frame.
            tonic: int `(...)`, 0..11 or 12 unknown.
            training: whether to drop.
        """
        seen = [tf.cast(x, self.compute_dtype) for x in (context, features, degrees(pianoroll, tonic))]
        hidden = self.hidden(self.drop(tf.concat(seen, -1), training=training))
        return tf.cast(self.logit(self.drop(hidden, training=training))[..., 0], tf.float32)


def log_prob(log_odds: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Log probability that the piece ends after frames where `last`, bool `(...)`, says, and not after others."""
    return tf.math.log_sigmoid(tf.where(last, log_odds, -log_odds))


def degrees(pianoroll: tf.Tensor, tonic: tf.Tensor) -> tf.Tensor:
    """Which pitch classes sound, and which one is the lowest, counted from the tonic.

    Args:
        pianoroll: `(..., 88)`, multi-hot.
        tonic: int `(...)`, 0..11 or 12 unknown.

    Returns:
        float32 `(..., 24)`: twelve multi-hot, then one-hot; zeros where the tonic is not known or nothing sounds.
    """
    sounds = tf.cast(pianoroll, tf.float32)
    # Row k: the pitch class of key k.
    classes = tf.one_hot((tf.range(KEYS) + LOWEST) % DEGREES, DEGREES)
    lowest = sounds * tf.cast(tf.cumsum(sounds, axis=-1, exclusive=True) < 0.5, tf.float32)
    above = (tf.range(DEGREES) + tf.cast(tonic, tf.int32)[..., None]) % DEGREES
    seen = [tf.minimum(tf.linalg.matmul(x, classes), 1.0) for x in (sounds, lowest)]
    turned = [tf.gather(x, above, axis=-1, batch_dims=above.shape.rank - 1) for x in seen]
    known = tf.cast(tf.cast(tonic, tf.int32) != UNKNOWN["tonic"], tf.float32)[..., None]
    return known * tf.concat(turned, -1)
