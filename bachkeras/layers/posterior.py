"""The Gaussian posterior of a window: a bidirectional LSTM, read bar by bar."""

from __future__ import annotations

import keras
import tensorflow as tf

LOG_VARIANCES = (-10.0, 4.0)
"""The least and the greatest logarithm of a variance: far from what training comes to, but finite."""


@keras.saving.register_keras_serializable(package="bachkeras")
class Posterior(keras.layers.Layer):
    """q(z|x) = N(mean, variance) of a window of some bars (Kingma and Welling 2014).

        h = LSTM both ways(gelu(W x))
        bar_u = [forward h at the end of bar u, backward h at its beginning]
        mean, log variance = V [bar_1 .. bar_n],   or, with `parts`, V bar_u for the part of z that belongs to bar u

    A window's last states alone would have to remember all of it; here each bar is heard where it ends.

    A bar is a part of the window, counted from its first frame.

    With `batch_norm` = g > 0 the means of each dimension are normalised over the batch to a standard deviation of g,
    so that in training the batch's mean KL >= g^2 latent / 2 whatever the decoder does (Zhu et al. 2020, equation 7).

    Args:
        latent: dimensions of z.
        bars: bars of a window.
        parts: whether z has a part for each bar, of `latent / bars` dimensions.
        hidden: width of the LSTM, in each direction.
        dropout: share dropped in training before and after the LSTM.
        batch_norm: see above; 0: off.
    """

    def __init__(
        self,
        latent: int,
        bars: int,
        parts: bool = False,
        hidden: int = 256,
        dropout: float = 0.0,
        batch_norm: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if parts and latent % bars:
            raise ValueError(f"Each bar has the same part of z. Received: latent={latent}, bars={bars}")
        self.latent = latent
        self.bars = bars
        self.parts = parts
        self.hidden = hidden
        self.dropout = dropout
        self.batch_norm = batch_norm
        policy = self.dtype_policy
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        self.input_dense = keras.layers.Dense(hidden, activation="gelu", dtype=policy, name="input")
        lstm = keras.layers.LSTM(hidden, return_sequences=True, dtype=policy, name="lstm")  # No number after it.
        self.lstm = keras.layers.Bidirectional(lstm, dtype=policy, name="lstm")
        self.output_dense = keras.layers.Dense(2 * latent // (bars if parts else 1), dtype="float32", name="output")
        if batch_norm:
            # A larger epsilon would be a way out: means that shrink below it.
            self.norm = keras.layers.BatchNormalization(scale=False, epsilon=1e-8, dtype="float32", name="norm")

    def get_config(self):
        """Constructor arguments."""
        names = ("latent", "bars", "parts", "hidden", "dropout", "batch_norm")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        """Create the weights for windows `(windows, frames, size)`."""
        bar = 2 * self.hidden
        self.input_dense.build(input_shape)
        self.lstm.build((*input_shape[:-1], self.hidden))
        self.output_dense.build((None, self.bars, bar) if self.parts else (None, self.bars * bar))
        if self.batch_norm:
            self.norm.build((None, self.latent))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, counted: tf.Tensor, training=None) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and logarithm of the variance, float32 `(windows, latent)` each.

        Args:
            inputs: `(windows, frames, size)`, frames a multiple of `bars`; zeros where there is no frame.
            counted: bool `(windows,)`, those that are no padding.
            training: whether to drop, and to normalise by the batch.
        """
        x = self.drop(self.input_dense(self.drop(inputs, training=training)), training=training)
        forward, backward = tf.split(self.lstm(x), 2, axis=-1)
        step = inputs.shape[1] // self.bars
        bars = tf.concat([forward[:, step - 1 :: step], backward[:, ::step]], -1)
        if not self.parts:
            bars = tf.reshape(bars, (-1, self.bars * 2 * self.hidden))
        mean, log_variance = tf.split(self.output_dense(self.drop(bars, training=training)), 2, axis=-1)
        mean, log_variance = (tf.reshape(x, (-1, self.latent)) for x in (mean, log_variance))
        if self.batch_norm:
            mean = self.batch_norm * self.norm(mean, training=training, mask=counted)
        return mean, tf.clip_by_value(log_variance, *LOG_VARIANCES)


def kl(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """KL(q || N(0, 1)) of each dimension in nats (Kingma and Welling 2014, appendix B), of the arguments' shape."""
    return 0.5 * (mean**2 + tf.math.expm1(log_variance) - log_variance)


def log_density(z: tf.Tensor, mean: tf.Tensor | float = 0.0, log_variance: tf.Tensor | float = 0.0) -> tf.Tensor:
    """Log N(z; mean, variance) in nats, summed over the last dimension, up to the constant that all densities share."""
    return -0.5 * tf.reduce_sum((z - mean) ** 2 * tf.exp(-log_variance) + log_variance, -1)
