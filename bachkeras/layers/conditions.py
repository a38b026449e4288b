"""What a model is told about a piece: tonic, mode, timestep, place in the bar. Each may be unknown."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN

POSITIONS = 64
"""Frames of a bar that have an input of their own; later ones count as unknown."""

SIZES = {
    "tonic": UNKNOWN["tonic"] + 1,
    "mode": UNKNOWN["mode"] + 1,
    "timestep": UNKNOWN["timestep"] + 1,
    "position": POSITIONS + 1,
}
"""Inputs of each condition; the last one of each says unknown."""


@keras.saving.register_keras_serializable(package="bachkeras")
class Conditions(keras.layers.Layer):
    """One-hot inputs for the conditions.

    Args:
        drop: probability of making a condition unknown in training.

    Attributes:
        size: last dimension of the output.
    """

    size = sum(SIZES.values())

    def __init__(self, drop: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        self.drop = drop
        self.random = keras.random.SeedGenerator()

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "drop": self.drop}

    def forget(self, conditions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """For training: each condition of each example made unknown with probability `drop`.

        So unknown is an input that the model has seen. Where the tonic goes, the mode goes too: together they are the
        key, which a quoted likelihood does not know.
        """
        known, gone = {}, {}
        for name, unknown in UNKNOWN.items():
            value = tf.cast(conditions[name], tf.int32)
            gone[name] = keras.random.uniform((tf.shape(value)[0],), seed=self.random) < self.drop
            if name == "mode":
                gone[name] |= gone["tonic"]
            known[name] = tf.where(gone[name][:, None] if name == "position" else gone[name], unknown, value)
        return known

    def call(self, conditions: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Encode conditions.

        Args:
            conditions: `tonic`, `mode`, `timestep` int `(batch,)`, `position` int `(batch, time)`, frames since the
                bar line.

        Returns:
            `(batch, time, size)`.
        """
        time = tf.shape(conditions["position"])[1]
        columns = []
        for name, size in SIZES.items():
            value = tf.cast(conditions[name], tf.int32)
            value = tf.where((value < 0) | (value >= size - 1), size - 1, value)
            if name != "position":
                value = tf.repeat(value[:, None], time, axis=1)
            columns.append(tf.one_hot(value, size, dtype=self.compute_dtype))
        return tf.concat(columns, -1)
