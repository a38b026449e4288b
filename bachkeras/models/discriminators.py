"""Discriminators: how real some frames sound. A Wasserstein one is a critic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from bachkeras.layers.conditions import Conditions
from bachkeras.models import hearing


class Verdict(NamedTuple):
    """What a discriminator says.

    Attributes:
        scores: float32 `(batch, scales)`, the higher the more real.
        features: what it heard, float32 `(batch, size)`, for feature matching.
    """

    scores: tf.Tensor
    features: tf.Tensor


class Discriminator(keras.layers.Layer):
    """From frames, real or relaxed, to a score for each scale on which they are heard.

    It hears each frame as `hearing.heard` says, and what is known of the piece. A subclass says in `_parts` which
    layers follow, on each scale a list; each scale's score is linear in the last layer, a mean over time, and has no
    bias: a critic's does not matter. With `frequencies` each group of what is heard is a scale too, without layers: how
    often everything comes.

    Args:
        hidden: width of every layer.
        spectral_normalization: divide the kernels of Dense and Conv layers by their largest singular value (Miyato et
            al. 2018). Recurrent kernels are left as they are: Keras normalises none of an LSTM's.
        minibatch_stddev: let the score know how much the batch's features differ (Karras et al. 2018, section 3), so
            that samples which are all alike are found out.
        dropout: share of each layer, and of the frequencies, that a discriminator's own steps drop: it tells a small
            corpus by heart else.
        lines: of a frame, see `FrameDistribution.notes`.
    """

    frequencies = False

    def __init__(
        self,
        hidden: int = 64,
        spectral_normalization: bool = False,
        minibatch_stddev: bool = False,
        dropout: float = 0.0,
        lines: int = 4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.lines = lines
        self.hidden = hidden
        self.spectral_normalization = spectral_normalization
        self.minibatch_stddev = minibatch_stddev
        self.conditions = Conditions(0.0, dtype=self.dtype_policy, name="conditions")

    def get_config(self):
        """Constructor arguments."""
        names = ("hidden", "spectral_normalization", "minibatch_stddev", "lines")
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own, "dropout": self.dropout.rate}

    def build(self, input_shape=None):
        """Create the layers; they depend on no input's shape."""
        groups = hearing.sizes(self.lines)
        self.input_dense = self._dense("input")
        self.input_dense.build((None, None, sum(groups) + self.conditions.size))
        self.scales, self.heads = self._parts(), []
        for layers in self.scales:
            for layer in layers:
                layer.build((None, None, self.hidden))
        sizes = [self._size()] * len(self.scales) + groups * self.frequencies
        for number, size in enumerate(sizes):
            head = self._dense(f"score_{number}", 1, use_bias=False)
            head.build((None, None, size + self.minibatch_stddev))
            self.heads.append(head)
        self.built = True

    def call(
        self, notes: tf.Tensor, known: Mapping[str, tf.Tensor], mask: tf.Tensor, training=None, iterate=None
    ) -> Verdict:
        """Score some frames.

        Args:
            notes: float32 `(batch, time, lines, 88)`.
            known: the conditions, see `Conditions`.
            mask: float32 `(batch, time)`; padded frames are silent.
            training: whether to drop.
            iterate: whether spectral normalisation goes on; None: as `training`.
        """
        iterate = training if iterate is None else iterate
        groups = hearing.heard(notes * mask[..., None, None])
        x = tf.concat([*groups, self.conditions(known)], -1)
        x = self.dropout(_active(self._apply(self.input_dense, x, iterate)), training=training)
        lasts = []
        for layers in self.scales:
            heard = x
            for layer in layers:
                heard = self._apply(layer, heard, iterate)
                heard = heard if isinstance(layer, _RECURRENT) else _active(heard)
                heard = self.dropout(heard, training=training)
            lasts.append(heard)
        if self.frequencies:
            # Dropped too, or a score would hang on what differs most.
            lasts += [self.dropout(tf.reduce_mean(group, 1, keepdims=True), training=training) for group in groups]
        scores, features = [], []
        for heard, head in zip(lasts, self.heads, strict=True):
            features.append(tf.reduce_mean(heard, 1))
            if self.minibatch_stddev:
                heard = tf.concat([heard, tf.fill([*tf.unstack(tf.shape(heard)[:2]), 1], _spread(features[-1]))], -1)
            scores.append(tf.reduce_mean(self._apply(head, heard, iterate), [1, 2]))
        return Verdict(tf.stack(scores, -1), tf.concat(features, -1))

    def _parts(self) -> list[list[keras.layers.Layer]]:
        """The layers of each scale."""
        raise NotImplementedError

    def _size(self) -> int:
        """Width of the last of a scale's layers."""
        return self.hidden

    def _apply(self, layer, x, iterate):
        return layer(x, training=iterate) if isinstance(layer, keras.layers.SpectralNormalization) else layer(x)

    def _dense(self, name, size=None, **options):
        return self._normalized(
            keras.layers.Dense(self.hidden if size is None else size, dtype=self.dtype_policy, name=name, **options)
        )

    def _conv(self, name, width, **options):
        return self._normalized(
            keras.layers.Conv1D(self.hidden, width, padding="same", dtype=self.dtype_policy, name=name, **options)
        )

    def _lstm(self, name):
        # The penalty on gradients has a second derivative, which cuDNN's LSTM has not.
        return keras.layers.LSTM(
            self.hidden, return_sequences=True, use_cudnn=False, dtype=self.dtype_policy, name=name
        )

    def _normalized(self, layer):
        if not self.spectral_normalization:
            return layer
        return keras.layers.SpectralNormalization(layer, dtype=self.dtype_policy, name=layer.name)


