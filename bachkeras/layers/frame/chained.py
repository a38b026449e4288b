"""A head per voice, each knowing the notes already emitted in the frame: exactly normalised over sets of notes."""

from __future__ import annotations

import keras
import tensorflow as tf

from bachkeras.layers.frame.base import (
    END,
    FORBIDDEN,
    FREE,
    Draw,
    FrameDistribution,
    gumbel,
    multi_hot,
    temper,
    top_notes,
)
from bachkeras.music.pianoroll import KEYS

EVENTS = KEYS + 1
START = END + 1  # Stands before a frame's first event: it forbids nothing.


@keras.saving.register_keras_serializable(package="bachkeras")
class ChainedVoices(FrameDistribution):
    """Softmax heads chained from the highest note down.

    A frame is the set of its notes, emitted in descending order and closed by `END`. Head `k` sees the context and the
    notes of heads `0..k-1`:

        h_k = gelu(W_k context + sum_{j<k} E_j[event_j])
        p(event_k = e | ...) = softmax(U_k h_k + b_k + motion_k(h_k)[e - previous_k] + spacing_k(h_k)[e - event_{k-1}])

    over the 88 keys and `END`, where only keys below the last note, or `END`, are allowed. After `END` nothing but
    `END` is allowed, so the frame's probability is the product over heads, and it sums to 1 over all sets of at most
    `voices` notes. The chain rule over the notes of a frame is that of RNN-NADE (Boulanger-Lewandowski et al. 2012).
    `motion` and `spacing` are linear in `h_k`, a number for each interval of at most `reach` semitones: a step is a
    step in every key, which a softmax over 88 keys alone has to learn 88 times.

    Args:
        voices: heads, the most notes a frame can hold.
        units: width of each head's hidden layer.
        reach: semitones up and down that motion and spacing know.
        dropout: share of the context and of the hidden layer that training drops.
    """

    def __init__(self, voices: int = 4, units: int = 256, reach: int = 24, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if voices < 1 or voices > KEYS:
            raise ValueError(f"A frame has 1 to {KEYS} voices. Received: voices={voices}")
        self.voices = voices
        self.units = units
        self.reach = reach
        self.dropout = dropout
        self.feature_size = KEYS + voices * EVENTS
        self.context_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.hidden_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, context_shape):
        """Create the heads for a context of `context_shape[-1]` numbers."""
        size = context_shape[-1]
        self.context_kernel = self.add_weight(name="context_kernel", shape=(size, self.voices * self.units))
        self.context_bias = self.add_weight(name="context_bias", shape=(self.voices * self.units,), initializer="zeros")
        self.emitted = self.add_weight(
            name="emitted",
            shape=(max(self.voices - 1, 1), EVENTS, self.units),
            initializer=keras.initializers.RandomNormal(stddev=0.05),
        )
        self.head_kernel = self.add_weight(
            name="head_kernel",
            shape=(self.voices, self.units, EVENTS),
            initializer=keras.initializers.RandomNormal(stddev=self.units**-0.5),
        )
        # Motion first, then spacing; a row an interval, from -reach to reach.
        self.interval_kernel = self.add_weight(
            name="interval_kernel", shape=(self.voices, self.units, 2 * (2 * self.reach + 1)), initializer="zeros"
        )
        self.head_bias = self.add_weight(name="head_bias", shape=(self.voices, EVENTS), initializer="zeros")
        super().build(context_shape)

    def get_config(self):
        """Constructor arguments."""
        names = ("voices", "units", "reach", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def events(self, pianoroll):
        """See `FrameDistribution.events`: the highest `voices` notes, from the top, then `END`."""
        return top_notes(pianoroll, self.voices)

    def pianoroll(self, events):
        """See `FrameDistribution.pianoroll`."""
        return multi_hot(events)

    def features(self, events, onsets=None):
        """The frame as multi-hot keys, and each voice, from the top, as one of the 89 events."""
        voices = tf.one_hot(events, EVENTS)
        flat = tf.reshape(voices, tf.concat([tf.shape(events)[:-1], [self.voices * EVENTS]], 0))
        return tf.concat([self.pianoroll(events), flat], -1)

    def log_prob(self, context, events, onsets=None, *, previous=None, training=None):
        """See `FrameDistribution.log_prob`. Events after `END` have log probability 0."""
        events = tf.cast(events, tf.int32)
        log_p = []

        def choose(k, logits):
            log_p.append(_at(tf.nn.log_softmax(logits), events[..., k]))
            return tf.one_hot(events[..., k], EVENTS)

        self._chain(context, previous, choose, training)
        return tf.stack(log_p, -1)

    def sample(self, context, *, previous=None, given=None, temperature=1.0, top_p=1.0, seed):
        """See `FrameDistribution.sample`."""
        shape = tf.shape(context)[:-1]
        if given is None:
            given = tf.fill(tf.concat([shape, [self.voices]], 0), FREE)
        self.check_given(given)
        noise = self._noise(shape, seed)
        events, log_q, log_given = [], [], []

        def choose(k, logits):
            drawn_from = temper(logits, temperature, top_p)
            free = given[..., k] == FREE
            event = tf.where(free, tf.argmax(drawn_from + noise[..., k, :], -1, tf.int32), given[..., k])
            log_q.append(tf.where(free, _at(drawn_from, event), 0.0))
            log_given.append(tf.where(free, 0.0, _at(tf.nn.log_softmax(logits), event)))
            events.append(event)
            return tf.one_hot(event, EVENTS)

        self._chain(context, previous, choose)
        return Draw(tf.stack(events, -1), None, tf.add_n(log_q), tf.add_n(log_given))

    def relaxed(self, context, *, previous=None, temperature=1.0, seed):
        """See `FrameDistribution.relaxed`."""
        noise = self._noise(tf.shape(context)[:-1], seed)
        notes = []

        def choose(k, logits):
            noisy = logits + noise[..., k, :]
            soft = tf.nn.softmax(noisy / temperature)
            event = tf.one_hot(tf.argmax(noisy, -1), EVENTS) + soft - tf.stop_gradient(soft)
            notes.append(event[..., :KEYS])
            return event

        self._chain(context, previous, choose)
        return tf.add_n(notes)

    def _chain(self, context, previous, choose, training=None):
        """Walk the heads from the top note down.

        Args:
            context: `(..., C)`.
            previous: int32 `(..., voices)`, or None.
            choose: `choose(k, logits) -> event`: from head k's logits, float32 `(..., 89)` with the forbidden events at
                -1e9, to the event it emits, one-hot `(..., 89)`.
            training: whether to drop.
        """
        context = self.context_dropout(tf.convert_to_tensor(context), training=training)
        hidden = _linear(context, self.context_kernel) + tf.cast(self.context_bias, context.dtype)
        last = tf.fill(tf.shape(context)[:-1], START)
        before = 0.0
        for k in range(self.voices):
            head = tf.nn.gelu(hidden[..., k * self.units : (k + 1) * self.units] + before)
            head = self.hidden_dropout(head, training=training)
            logits = tf.cast(_linear(head, self.head_kernel[k]), tf.float32) + tf.cast(self.head_bias[k], tf.float32)
            motion, spacing = tf.split(tf.cast(_linear(head, self.interval_kernel[k]), tf.float32), 2, axis=-1)
            if previous is not None:
                logits += self._around(tf.cast(previous[..., k], tf.int32), motion)
            if k:
                logits += self._around(last, spacing)
            event = choose(k, tf.where(_allowed(last), logits, FORBIDDEN))
            if k < self.voices - 1:
                last = tf.argmax(event, -1, tf.int32)
                before += _linear(tf.cast(event, context.dtype), self.emitted[k])

    def _around(self, centre, values):
        """Values by interval, `(..., 2 reach + 1)`, as logits by event, `(..., 89)`, around the notes `centre`.

        Out of reach, for `END` and around no note they are 0.
        """
        interval = tf.range(EVENTS) - centre[..., None]
        inside = (tf.abs(interval) <= self.reach) & (tf.range(EVENTS) != END) & (centre < END)[..., None]
        place = tf.clip_by_value(interval + self.reach, 0, 2 * self.reach)
        return tf.where(inside, tf.gather(values, place, axis=-1, batch_dims=centre.shape.rank), 0.0)

    def _noise(self, shape, seed):
        return gumbel(tf.concat([shape, [self.voices, EVENTS]], 0), seed)


def _linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matmul(x, tf.cast(kernel, x.dtype))


def _allowed(last: tf.Tensor) -> tf.Tensor:
    """Which events may follow `last`: the keys below it, or `END`. Bool `(..., 89)`."""
    last = last[..., None]
    event = tf.range(EVENTS)
    return ((event < last) & (last != END)) | (event == END)


def _at(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """`values[..., index]`, one value an element of the leading dimensions."""
    return tf.gather(values, index, axis=-1, batch_dims=index.shape.rank)
