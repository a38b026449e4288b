"""Generators of the GANs: from noise, or from a language model's own past, to frames that gradients pass through."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.generation import loop
from bachkeras.layers.conditions import Conditions
from bachkeras.layers.core import RecurrentCore
from bachkeras.layers.frame import FrameDistribution
from bachkeras.layers.frame.base import FREE, Sounding, between
from bachkeras.layers.frame.tonality import Tonality
from bachkeras.models.lstm_attention import LSTMAttention


@keras.saving.register_keras_serializable(package="bachkeras")
class NoiseGenerator(keras.layers.Layer):
    """LSTMs from noise and the frames so far to a context for each frame; the frame distribution draws the frame.

    That a generator hears what it has drawn is as in C-RNN-GAN (Mogren 2016). Frames are drawn one by one first; then
    gradients pass through all of them at once, see `AutoregressiveGenerator`.

    Args:
        span: frames that share a vector of noise.
        conductor: whether an LSTM over the vectors goes before the one over frames.
        hidden: width of the LSTMs.
        layers: LSTMs over frames.
        noise: numbers of a vector.
        frame: the frame distribution.
    """

    can_continue, can_complete = True, False
    likelihood = ending = None

    def __init__(
        self,
        span: int,
        conductor: bool,
        hidden: int,
        layers: int,
        noise: int,
        frame: FrameDistribution,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.span = span
        self.noise = noise
        self.frame = frame
        self.conditions = Conditions(0.0, dtype=self.dtype_policy, name="conditions")
        self.conductor = None
        if conductor:
            self.conductor = RecurrentCore(hidden, 1, 0, dtype=self.dtype_policy, name="conductor")
        self.core = RecurrentCore(hidden, layers, 0, dtype=self.dtype_policy, name="core")

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "span": self.span,
            "conductor": self.conductor is not None,
            "hidden": self.core.hidden,
            "layers": self.core.layers,
            "noise": self.noise,
            "frame": keras.saving.serialize_keras_object(self.frame),
        }

    @classmethod
    def from_config(cls, config):
        """The generator of a config, its frame distribution included."""
        return cls(**{**config, "frame": keras.saving.deserialize_keras_object(config["frame"])})

    def build(self, input_shape=None):
        """Create every weight; they depend on no input's shape."""
        size = self.noise
        if self.conductor:
            self.conductor.build((None, None, size))
            size = self.core.hidden
        size += (self.span if self.span > 1 else 0) + self.conditions.size
        self.core.build((None, None, size + self.frame.feature_size))
        if not self.frame.built:
            self.frame.build((None, None, self.core.hidden))
        self.built = True

    def call(self, noise: tf.Tensor, known: Mapping[str, tf.Tensor], before: Sounding) -> tf.Tensor:
        """The context of each frame, `(batch, time, hidden)`.

        Args:
            noise: float32 `(batch, ceil(time / span), noise)`.
            known: the conditions; `position` `(batch, time)` says how many frames.
            before: the frame before each.
        """
        features = tf.cast(self.frame.features(before), self.compute_dtype)
        return self.core(tf.concat([self._signal(noise, known), features], -1))

    def draw_noise(self, count: tf.Tensor | int, frames: int, seed: tf.Tensor) -> tf.Tensor:
        """Standard normal noise for so many pieces of so many frames, float32 `(count, parts, noise)`."""
        return tf.random.stateless_normal((count, -(-frames // self.span), self.noise), seed)

    def frames(self, noise: tf.Tensor, known: Mapping[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        """Frames drawn one by one, float32 `(batch, time, 88)`, 0 or 1."""
        return self.frame.pianoroll(_written(self, {**known, "noise": noise}, seed).events[:, 1:])

    def relaxed(self, noise, known, *, temperature, seed) -> tf.Tensor:
        """Notes that gradients pass through, float32 `(batch, time, lines, 88)`; see `FrameDistribution.relaxed`."""
        sounding = _written(self, {**known, "noise": noise}, seed)
        before, now = between(sounding, None, -1), between(sounding, 1, None)
        context = self(noise, known, before)
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        key = Tonality.of(known, tf.shape(context)[1])
        return self.frame.relaxed(
            context, previous=before.events, key=key, given=now.events, temperature=temperature, seed=seed
        )

    def start(self, conditions: Mapping[str, tf.Tensor]) -> dict:
        """The state before the first frame, with the signal for each."""
        known = {name: conditions[name] for name in UNKNOWN}
        return {
            "signal": self._signal(conditions["noise"], known),
            "core": self.core.initial_state(tf.shape(known["tonic"])[0]),
            "time": tf.zeros((), tf.int32),
        }

    def step(self, state: dict, features: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """See `LSTMAttention.step`."""
        time = state["time"]
        inputs = tf.concat([state["signal"][:, time], tf.cast(features, self.compute_dtype)], -1)
        context, core = self.core.step(inputs, state["core"])
        return context, {**state, "core": core, "time": time + 1}

    def seen(self, state: dict, last: Sounding) -> Sounding:
        """See `FrameModel.seen`: all of it."""
        return last

    def _signal(self, noise, known):
        """What noise and conditions say of each frame, `(batch, time, size)`."""
        time = tf.shape(known["position"])[1]
        vectors = tf.cast(noise, self.compute_dtype)
        if self.conductor:
            vectors = self.conductor(vectors)
        inputs = [tf.repeat(vectors, self.span, 1)[:, :time], self.conditions(known)]
        if self.span > 1:
            place = tf.one_hot(tf.range(time) % self.span, self.span, dtype=self.compute_dtype)
            inputs.append(tf.tile(place[None], [tf.shape(noise)[0], 1, 1]))
        return tf.concat(inputs, -1)


@keras.saving.register_keras_serializable(package="bachkeras")
class AutoregressiveGenerator(LSTMAttention):
    """An `LSTMAttention` as a generator: it hears its own frames. All chance is in the draws: it takes no noise.

    What it has drawn is fed back as it is: no gradient passes from a frame through those written after it. So frames
    are drawn one by one first, and then all heard again at once, with the noise that may have led to these draws
    (`FrameDistribution.relaxed`, `given`). That is the same gradient, and takes less time.
    """

    span = 1
    noise = 0

    def draw_noise(self, count: tf.Tensor | int, frames: int, seed: tf.Tensor) -> tf.Tensor:
        """None: float32 `(count, frames, 0)`."""
        return tf.zeros((count, frames, 0))

    def frames(self, noise: tf.Tensor, known: Mapping[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        """See `NoiseGenerator.frames`."""
        return self.frame.pianoroll(_written(self, known, seed).events[:, 1:])

    def relaxed(self, noise, known, *, temperature, seed) -> tf.Tensor:
        """See `NoiseGenerator.relaxed`.

        Other frames are written before these, 0 to as many: a window of a real piece may begin anywhere too.
        """
        time = tf.shape(known["position"])[1]
        early = tf.random.stateless_uniform((), seed, maxval=time + 1, dtype=tf.int32)
        known = dict(known)
        known["position"] = tf.pad(known["position"], [[0, 0], [early, 0]], constant_values=UNKNOWN["position"])
        sounding = _written(self, known, seed)
        before, now = between(sounding, None, -1), between(sounding, 1, None)
        context = self.core(self._inputs(known, before, training=False))[:, early:]
        previous, events = before.events[:, early:], now.events[:, early:]
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        key = Tonality.of(known, time)
        return self.frame.relaxed(context, previous=previous, key=key, given=events, temperature=temperature, seed=seed)


def _written(generator, conditions: Mapping[str, tf.Tensor], seed: tf.Tensor) -> Sounding:
    """Frames that a generator draws one by one, silence before them first."""
    known = {name: tf.cast(conditions[name], tf.int32) for name in UNKNOWN}
    count, time = tf.unstack(tf.shape(known["position"]))
    free = tf.fill([count, time, generator.frame.voices], FREE)
    primer = free[:, :0], tf.cast(free[:, :0], tf.bool)
    number = tf.abs(seed[0] ^ seed[1])  # The loop takes one number, and its own count of frames.
    told = {**conditions, **known}
    drawn = loop.write(generator, told, primer, free, None, tf.constant(False), 1.0, 1.0, number)[:2]
    silence = generator.frame.silence(count)
    return generator.frame.trace(*(tf.concat([x[:, None], y], 1) for x, y in zip(silence[:2], drawn, strict=True)))