@keras.saving.register_keras_serializable(package="bachkeras")
class LSTMDiscriminator(Discriminator):
    """An LSTM that scores each frame after what it has heard before."""

    def _parts(self):
        return [[self._lstm("lstm")]]


@keras.saving.register_keras_serializable(package="bachkeras")
class BiLSTMDiscriminator(Discriminator):
    """Two LSTMs, one from each end: each frame is scored among all."""

    def _parts(self):
        return [[keras.layers.Bidirectional(self._lstm("lstm"), dtype=self.dtype_policy, name="bilstm")]]

    def _size(self):
        return 2 * self.hidden


@keras.saving.register_keras_serializable(package="bachkeras")
class ConvDiscriminator(Discriminator):
    """Convolutions over time, each half as many frames as the one before: 22 frames are heard together."""

    def _parts(self):
        return [[self._conv(f"conv_{i}", 4, strides=2) for i in range(3)]]


@keras.saving.register_keras_serializable(package="bachkeras")
class MultiscaleDiscriminator(Discriminator):
    """Several at once: a frame, two neighbours, eight, 22 as `ConvDiscriminator` hears them; how often things come.

    The frequencies tell whether keys and steps, chords, and counterpoint are as frequent as in Bach. The others are as
    in PatchGAN (Isola et al. 2017) and MelGAN (Kumar et al. 2019): that a chord is wrong, or a step, is heard where it
    is, and not lost in a judgement on the whole.
    """

    frequencies = True

    def _parts(self):
        return [
            [self._dense("frame")],
            [self._conv("pair", 2), self._dense("pair_dense")],
            [self._conv("bar", 4), self._conv("bar_wide", 3, dilation_rate=2)],
            [self._conv(f"phrase_{i}", 4, strides=2) for i in range(3)],
        ]


DISCRIMINATORS = {
    "lstm": LSTMDiscriminator,
    "bilstm": BiLSTMDiscriminator,
    "conv": ConvDiscriminator,
    "multiscale": MultiscaleDiscriminator,
}
"""By their names."""

_RECURRENT = (keras.layers.LSTM, keras.layers.Bidirectional)


def _active(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(x, 0.2)


def _spread(features: tf.Tensor) -> tf.Tensor:
    """Standard deviation over the batch, a mean over the features."""
    return tf.reduce_mean(tf.sqrt(tf.math.reduce_variance(features, 0) + 1e-8))
