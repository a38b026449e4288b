"""The textbook baseline: each key sounds or not, whatever the others do."""

from __future__ import annotations

import keras
import tensorflow as tf

from bachkeras.layers.frame.base import END, FREE, Draw, FrameDistribution, multi_hot, read_notes, temper, top_notes
from bachkeras.music.pianoroll import KEYS


@keras.saving.register_keras_serializable(package="bachkeras")
class IndependentNotes(FrameDistribution):
    """88 Bernoullis given the context alone, as in most published models of the JSB chorales.

    Normalised over all sets of the 88 keys, so `voices` is 88 and no note is ever dropped. Column `k` of `log_prob`
    is key `k`'s Bernoulli; the sum over columns is the frame's log probability.

    Args:
        dropout: share of the context that training drops.
    """

    def __init__(self, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.dropout = dropout
        self.voices = KEYS
        self.lines = 1
        self.feature_size = KEYS
        self.keys = keras.layers.Dense(KEYS, dtype=self.dtype_policy, name="keys")
        self.context_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, context_shape):
        """Create the keys' logits for a context of `context_shape[-1]` numbers."""
        self.keys.build(context_shape)
        super().build(context_shape)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "dropout": self.dropout}

    def events(self, music):
        """See `FrameDistribution.events`: all notes, from the top, then `END`."""
        events, dropped = read_notes(music, self.voices)
        return events, tf.zeros_like(events, tf.bool), dropped

    def pianoroll(self, events):
        """See `FrameDistribution.pianoroll`."""
        return multi_hot(events)

    def notes(self, events):
        """See `FrameDistribution.notes`: the frame, as one line."""
        return self.pianoroll(events)[..., None, :]

    def features(self, sounding):
        """The frame as multi-hot keys."""
        return self.pianoroll(sounding.events)

    def call(self, context, training=None):
        """Log probabilities that each key is silent, sounds: float32 `(..., 88, 2)`."""
        logits = tf.cast(self.keys(self.context_dropout(context, training=training)), tf.float32)
        return tf.stack([tf.math.log_sigmoid(-logits), tf.math.log_sigmoid(logits)], -1)

    def log_prob(self, context, events, onsets=None, *, previous=None, key=None, training=None):
        """See `FrameDistribution.log_prob`."""
        log_p = self(context, training=training)
        return tf.where(self.pianoroll(events) > 0.5, log_p[..., 1], log_p[..., 0])

    def sample(
        self,
        context,
        *,
        previous=None,
        key=None,
        given=None,
        given_onsets=None,
        allowed=None,
        temperature=1.0,
        top_p=1.0,
        seed,
    ):
        """See `FrameDistribution.sample`. A given prefix settles every key from its last note up."""
        log_p = self(context)
        if given is None:
            given = tf.fill(tf.shape(log_p)[:-1], FREE)
        self.check_given(given)
        drawn_from = temper(log_p, temperature, top_p)
        drawn = tf.random.stateless_uniform(tf.shape(given), seed) < tf.exp(drawn_from[..., 1])
        # The lowest settled key: the last note given; below all keys after END; above all where nothing is given.
        lowest = tf.reduce_min(tf.where(given == FREE, KEYS, tf.where(given == END, -1, given)), -1, keepdims=True)
        settled = tf.range(KEYS) >= lowest
        if allowed is not None:
            settled |= ~tf.reduce_any(allowed[:, :KEYS], 0)  # Of these keys it is given that they are silent.
        sounds = tf.where(settled, multi_hot(tf.where(given == FREE, END, given)) > 0.5, drawn)
        log_q = tf.where(sounds, drawn_from[..., 1], drawn_from[..., 0])
        log_given = tf.where(sounds, log_p[..., 1], log_p[..., 0])
        log_q = tf.reduce_sum(tf.where(settled, 0.0, log_q), -1)
        log_given = tf.reduce_sum(tf.where(settled, log_given, 0.0), -1)
        return Draw(top_notes(sounds, self.voices)[0], None, log_q, log_given, log_given)

    def relaxed(self, context, *, previous=None, key=None, given=None, temperature=1.0, seed):
        """See `FrameDistribution.relaxed`: the binary case (Maddison, Mnih and Teh 2017, the binary Concrete)."""
        log_p = self(context)
        uniform = tf.random.stateless_uniform(tf.shape(log_p)[:-1], seed)
        if given is not None:  # A key sounds where the uniform number is above its probability of silence.
            silent = tf.stop_gradient(tf.exp(log_p[..., 0]))
            uniform = tf.where(multi_hot(given) > 0.5, silent + (1 - silent) * uniform, silent * uniform)
        uniform = tf.clip_by_value(uniform, 1e-7, 1.0 - 1e-7)
        noisy = log_p[..., 1] - log_p[..., 0] + tf.math.log(uniform) - tf.math.log1p(-uniform)
        soft = tf.sigmoid(noisy / temperature)
        return (tf.cast(noisy > 0, tf.float32) + soft - tf.stop_gradient(soft))[..., None, :]
