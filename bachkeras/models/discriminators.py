"""Discriminators: how real some frames sound. A Wasserstein one is a critic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bachkeras.layers.conditions import Conditions
from bachkeras.music.pianoroll import KEYS

PITCH_CLASSES = np.eye(12, dtype=np.float32)[np.arange(KEYS) % 12]
"""From the 88 keys to their pitch classes, `(88, 12)`."""

INTERVALS = np.eye(12, dtype=np.float32)[np.subtract.outer(np.arange(12), np.arange(12)) % 12].reshape(144, 12)
"""From pairs of pitch classes to the interval class from the second up to the first, `(144, 12)`."""

ABOVE = np.stack([np.roll(np.eye(12, dtype=np.float32), -k, 1) for k in range(12)], 1).reshape(12, 144)
"""From a pitch class to pairs of a bass and the interval class from it up to that pitch class, `(12, 144)`."""

OCTAVES = (2, 4, 8)
"""Around circles of so many octaves a key is told from its octaves."""

_ANGLES = 2 * np.pi * np.arange(KEYS)[:, None] / (12 * np.array(OCTAVES))
PLACES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1).astype(np.float32)
"""From the 88 keys to their places on each circle, `(88, circles, 2)`."""


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

    It hears each frame as `_heard` says, and what is known of the piece. A subclass says in `_parts` which layers
    follow, on each scale a list; each scale's score is linear in the last layer, a mean over time, and has no bias: a
    critic's does not matter. With `frequencies` each group of what is heard is a scale too, without layers: how often
    everything comes.

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
        groups = _sizes_heard(self.lines)
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
        groups = _heard(notes * mask[..., None, None])
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


def _heard(notes: tf.Tensor) -> list[tf.Tensor]:
    """What there is to hear in frames, in groups: `(batch, time, size)` each, from notes `(batch, time, lines, 88)`.

    Melody: the keys of each line, and how it moves, as interval class and as distance. Harmony: pitch classes; which
    two are together, and which follow one another; which two and which three interval classes are above the last line,
    as figured bass has it. Counterpoint: how far apart each two lines are, as interval class and as distance, and which
    interval class follows which. Before the first frame is silence.

    These products are what harmony and counterpoint are made of, and narrow layers learn them slowly. All are linear in
    each line alone. So the gradient through one line's draw tells rightly what another note would have changed, the
    other lines as they are; products of a frame's keys with themselves would put the other note beside its rival.
    """
    classes = tf.tensordot(notes, PITCH_CLASSES, 1)
    before = _before(classes)
    places = tf.tensordot(notes, PLACES, 1)
    every, every_before = tf.reduce_sum(classes, 2), tf.reduce_sum(before, 2)
    pairs = list(itertools.combinations(range(notes.shape[2]), 2))
    melody = [_flat(notes), _flat(_intervals(classes, before)), _flat(_distances(places, _before(places)))]
    above = _above(classes)
    harmony = [
        every,
        _flat(tf.einsum("btvi,btvj->btij", tf.cumsum(classes, 2, exclusive=True), classes)),
        _flat(every_before[..., :, None] * every[..., None, :]),
        *(_figures(classes, above, size) for size in (2, 3)),
    ]
    groups = [melody, harmony]
    if pairs:
        upper, lower = ([pair[side] for pair in pairs] for side in (0, 1))
        intervals = _intervals(tf.gather(classes, upper, axis=2), tf.gather(classes, lower, axis=2))
        distances = _distances(tf.gather(places, upper, axis=2), tf.gather(places, lower, axis=2))
        groups.append([*map(_flat, (intervals, distances, _before(intervals)[..., :, None] * intervals[..., None, :]))])
    return [tf.concat(group, -1) for group in groups]


def _sizes_heard(lines: int) -> list[int]:
    distance = 2 * len(OCTAVES)
    pairs = lines * (lines - 1) // 2
    return [(KEYS + 12 + distance) * lines, 12 + 3 * 144 + 12**3, *([(12 + distance + 144) * pairs] if pairs else [])]


def _intervals(upper: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
    """Interval classes `(..., 12)` between pitch classes `(..., 12)`, of each two of them the product."""
    pairs = upper[..., :, None] * lower[..., None, :]
    return tf.tensordot(tf.reshape(pairs, tf.concat([tf.shape(upper)[:-1], [144]], 0)), INTERVALS, 1)


def _distances(upper: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
    """How far it is from the second up to the first, `(..., 2 circles)`: cosines and sines of the angles between them.

    The interval class does not tell a step from a leap of a seventh the other way.

    Args:
        upper: places, `(..., circles, 2)`.
        lower: likewise.
    """
    (x, y), (u, v) = tf.unstack(upper, axis=-1), tf.unstack(lower, axis=-1)
    return tf.concat([x * u + y * v, y * u - x * v], -1)


def _above(classes: tf.Tensor) -> tf.Tensor:
    """The interval class of each line above the last, by what the last may be: `(batch, time, lines - 1, 12, 12)`."""
    batch, time, lines, _ = tf.unstack(tf.shape(classes))
    return tf.reshape(tf.tensordot(classes[:, :, :-1], ABOVE, 1), [batch, time, lines - 1, 12, 12])


def _figures(classes: tf.Tensor, above: tf.Tensor, size: int) -> tf.Tensor:
    """Which `size` lines are together above the last, as interval classes from it, upper ones first: `(..., 12**size)`.

    Chords are told by them in whatever key they are. All is 0 with fewer lines.

    Args:
        classes: pitch classes of lines, `(batch, time, lines, 12)`.
        above: see `_above`.
        size: 2 or more.
    """
    batch, time = tf.unstack(tf.shape(classes)[:2])
    found = tf.zeros([batch, time, 12**size])
    for chosen in itertools.combinations(range(classes.shape[2] - 1), size):
        chord = classes[:, :, -1, :, None]  # By the bass, which each of them has its interval from.
        for line in chosen[:-1]:
            chord = tf.reshape(chord[..., :, None] * above[:, :, line, :, None], [batch, time, 12, -1])
        chord = tf.matmul(chord, above[:, :, chosen[-1]], transpose_a=True)
        found += tf.reshape(chord, [batch, time, 12**size])
    return found


def _before(x: tf.Tensor) -> tf.Tensor:
    """The frame before each of `(batch, time, ...)`, silence at first."""
    return tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], 1)


def _flat(x: tf.Tensor) -> tf.Tensor:
    """`(batch, time, ...)` as `(batch, time, size)`."""
    return tf.reshape(x, tf.concat([tf.shape(x)[:2], [math.prod(x.shape[2:])]], 0))


def _spread(features: tf.Tensor) -> tf.Tensor:
    """Standard deviation over the batch, a mean over the features."""
    return tf.reduce_mean(tf.sqrt(tf.math.reduce_variance(features, 0) + 1e-8))
