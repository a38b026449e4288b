"""A head per voice, each knowing the notes already emitted in the frame: exactly normalised over sets of notes."""

from __future__ import annotations

import keras
import tensorflow as tf

from bachkeras.layers.frame import counterpoint, tonality
from bachkeras.layers.frame.base import (
    END,
    FORBIDDEN,
    FREE,
    Draw,
    FrameDistribution,
    at,
    gumbel,
    gumbel_before,
    linear,
    multi_hot,
    read_notes,
    temper,
)
from bachkeras.music.pianoroll import KEYS

EVENTS = KEYS + 1
START = END + 1  # Stands before a frame's first event: it forbids nothing.


@keras.saving.register_keras_serializable(package="bachkeras")
class ChainedVoices(FrameDistribution):
    """Softmax heads chained from the highest note or voice down.

    Head `k` sees the context and the events of heads `0..k-1`:

        h_k = gelu(W_k context + sum_{j<k} E_j[event_j])
        p(event_k = e | ...) = softmax(U_k h_k + b_k + motion_k(h_k)[e - previous_k] + spacing_k(h_k)[e - event_{k-1}])

    over the 88 keys and `END`. The chain rule over the notes of a frame is that of RNN-NADE (Boulanger-Lewandowski et
    al. 2012). `motion` and `spacing` are linear in `h_k`, a number for each interval of at most `reach` semitones: a
    step is a step in every key, which a softmax over 88 keys alone has to learn 88 times.

    With `counterpoint`, head k also weighs its note against every note of the frame so far, by interval class, and
    knows which note would keep the class that it had with voice j in the frame before, where voice j moves:

        + sum_{j<k} consonance_kj(h_k)[(e - event_j) mod 12]
        + sum_{j<k} 1[event_j != previous_j (mod 12)] parallel_kj(h_k)[c] 1[(e - event_j) mod 12 = c],
          c = (previous_k - previous_j) mod 12

    So it can avoid parallel fifths and octaves, which no sum of what each note says alone can tell.

    With `tonality`, head k also weighs its note by its degree, semitones above the tonic, where the tonic is known:

        + degree_k(h_k)[(e - tonic) mod 12] + bias_k[mode][(e - tonic) mod 12]

    What is in the key is in it in every key. Told by the context alone, the tonic was all but ignored.

    Unlabelled, a frame is the set of its notes, emitted in descending order and closed by `END`: only keys below the
    last note, or `END`, are allowed, and after `END` nothing but `END`. So the frame's probability sums to 1 over all
    sets of at most `voices` notes. Labelled, each head is a voice of its own, from the soprano down, and `END` its
    rest: everything is allowed, unisons and crossings too.

    With `onsets`, each note is followed by one Bernoulli, struck or held:

        p(struck_k | ...) = sigmoid(u_k h_k + v_k[event_k])

    where a note that did not sound in the frame before (labelled: in its voice) is struck. Later heads see it: their
    `h` has the sum of `S_j struck_j` too.

    Args:
        voices: heads, the most notes a frame can hold.
        units: width of each head's hidden layer.
        reach: semitones up and down that motion and spacing know.
        labelled: whether events are voices of their own.
        onsets: whether a repeated note is told from a held one.
        held: longest length of an event, in frames, that `features` tells apart; 0: none.
        counterpoint: whether heads know intervals to all voices above, and parallels.
        tonality: whether heads know how a note stands to the tonic, where that is known.
        dropout: share of the context and of the hidden layer that training drops.
    """

    def __init__(
        self,
        voices: int = 4,
        units: int = 256,
        reach: int = 24,
        labelled: bool = False,
        onsets: bool = False,
        held: int = 0,
        counterpoint: bool = False,
        tonality: bool = False,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if voices < 1 or voices > KEYS:
            raise ValueError(f"A frame has 1 to {KEYS} voices. Received: voices={voices}")
        if held < 0:
            raise ValueError(f"held is a number of frames, 0 or more. Received: held={held}")
        self.voices = self.lines = voices
        self.units = units
        self.reach = reach
        self.labelled = labelled
        self.onsets = onsets
        self.held = held
        self.counterpoint = counterpoint
        self.tonality = tonality
        self.dropout = dropout
        self.feature_size = KEYS + voices * (EVENTS + onsets + held)
        self.context_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.hidden_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, context_shape):
        """Create the heads for a context of `context_shape[-1]` numbers."""
        size, voices, units = context_shape[-1], self.voices, self.units
        small = keras.initializers.RandomNormal(stddev=0.05)
        self.context_kernel = self.add_weight(name="context_kernel", shape=(size, voices * units))
        self.context_bias = self.add_weight(name="context_bias", shape=(voices * units,), initializer="zeros")
        self.emitted = self.add_weight(name="emitted", shape=(max(voices - 1, 1), EVENTS, units), initializer=small)
        self.head_kernel = self.add_weight(
            name="head_kernel",
            shape=(voices, units, EVENTS),
            initializer=keras.initializers.RandomNormal(stddev=units**-0.5),
        )
        # Motion first, then spacing; a row an interval, from -reach to reach.
        self.interval_kernel = self.add_weight(
            name="interval_kernel", shape=(voices, units, 2 * (2 * self.reach + 1)), initializer="zeros"
        )
        self.head_bias = self.add_weight(name="head_bias", shape=(voices, EVENTS), initializer="zeros")
        if self.counterpoint and voices > 1:
            # A row an interval class: consonance with each voice above, then parallels with each.
            self.counterpoint_kernel = [
                self.add_weight(name=f"counterpoint_kernel_{k}", shape=(units, 2 * k * 12), initializer="zeros")
                for k in range(1, voices)
            ]
        if self.tonality:  # A row a semitone above the tonic.
            self.degree_kernel = self.add_weight(name="degree_kernel", shape=(voices, units, 12), initializer="zeros")
            self.degree_bias = self.add_weight(
                name="degree_bias", shape=(voices, tonality.MODES, 12), initializer="zeros"
            )
        if self.onsets:
            self.struck_kernel = self.add_weight(name="struck_kernel", shape=(voices, units, 1), initializer=small)
            self.struck_bias = self.add_weight(name="struck_bias", shape=(voices, EVENTS), initializer="zeros")
            self.struck = self.add_weight(name="struck", shape=(max(voices - 1, 1), units), initializer=small)
        super().build(context_shape)

    def get_config(self):
        """Constructor arguments."""
        names = ("voices", "units", "reach", "labelled", "onsets", "held", "counterpoint", "tonality", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def events(self, music):
        """See `FrameDistribution.events`: the voices, or the highest `voices` notes from the top, then `END`."""
        if not self.labelled:
            events, dropped = read_notes(music, self.voices)
            struck = music.get("onsets")
        else:
            events = self._columns(music)
            struck = music.get("voice_onsets")
            sung = _notes(self.pianoroll(events))
            dropped = tf.maximum(_notes(music["pianoroll"]) - sung, 0) if "pianoroll" in music else 0 * sung
        if not self.onsets or struck is None:
            return events, tf.zeros_like(events, tf.bool), dropped
        if not self.labelled:
            leading = events.shape.rank - 1
            struck = tf.pad(tf.cast(struck, tf.bool), [[0, 0]] * leading + [[0, 1]])  # `END` is never struck.
            struck = tf.gather(struck, events, axis=-1, batch_dims=leading)
        return events, tf.cast(struck, tf.bool), dropped

    def _columns(self, music):
        """The labelled voices, int32 `(..., voices)`."""
        if "voices" not in music:
            raise ValueError("Labelled voices are read from `voices`. Received: " + ", ".join(music))
        events = tf.cast(music["voices"], tf.int32)
        if events.shape[-1] != self.voices:
            raise ValueError(f"The music has {events.shape[-1]} labelled voices. Received: voices={self.voices}")
        return events

    def pianoroll(self, events):
        """See `FrameDistribution.pianoroll`."""
        return multi_hot(events)

    def notes(self, events):
        """See `FrameDistribution.notes`: a line for each event."""
        return tf.one_hot(events, KEYS)

    def features(self, sounding):
        """The frame as multi-hot keys, each voice as one of the 89 events, and whether and since when it sounds."""
        columns = [tf.one_hot(sounding.events, EVENTS)]
        if self.onsets:
            columns.append(tf.cast(sounding.onsets, tf.float32)[..., None])
        if self.held:
            columns.append(tf.one_hot(tf.minimum(sounding.held, self.held) - 1, self.held))
        voices = tf.concat(columns, -1)
        flat = tf.reshape(voices, tf.concat([tf.shape(voices)[:-2], [self.feature_size - KEYS]], 0))
        return tf.concat([self.pianoroll(sounding.events), flat], -1)

    def log_prob(self, context, events, onsets=None, *, previous=None, key=None, training=None):
        """See `FrameDistribution.log_prob`. Unlabelled events after `END` have log probability 0."""
        events = tf.cast(events, tf.int32)
        log_p = []

        def choose(k, logits):
            log_p.append(at(tf.nn.log_softmax(logits), events[..., k]))
            return tf.one_hot(events[..., k], EVENTS)

        def strike(k, logits):
            log_p[k] += at(tf.nn.log_softmax(logits), tf.cast(onsets[..., k], tf.int32))
            return onsets[..., k]

        if self.onsets and onsets is None:
            raise ValueError("This distribution tells repeated notes from held ones. Received: onsets=None")
        self._chain(context, previous, key, choose, strike, training)
        return tf.stack(log_p, -1)

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
        """See `FrameDistribution.sample`."""
        shape = tf.shape(context)[:-1]
        if given is None:
            given = tf.fill(tf.concat([shape, [self.voices]], 0), FREE)
        self.check_given(given)
        noise, coins = self._noise(shape, seed)
        free = given == FREE
        events, onsets, log_q, log_given = [], [], [], []

        def emit(k, logits, inside, noise, told, is_told):
            """One of the classes of `logits`: `told` where `is_told`, else drawn from those `inside` (None: all)."""
            log_p, log_inside = tf.nn.log_softmax(logits), 0.0
            if inside is not None:
                logits = tf.where(inside, logits, FORBIDDEN)
                log_inside = tf.reduce_logsumexp(tf.where(inside, log_p, FORBIDDEN), -1)
            drawn_from = temper(logits, temperature, top_p)
            chosen = tf.where(is_told, told, tf.argmax(drawn_from + noise[..., k, :], -1, tf.int32))
            log_q.append(tf.where(is_told, 0.0, at(drawn_from, chosen)))
            log_given.append((k, tf.where(is_told, at(log_p, chosen), log_inside)))
            return chosen

        def choose(k, logits):
            inside = None if allowed is None else allowed[k] | (tf.range(EVENTS) == END)
            events.append(emit(k, logits, inside, noise, given[..., k], ~free[..., k]))
            return tf.one_hot(events[-1], EVENTS)

        def strike(k, logits):
            if given_onsets is None:
                told, is_told = 0, tf.zeros_like(free[..., k])
            else:
                # What cannot be held is struck, and what rests is not: of the two logits one is forbidden then.
                sure = tf.reduce_min(logits, -1) <= FORBIDDEN / 2
                told = tf.where(sure, tf.argmax(logits, -1, tf.int32), tf.cast(given_onsets[..., k], tf.int32))
                is_told = ~free[..., k]
            onsets.append(emit(k, logits, None, coins, told, is_told) > 0)
            return onsets[-1]

        self._chain(context, previous, key, choose, strike)
        struck = tf.stack(onsets, -1) if self.onsets else None
        leading = tf.math.cumprod(tf.cast(~free, tf.float32), -1)
        prefix = tf.add_n([leading[..., k] * log_p for k, log_p in log_given])
        return Draw(tf.stack(events, -1), struck, tf.add_n(log_q), tf.add_n([x for _, x in log_given]), prefix)

    def relaxed(self, context, *, previous=None, key=None, given=None, temperature=1.0, seed):
        """See `FrameDistribution.relaxed`. Whether a note is struck is drawn, but no gradient passes through it."""
        noise, coins = self._noise(tf.shape(context)[:-1], seed)
        notes = []

        def choose(k, logits):
            drawn_by = noise[..., k, :]
            if given is not None:
                drawn_by = tf.stop_gradient(gumbel_before(logits, given[..., k], drawn_by))
            noisy = logits + drawn_by
            soft = tf.nn.softmax(noisy / temperature)
            event = tf.one_hot(tf.argmax(noisy, -1), EVENTS) + soft - tf.stop_gradient(soft)
            notes.append(event[..., :KEYS])
            return event

        def strike(k, logits):
            return tf.argmax(logits + coins[..., k, :], -1) > 0

        self._chain(context, previous, key, choose, strike)
        return tf.stack(notes, -2)

    def _chain(self, context, previous, key, choose, strike, training=None):
        """Walk the heads from the top note down.

        Args:
            context: `(..., C)`.
            previous: int32 `(..., voices)`, or None.
            key: a `Tonality`, or None.
            choose: `choose(k, logits) -> event`: from head k's logits, float32 `(..., 89)` with the forbidden events at
                -1e9, to the event it emits, one-hot `(..., 89)`.
            strike: `strike(k, logits) -> struck`: from the logits of held and struck, float32 `(..., 2)`, to bool
                `(...)`.
            training: whether to drop.
        """
        context = self.context_dropout(tf.convert_to_tensor(context), training=training)
        hidden = linear(context, self.context_kernel) + tf.cast(self.context_bias, context.dtype)
        parts = tf.split(hidden, self.voices, -1)
        last = tf.fill(tf.shape(context)[:-1], START)
        before = 0.0
        above: list[tf.Tensor] = []
        for k in range(self.voices):
            head = tf.nn.gelu(parts[k] + before)
            head = self.hidden_dropout(head, training=training)
            logits = tf.cast(linear(head, self.head_kernel[k]), tf.float32) + tf.cast(self.head_bias[k], tf.float32)
            motion, spacing = tf.split(tf.cast(linear(head, self.interval_kernel[k]), tf.float32), 2, axis=-1)
            if previous is not None:
                logits += self._around(tf.cast(previous[..., k], tf.int32), motion)
            if k:
                logits += self._around(last, spacing)
            if k and self.counterpoint:
                values = tf.cast(linear(head, self.counterpoint_kernel[k - 1]), tf.float32)
                logits += counterpoint.logits(values, above, previous)
            if self.tonality and key is not None:
                values = tf.cast(linear(head, self.degree_kernel[k]), tf.float32)
                logits += tonality.logits(values, tf.cast(self.degree_bias[k], tf.float32), key)
            if not self.labelled:
                logits = tf.where(_allowed(last), logits, FORBIDDEN)
            event = choose(k, logits)
            last = tf.argmax(event, -1, tf.int32)
            above.append(last)
            if self.onsets:
                struck = strike(k, self._struck_logits(k, head, last, previous))
            if k < self.voices - 1:
                before += linear(tf.cast(event, context.dtype), self.emitted[k])
                if self.onsets:
                    before += tf.cast(struck, context.dtype)[..., None] * tf.cast(self.struck[k], context.dtype)

    def _struck_logits(self, k, head, event, previous):
        """Logits of held and struck, float32 `(..., 2)`; what cannot be is at -1e9."""
        struck = tf.cast(linear(head, self.struck_kernel[k])[..., 0], tf.float32)
        struck += tf.gather(tf.cast(self.struck_bias[k], tf.float32), event)
        held = tf.zeros_like(struck)
        rests = event == END
        if previous is not None:
            earlier = tf.cast(previous[..., k : k + 1] if self.labelled else previous, tf.int32)
            could_be = (earlier == event[..., None]) | (earlier == FREE)
            held = tf.where(tf.reduce_any(could_be, -1) | rests, held, FORBIDDEN)
        return tf.stack([held, tf.where(rests, FORBIDDEN, struck)], -1)

    def _around(self, centre, values):
        """Values by interval, `(..., 2 reach + 1)`, as logits by event, `(..., 89)`, around the notes `centre`.

        Out of reach, for `END` and around no note they are 0.
        """
        interval = tf.range(EVENTS) - centre[..., None]
        is_note = (centre >= 0) & (centre < END)
        inside = (tf.abs(interval) <= self.reach) & (tf.range(EVENTS) != END) & is_note[..., None]
        place = tf.clip_by_value(interval + self.reach, 0, 2 * self.reach)
        return tf.where(inside, tf.gather(values, place, axis=-1, batch_dims=centre.shape.rank), 0.0)

    def _noise(self, shape, seed):
        """Gumbel noise for the events, `(..., voices, 89)`, and for held or struck, `(..., voices, 2)`."""
        events = gumbel(tf.concat([shape, [self.voices, EVENTS]], 0), seed)
        coins = gumbel(tf.concat([shape, [self.voices, 2]], 0), tf.random.experimental.stateless_fold_in(seed, 1))
        return events, coins


def _notes(pianoroll: tf.Tensor) -> tf.Tensor:
    """Notes in each frame, int32 `(...)`."""
    return tf.reduce_sum(tf.cast(tf.cast(pianoroll, tf.float32) > 0.5, tf.int32), -1)


def _allowed(last: tf.Tensor) -> tf.Tensor:
    """Which events may follow `last`: the keys below it, or `END`. Bool `(..., 89)`."""
    last = last[..., None]
    event = tf.range(EVENTS)
    return ((event < last) & (last != END)) | (event == END)
