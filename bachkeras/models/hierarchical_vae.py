"""The VAE with a hierarchical decoder: a conductor, and bars that hear nothing but it."""

from __future__ import annotations

import keras
import tensorflow as tf

from bachkeras.layers.core import RecurrentCore
from bachkeras.models.latent import SIGNAL
from bachkeras.models.lstm_vae import LSTMVAE


@keras.saving.register_keras_serializable(package="bachkeras")
class HierarchicalVAE(LSTMVAE):
    """A VAE over windows of some bars with the decoder of MusicVAE (Roberts et al. 2018, section 3.2).

    A conductor LSTM writes an embedding for each bar, and a decoder that hears this alone writes the bar's frames: its
    state and the frames that it has written end with the bar. So what bars have in common must come from z, and the
    decoder cannot do without it.

    MusicVAE begins the conductor with z and lets it remember; here z has a part for each bar, which the conductor
    reads before it writes that bar's embedding. From window to window the conductor's state goes on.

    Arguments and devices are those of `LSTMVAE`; `bars` divides `latent`.
    """

    parts = True

    def _add_signals(self):
        policy, hidden = self.dtype_policy, self.core.hidden
        self.conductor = RecurrentCore(
            hidden, 1, 0, dropout=self.core.dropout, l2=self.core.l2, dtype=policy, name="conductor"
        )
        self.signal_dense = keras.layers.Dense(self.frames_per_bar * SIGNAL, dtype=policy, name="signals")

    def _build_signals(self):
        self.conductor.build((None, None, self.latent // self.bars + self.conditions.size))
        self.signal_dense.build((None, None, self.conductor.hidden))

    def _signals(self, z, known, training=None):
        """See `LSTMVAE`; the conductor hears the conditions as they are where a bar begins."""
        batch = tf.shape(z)[0]
        parts = tf.reshape(tf.cast(z, self.compute_dtype), (batch, -1, self.latent // self.bars))
        starts = self._whole(self.conditions(known))[:, :: self.frames_per_bar]
        embeddings = self.conductor(tf.concat([parts, starts], -1), training=training)
        return tf.reshape(self.signal_dense(embeddings), (batch, -1, SIGNAL))

    def _contexts(self, inputs, training):
        """Each bar alone."""
        whole = self._whole(inputs)
        bars = tf.reshape(whole, (-1, self.frames_per_bar, inputs.shape[-1]))
        contexts = tf.reshape(self.core(bars, training=training), (*tf.unstack(tf.shape(whole)[:2]), self.core.hidden))
        return contexts[:, : tf.shape(inputs)[1]]

    def _remembered(self, time):
        return time % self.frames_per_bar

    def _core_state(self, state):
        begins = self._remembered(state["time"]) == 0
        return tf.nest.map_structure(lambda x: tf.where(begins, tf.zeros_like(x), x), state["core"])
