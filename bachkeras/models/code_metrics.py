"""What a model with codes tells of their use while it trains."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="bachkeras")
class CodePerplexity(keras.metrics.Metric):
    """Exponential of the entropy of a codebook's use, the least of any codebook: 1 to the number of codes.

    Args:
        codebooks: number of codebooks.
        codes: codes of each.
    """

    def __init__(self, codebooks: int, codes: int, name: str = "codebook_perplexity", **kwargs):
        super().__init__(name=name, **kwargs)
        self.codebooks = codebooks
        self.codes = codes
        self.counts = self.add_variable((codebooks, codes), "zeros", name="counts")

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "codebooks": self.codebooks, "codes": self.codes}

    def update_state(self, codes: tf.Tensor, sample_weight: tf.Tensor | None = None):
        """Take in codes int `(..., codebooks)`, with weights 0 or 1 `(...)`."""
        weight = tf.ones_like(codes[..., 0], tf.float32) if sample_weight is None else sample_weight
        place = tf.reshape(codes + tf.range(self.codebooks) * self.codes, [-1])
        weights = tf.reshape(tf.repeat(weight[..., None], self.codebooks, -1), [-1])
        counts = tf.math.unsorted_segment_sum(weights, place, self.codebooks * self.codes)
        self.counts.assign_add(tf.reshape(counts, (self.codebooks, self.codes)))

    def result(self):
        """The figure."""
        counts = tf.convert_to_tensor(self.counts)
        share = counts / tf.maximum(tf.reduce_sum(counts, -1, keepdims=True), 1.0)
        entropy = -tf.reduce_sum(tf.math.xlogy(share, share), -1)
        return tf.reduce_min(tf.exp(entropy))


@keras.saving.register_keras_serializable(package="bachkeras")
class CodesUsed(CodePerplexity):
    """Share of a codebook that occurs, the least of any codebook; see `CodePerplexity`."""

    def __init__(self, codebooks: int, codes: int, name: str = "codes_used", **kwargs):
        super().__init__(codebooks, codes, name, **kwargs)

    def result(self):
        """The figure."""
        return tf.reduce_min(tf.reduce_mean(tf.cast(self.counts > 0, tf.float32), -1))
