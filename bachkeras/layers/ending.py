"""Where a piece ends: after each frame, whether it was the last."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="bachkeras")
class Ending(keras.layers.Layer):
    """A Bernoulli after each frame, from what was known before it and the frame itself.

        p(last_t | x_{<=t}) = sigmoid(w gelu(W [context_t, features_t] + b) + c)

    Args:
        units: width of the hidden layer.
    """

    def __init__(self, units: int = 64, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="gelu", dtype=self.dtype_policy, name="hidden")
        # A piece has hundreds of frames, and one of them is the last.
        rare = keras.initializers.Constant(-5.0)
        self.logit = keras.layers.Dense(1, bias_initializer=rare, dtype=self.dtype_policy, name="logit")

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "units": self.units}

    def build(self, context_shape, features_shape):
        """Create the weights for contexts and features of these sizes."""
        self.hidden.build((*context_shape[:-1], context_shape[-1] + features_shape[-1]))
        self.logit.build((*context_shape[:-1], self.units))
        super().build((context_shape, features_shape))

    def call(self, context: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Log odds that a frame is the last, float32 `(...)`.

        Args:
            context: `(..., C)`, what the model knew before it wrote the frame.
            features: `(..., F)`, the frame's.
        """
        inputs = tf.concat([context, tf.cast(features, context.dtype)], -1)
        return tf.cast(self.logit(self.hidden(inputs))[..., 0], tf.float32)

    def log_prob(self, context: tf.Tensor, features: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        """Log probability that the piece ends where `last`, bool `(...)`, says, and not elsewhere."""
        log_odds = self(context, features)
        return tf.math.log_sigmoid(tf.where(last, log_odds, -log_odds))
