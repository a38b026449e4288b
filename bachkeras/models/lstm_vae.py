"""The VAE with a flat LSTM decoder."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from bachkeras.layers.conditions import Conditions
from bachkeras.layers.core import RecurrentCore
from bachkeras.layers.frame import ChainedVoices, FrameDistribution
from bachkeras.layers.frame.base import between
from bachkeras.layers.posterior import Posterior
from bachkeras.models.latent import SIGNAL
from bachkeras.models.vae import VAE


@keras.saving.register_keras_serializable(package="bachkeras")
class LSTMVAE(VAE):
    """A VAE with a flat LSTM decoder (Bowman et al. 2016; MusicVAE, Roberts et al. 2018).

    The encoder (`Posterior`) hears a window moved to the tonic C, where the tonic is known, so that z need not say in
    which key it is. The decoder (`LatentModel`) goes on from window to window.

    Devices against collapse, besides those of `VAE`:

    * `frame_dropout`: share of the past frames that training hides from the decoder (word dropout, Bowman et al. 2016);
      those after them still say how long their notes have lasted, where the frame distribution tells it (`held`);
    * `batch_norm`: see `Posterior` (Zhu et al. 2020);
    * the decoder of `HierarchicalVAE`, which hears nothing of earlier bars but z.

    Args:
        hidden: width of the LSTMs, the encoder's in each direction.
        layers: LSTMs of the decoder.
        latent: dimensions of z.
        bars: bars of a window.
        frames_per_bar: frames of a bar.
        frame_dropout: see above.
        batch_norm: see above.
        dropout: share dropped between layers and before the heads.
        condition_dropout: share of the examples for which training makes a condition unknown, see `Conditions`.
        l2: L2 penalty of the decoder's kernels.
        frame: the frame distribution; None: `ChainedVoices()`, four voices.
        **kwargs: `beta`, `warmup`, `free_bits`, `free_bits_per_dimension`, see `VAE`; Keras's.
    """

    parts = False
    """Whether z has a part for each bar."""

    def __init__(
        self,
        hidden: int = 256,
        layers: int = 2,
        latent: int = 32,
        bars: int = 4,
        frames_per_bar: int = 4,
        frame_dropout: float = 0.0,
        batch_norm: float = 0.0,
        dropout: float = 0.25,
        condition_dropout: float = 0.1,
        l2: float = 0.0,
        frame: FrameDistribution | None = None,
        **kwargs,
    ):
        super().__init__(latent, bars, frames_per_bar, **kwargs)
        policy = self.dtype_policy  # A reload has no global policy to inherit it from.
        if not 0 <= frame_dropout <= 1 or batch_norm < 0:
            raise ValueError(
                "frame_dropout is a share, batch_norm at least 0. "
                f"Received: frame_dropout={frame_dropout}, batch_norm={batch_norm}"
            )
        self.frame_dropout = frame_dropout
        self.random = keras.random.SeedGenerator()
        self.conditions = Conditions(condition_dropout, dtype=policy, name="conditions")
        self.encoder = Posterior(latent, bars, self.parts, hidden, dropout, batch_norm, dtype=policy, name="encoder")
        self.core = RecurrentCore(hidden, layers, 0, dropout=dropout, l2=l2, dtype=policy, name="core")
        self.frame = ChainedVoices(dropout=dropout, dtype=policy, name="frame") if frame is None else frame
        self._add_signals()

    def _add_signals(self):
        """Make the layers that turn z into what the decoder hears of it."""
        self.signal_dense = keras.layers.Dense(self.window * SIGNAL, dtype=self.dtype_policy, name="signals")

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            **{name: getattr(self.core, name) for name in ("hidden", "layers", "dropout", "l2")},
            "frame_dropout": self.frame_dropout,
            "batch_norm": self.encoder.batch_norm,
            "condition_dropout": self.conditions.drop,
            "frame": keras.saving.serialize_keras_object(self.frame),
        }

    def build(self, input_shape=None):
        """Create every weight; they depend on no input's shape."""
        self.encoder.build((None, self.window, self.frame.feature_size))
        self._build_signals()
        self.core.build((None, None, self.frame.feature_size + self.conditions.size + SIGNAL))
        if not self.frame.built:  # Keras restores a saved frame with its weights already made.
            self.frame.build((None, None, self.core.hidden))
        self.built = True

    def _build_signals(self):
        self.signal_dense.build((None, None, self.latent))

    def call(self, batch: Mapping[str, tf.Tensor], training=None) -> dict[str, tf.Tensor]:
        """Log probabilities of each frame given a z drawn from the posterior, and the posterior.

        Args:
            batch: see `FrameModel.call`; of any length, windows follow one another.
            training: whether to drop and to draw anew; else the draws are always the same.

        Returns:
            `frame` float32 `(batch, time)`, log p of what sounds given z and the frames before; `mean` and
            `log_variance` float32 `(batch, windows, latent)`, of the posterior; those of padded windows do not matter.
        """
        known = self.conditions.forget(batch) if training else batch
        mean, log_variance = self._posterior(batch, known["tonic"], training)
        if training:
            noise = keras.random.normal(tf.shape(mean), seed=self.random)
        else:
            noise = tf.random.stateless_normal(tf.shape(mean), [0, 0])
        z = mean + noise * tf.exp(log_variance / 2)
        return {"frame": self._decoded(z, batch, known, training), "mean": mean, "log_variance": log_variance}

    def _posterior(self, batch, tonic, training):
        """The posteriors of the windows of a batch, `(batch, windows, latent)` each."""
        now = between(self.frame.read(batch), 1, None)
        return self._encoded(now, tf.cast(batch["mask"], tf.float32), tonic, training)

    def _encoded(self, sounding, mask, tonic, training):
        """The posteriors of frames `(batch, time, voices)`, those where `mask` is 0 left out."""
        counted = self._counted(mask)
        windows = tf.reshape(self._in_c(sounding, mask, tonic), (-1, self.window, self.frame.feature_size))
        mean, log_variance = self.encoder(windows, tf.reshape(counted > 0, [-1]), training=training)
        shape = tf.concat([tf.shape(counted), [self.latent]], 0)
        return tf.reshape(mean, shape), tf.reshape(log_variance, shape)

    def _signals(self, z, known, training=None):
        """What the decoder hears of z `(batch, windows, latent)` in each frame: `(batch, frames, SIGNAL)`."""
        signals = self.signal_dense(tf.cast(z, self.compute_dtype))
        return tf.reshape(signals, (tf.shape(z)[0], -1, SIGNAL))
