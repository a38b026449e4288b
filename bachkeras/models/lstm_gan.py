"""The LSTM GAN: a generator, and a discriminator that tells its music from real music."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.layers.frame import ChainedVoices, FrameDistribution
from bachkeras.models.adversarial_model import AdversarialModel
from bachkeras.models.discriminators import DISCRIMINATORS
from bachkeras.models.generators import AutoregressiveGenerator, NoiseGenerator
from bachkeras.models.lstm_attention import LSTMAttention

AUTOREGRESSIVE = "autoregressive"

GENERATORS = ("lstm", "latent", "hierarchical", AUTOREGRESSIVE)
"""By their names."""


@keras.saving.register_keras_serializable(package="bachkeras")
class LSTMGAN(AdversarialModel):
    """LSTMs that write from noise, or an `LSTMAttention` that writes as it does, against a discriminator.

    Frames are drawn from the same frame distribution that the other models end in; gradients pass through the draws
    (`FrameDistribution.relaxed`). What each part wants, and what `fit` tells of it: see `AdversarialModel`. Music is
    written by the moving average of the generator's weights.

    Generators: "lstm", noise at each frame; "latent", one vector of noise for `latent_frames`; "hierarchical", one for
    each bar, with an LSTM over bars before the one over frames (as MuseGAN, Dong et al. 2018, has a vector a bar);
    "autoregressive", an `LSTMAttention`: give a trained one for `generator`, and it starts from there. All hear the
    frames that they have written. With noise there is no likelihood.

    Args:
        objective: see `AdversarialModel`.
        generator: one of `GENERATORS`, or an `LSTMAttention`, which is copied.
        discriminator: one of `DISCRIMINATORS`.
        hidden: width of the generator.
        layers: LSTMs of the generator.
        attention_heads: heads of a generator that is autoregressive.
        noise: numbers of a vector of noise.
        latent_frames: frames of a vector of "latent".
        frames_per_bar: frames of a vector of "hierarchical".
        discriminator_hidden: width of the discriminator.
        spectral_normalization: see `Discriminator`.
        minibatch_stddev: see `Discriminator`.
        discriminator_dropout: see `Discriminator`.
        frame: the frame distribution, without onsets; None: `ChainedVoices()`, four voices.
        **kwargs: see `AdversarialModel`.
    """

    more_conditions: ClassVar = {"noise": tf.TensorSpec((None, None, None), tf.float32)}

    def __init__(
        self,
        objective: str = "wasserstein",
        generator: str | LSTMAttention = "hierarchical",
        discriminator: str = "multiscale",
        hidden: int = 128,
        layers: int = 1,
        attention_heads: int = 0,
        noise: int = 32,
        latent_frames: int = 16,
        frames_per_bar: int = 4,
        discriminator_hidden: int = 64,
        spectral_normalization: bool = False,
        minibatch_stddev: bool = False,
        discriminator_dropout: float = 0.0,
        frame: FrameDistribution | None = None,
        **kwargs,
    ):
        super().__init__(objective, **kwargs)
        if discriminator not in DISCRIMINATORS:
            raise ValueError(
                f"Discriminators are {', '.join(DISCRIMINATORS)}. Received: discriminator={discriminator!r}"
            )
        self.hidden = hidden
        self.generator_layers = layers
        self.attention_heads = attention_heads
        self.noise = noise
        self.latent_frames = latent_frames
        self.frames_per_bar = frames_per_bar
        self.generator = self._made(generator, frame)
        if self.likelihood_weight and self.generator.likelihood is None:
            raise ValueError(
                "A generator from noise has no likelihood: likelihood_weight is 0. "
                f"Received: generator={generator!r}, likelihood_weight={self.likelihood_weight}"
            )
        # What music is written by: a second generator, whose weights follow those of the first.
        self.averaged = type(self.generator).from_config({**self.generator.get_config(), "name": "averaged"})
        self.averaged.trainable = False
        self.discriminator_name = discriminator
        self.discriminator = DISCRIMINATORS[discriminator](
            discriminator_hidden,
            spectral_normalization,
            minibatch_stddev,
            discriminator_dropout,
            self.generator.frame.lines,
            dtype=self.dtype_policy,
            name="discriminator",
        )
        if isinstance(generator, LSTMAttention) and generator.built:
            self.build()
            for part in (self.generator, self.averaged):
                part.set_weights(generator.get_weights())

    def _made(self, generator, frame):
        """The generator of a name, or like an `LSTMAttention`."""
        policy = self.dtype_policy
        if not isinstance(generator, LSTMAttention) and generator not in GENERATORS:
            raise ValueError(f"Generators are {', '.join(GENERATORS)}. Received: generator={generator!r}")
        if isinstance(generator, LSTMAttention):
            made = AutoregressiveGenerator.from_config({**generator.get_config(), "name": "generator"})
        else:
            frame = ChainedVoices(dtype=policy, name="frame") if frame is None else frame
            if generator == AUTOREGRESSIVE:
                made = AutoregressiveGenerator(
                    self.hidden,
                    self.generator_layers,
                    self.attention_heads,
                    frame=frame,
                    dtype=policy,
                    name="generator",
                )
            else:
                span = {"lstm": 1, "latent": self.latent_frames, "hierarchical": self.frames_per_bar}[generator]
                sizes = (self.hidden, self.generator_layers, self.noise)
                conductor = generator == "hierarchical"
                made = NoiseGenerator(span, conductor, *sizes, frame, dtype=policy, name="generator")
        if made.frame.onsets:
            raise ValueError("A discriminator hears keys, and no onsets: leave them out. Received: onsets=True")
        self.generator_name = AUTOREGRESSIVE if isinstance(made, LSTMAttention) else generator
        return made

    def get_config(self):
        """Constructor arguments."""
        autoregressive = self.generator_name == AUTOREGRESSIVE
        names = ("hidden", "attention_heads", "noise", "latent_frames", "frames_per_bar")
        switches = ("spectral_normalization", "minibatch_stddev")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            **{name: getattr(self.discriminator, name) for name in switches},
            "layers": self.generator_layers,
            "generator": self.generator.get_config() if autoregressive else self.generator_name,
            "discriminator": self.discriminator_name,
            "discriminator_hidden": self.discriminator.hidden,
            "discriminator_dropout": self.discriminator.dropout.rate,
            "frame": None if autoregressive else keras.saving.serialize_keras_object(self.generator.frame),
        }

    @classmethod
    def from_config(cls, config):
        """The model of a config, its generator included."""
        made = dict(config)
        if isinstance(made["generator"], dict):
            made["generator"] = AutoregressiveGenerator.from_config(made["generator"])
        if made["frame"]:
            made["frame"] = keras.saving.deserialize_keras_object(made["frame"])
        return cls(**made)

    def build(self, input_shape=None):
        """Create every weight; they depend on no input's shape."""
        if self.built:
            return
        for part in (self.generator, self.averaged, self.discriminator):
            part.build()
        self.averaged.set_weights(self.generator.get_weights())
        self.built = True

    @property
    def frame(self) -> FrameDistribution:
        """The frame distribution of the averaged generator."""
        return self.averaged.frame

    @property
    def ending(self):
        """That of an autoregressive generator, which adversarial training leaves as it is, or None."""
        return self.averaged.ending

    @property
    def likelihood(self) -> str | None:
        """An autoregressive generator's own, else None."""
        return self.averaged.likelihood

    @property
    def can_continue(self) -> bool:
        """Whether it can continue a piece: every generator hears frames."""
        return self.averaged.can_continue

    @property
    def can_complete(self) -> bool:
        """Whether it can complete a piece: for that it takes a likelihood."""
        return self.averaged.can_complete

    def call(self, noise: tf.Tensor, training=None) -> tf.Tensor:
        """Frames of some noise, float32 `(batch, time, 88)`, 0 or 1; always the same draws. Nothing is known of them.

        Args:
            noise: float32 `(batch, parts, noise)`; a part is a frame, `latent_frames` or a bar. An autoregressive
                generator takes `(batch, time, 0)`.
            training: changes nothing.
        """
        noise = tf.convert_to_tensor(noise)
        count, parts = tf.unstack(tf.shape(noise)[:2])
        known = {name: tf.fill([count], unknown) for name, unknown in UNKNOWN.items()}
        known["position"] = tf.fill([count, parts * self.averaged.span], UNKNOWN["position"])
        return self.averaged.frames(noise, known, tf.constant([0, 0]))

    def log_probs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See `FrameModel.log_probs`: those of an autoregressive generator, exact.

        Raises:
            ValueError: if it is another.
        """
        if self.likelihood is None:
            raise ValueError(f"A generator from noise has no likelihood. Received: generator={self.generator_name!r}")
        self.ensure_built()
        return self.averaged.log_probs(batch)

    def start(self, conditions: Mapping[str, tf.Tensor]) -> dict:
        """The state before the first frame; see the generators."""
        return self.averaged.start(conditions)

    def step(self, state: dict, features: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """The next frame's context, and the state after it; see the generators."""
        return self.averaged.step(state, features)

    def select(self, state: dict, rows: tf.Tensor) -> dict:
        """See `LSTMAttention.select`."""
        return self.averaged.select(state, rows)

    def seen(self, state, last):
        """See `FrameModel.seen`."""
        return self.averaged.seen(state, last)

    def ending_odds(self, context, now, tonic, training=None):
        """See `FrameModel.ending_odds`."""
        return self.averaged.ending_odds(context, now, tonic, training)

    def _known(self, conditions, primer, length):
        """See `FrameModel`; the noise, where it is told, too."""
        conditions: dict[str, Any] = dict(conditions or {})
        noise = conditions.pop("noise", None)
        known = super()._known(conditions, primer, length)
        if noise is None:
            return known
        count, heard = primer[0].shape[:2]
        parts, size = -(-(heard + length) // self.averaged.span), self.averaged.noise
        noise = tf.cast(noise, tf.float32)
        if noise.shape.rank != 3 or noise.shape[0] != count or noise.shape[1] < parts or noise.shape[2] != size:
            raise ValueError(
                f"noise is ({count}, {parts}, {size}) for {count} pieces of {heard + length} frames. "
                f"Received: noise.shape={noise.shape}"
            )
        return known | {"noise": noise[:, :parts]}

    def told(self, known, primer, sampling):
        """See `FrameModel`. Noise that is not told is drawn."""
        if "noise" in known:
            return dict(known)
        count, frames = tf.unstack(tf.shape(known["position"]))
        return {**known, "noise": self.averaged.draw_noise(count, frames, tf.stack([sampling.seed, -1]))}
