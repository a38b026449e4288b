"""Writing around what is given: a particle filter, for any model with `start`, `step` and `select`."""

from __future__ import annotations

import functools

import tensorflow as tf

from bachkeras.generation import loop
from bachkeras.layers.frame.base import Sounding
from bachkeras.layers.frame.tonality import Tonality


def complete(
    model, conditions, primer, given, given_onsets, allowed, ends, particles, temperature, top_p, seed
) -> tuple[tf.Tensor, ...]:
    """Draw what is free of some frames from p(free | primer, given), what is given later included.

    A chain of frames written from left to right does not know what will be given later. So `particles` of them are
    written side by side, each weighed by how probable it makes what is given,

        w_t = w_{t-1} p(given_t | x_{<t}, free events emitted before them in frame t),

    and where the weights have become uneven (1 / sum of their squares below half the particles) the probable particles
    are continued instead of the others (sequential Monte Carlo: Gordon, Salmond and Smith 1993; systematic resampling:
    Kitagawa 1996). What is given before the first free event of a frame is weighed before that is drawn (Pitt and
    Shephard 1999), so that equal particles go on differently. In the end one is drawn. One particle looks not ahead.

    Graph code. The cost is that of writing `count * particles` pieces, and of moving their states at times.

    Args:
        model: as `loop.write` takes it, with `select(state, rows)` too.
        conditions: see `loop.write`.
        primer: see `loop.write`.
        given: int32 `(count, length, voices)`, events to keep, -1 = free.
        given_onsets: bool `(count, length, voices)`, whether a given event is struck.
        allowed: see `loop.write`; that free events are among these is given too.
        ends: bool scalar, whether the last frame ends the piece; that is weighed too, where the model has an `ending`.
        particles: int32 scalar.
        temperature: float32 scalar; like `top_p` it acts on what is free, not on the weights.
        top_p: float32 scalar.
        seed: int32 scalar.

    Returns:
        Events int32 and onsets bool `(count, length, voices)`, and float32 `(count,)`: the logarithm of an unbiased
        estimate of p(given | primer), at temperature and top_p 1.
    """
    frame = model.frame
    given, given_onsets = (tf.ensure_shape(x, (None, None, frame.voices)) for x in (given, given_onsets))
    count, length = tf.shape(given)[0], tf.shape(given)[1]
    piece = tf.repeat(tf.range(count), particles)
    key = Tonality(*(tf.gather(x, piece) for x in Tonality.of(conditions)))
    last, state = _rows(model, piece, *loop.listen(model, conditions, primer))
    sample = functools.partial(frame.sample, key=key, allowed=allowed, temperature=temperature, top_p=top_p)
    shape = tf.TensorShape([None, frame.voices])
    written = [tf.TensorArray(dtype, size=length, element_shape=shape) for dtype in (tf.int32, tf.bool)]
    parents = tf.TensorArray(tf.int32, size=length, element_shape=tf.TensorShape([None]))

    def emit(t, last, state, log_w, written, parents):
        context, state = model.step(state, frame.features(last))
        keep = {"given": tf.gather(given[:, t], piece), "given_onsets": tf.gather(given_onsets[:, t], piece)}
        draw = sample(context, previous=last.events, seed=tf.stack([seed, 2 * t]), **keep)
        log_w, parent, uneven = _resample(log_w + draw.log_prefix, count, particles, tf.stack([seed, -1 - t]))

        def move():
            moved, moved_state = _rows(model, parent, last, state)
            moved_context = tf.gather(context, parent)
            again = sample(moved_context, previous=moved.events, seed=tf.stack([seed, 2 * t + 1]), **keep)
            return moved, moved_state, moved_context, again

        last, state, context, draw = tf.cond(uneven, move, lambda: (last, state, context, draw))
        log_w += draw.log_given - draw.log_prefix
        now = frame.follow(last, draw.events, draw.onsets)
        if model.ending:
            odds = model.ending_odds(context, now, key.tonic)
            log_w += tf.math.log_sigmoid(tf.where(ends & (t == length - 1), odds, -odds))
        written = [array.write(t, x) for array, x in zip(written, (now.events, now.onsets), strict=True)]
        return t + 1, now, state, log_w, written, parents.write(t, parent)

    begin = (0, last, state, tf.zeros([count * particles]), written, parents)
    *_, log_w, written, parents = tf.while_loop(lambda t, *_: t < length, emit, begin)
    events, onsets, parents = (array.stack() for array in (*written, parents))
    weights = tf.reshape(log_w, [count, particles])
    chosen = tf.random.stateless_categorical(weights, 1, tf.stack([seed, 2 * length]), tf.int32)[:, 0]
    lines = _trace(parents, chosen + tf.range(count) * particles)
    events, onsets = (tf.transpose(tf.gather(x, lines, batch_dims=1), (1, 0, 2)) for x in (events, onsets))
    return events, onsets, _mean(weights)


def _rows(model, rows, last, state):
    """Some rows of what sounds and of the state, each as often as it is named."""
    return Sounding(*(tf.gather(x, rows) for x in last)), model.select(state, rows)


def _resample(log_w, count, particles, seed):
    """New weights `(rows,)`, for each row the one that it continues, and whether any continues another."""
    weights = tf.reshape(log_w, [count, particles])
    share = tf.nn.softmax(weights)
    uneven = tf.reduce_sum(share**2, 1) * tf.cast(particles, tf.float32) > 2
    # Systematic: one random number for all, so that a share of the weight is that share of the particles.
    comb = tf.random.stateless_uniform([count, 1], seed) + tf.range(tf.cast(particles, tf.float32))
    chosen = tf.searchsorted(tf.cumsum(share, 1), comb / tf.cast(particles, tf.float32))
    chosen = tf.where(uneven[:, None], tf.minimum(chosen, particles - 1), tf.range(particles))
    weights = tf.where(uneven[:, None], _mean(weights)[:, None], weights)
    parent = chosen + tf.range(count)[:, None] * particles
    return tf.reshape(weights, [-1]), tf.reshape(parent, [-1]), tf.reduce_any(uneven)


def _mean(weights):
    """Logarithm of the mean weight of each piece, `(count,)`."""
    return tf.reduce_logsumexp(weights, 1) - tf.math.log(tf.cast(tf.shape(weights)[1], tf.float32))


def _trace(parents, row):
    """The rows `(length, count)` whose frames led to the last frame's `row`, from `parents` `(length, rows)`."""
    length = tf.shape(parents)[0]
    lines = tf.TensorArray(tf.int32, size=length, element_shape=tf.TensorShape([None]))

    def back(t, row, lines):
        return t - 1, tf.gather(parents[t], row), lines.write(t, row)

    *_, lines = tf.while_loop(lambda t, *_: t >= 0, back, (length - 1, row, lines))
    return lines.stack()
