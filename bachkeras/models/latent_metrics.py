"""What a latent model tells of its latent space while it trains."""

from __future__ import annotations

import keras
import tensorflow as tf

ACTIVE = 0.01
"""The variance over examples from which on a dimension's posterior mean is active."""


@keras.saving.register_keras_serializable(package="bachkeras")
class ActiveUnits(keras.metrics.Metric):
    """Dimensions whose posterior mean varies over the examples: Var_x(E[z|x]) >= 0.01 (Burda et al. 2016, section 5.2).

    Args:
        latent: number of dimensions.
    """

    def __init__(self, latent: int, name: str = "active_units", **kwargs):
        super().__init__(name=name, **kwargs)
        self.latent = latent
        self.count = self.add_variable((), "zeros", name="count")
        self.total = self.add_variable((latent,), "zeros", name="total")
        self.squares = self.add_variable((latent,), "zeros", name="squares")

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "latent": self.latent}

    def update_state(self, mean: tf.Tensor, sample_weight: tf.Tensor | None = None):
        """Take in posterior means `(..., latent)`, with weights 0 or 1 `(...)`."""
        weight = tf.ones_like(mean[..., 0]) if sample_weight is None else sample_weight
        axes = list(range(mean.shape.rank - 1))
        self.count.assign_add(tf.reduce_sum(weight))
        self.total.assign_add(tf.reduce_sum(weight[..., None] * mean, axes))
        self.squares.assign_add(tf.reduce_sum(weight[..., None] * mean**2, axes))

    def result(self):
        """Their number."""
        count = tf.maximum(tf.convert_to_tensor(self.count), 1.0)
        average = self.total / count
        return tf.reduce_sum(tf.cast(self.squares / count - average**2 >= ACTIVE, tf.float32))
