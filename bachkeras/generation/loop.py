"""Writing frame by frame: one compiled loop for any model with `start` and `step`."""

from __future__ import annotations

import tensorflow as tf

from bachkeras.layers.frame.base import END
from bachkeras.layers.frame.tonality import Tonality


def write(model, conditions, primer, given, allowed, until_end, temperature, top_p, seed) -> tuple[tf.Tensor, ...]:
    """Continue `primer` by as many frames as `given` has, or until every piece is over.

    Graph code: everything is a tensor, the state has a fixed size, so a frame costs the same wherever it stands.

    Args:
        model: has `frame` (a `FrameDistribution`), `start(conditions) -> state`,
            `seen(state, last) -> last`, `step(state, features) -> (context, state)` and `ending`, where it is not None
            with `ending_odds(context, now, tonic)`.
        conditions: `tonic`, `mode`, `timestep` int32 `(count,)`; `position` int32 `(count, primer + length)`; and what
            else the model is told.
        primer: events, int32, and onsets, bool, `(count, primer, voices)`, to continue; may have no frames.
        given: int32 `(count, length, voices)`, events to keep, -1 = free.
        allowed: bool `(voices, 89)`, what free events may be, or None; see `FrameDistribution.sample`.
        until_end: bool scalar, whether a piece is over where the model ends it.
        temperature: float32 scalar.
        top_p: float32 scalar.
        seed: int32 scalar.

    Returns:
        Events int32 and onsets bool `(count, frames, voices)`, the new ones, without the primer, silent where a piece
        is over; and int32 `(count,)`, the pieces' own frames.
    """
    frame = model.frame
    key = Tonality.of(conditions)
    given = tf.ensure_shape(given, (None, None, frame.voices))
    count, length = tf.shape(given)[0], tf.shape(given)[1]
    last, state = listen(model, conditions, primer)
    shape = given.shape[:1] + given.shape[2:]
    written = [tf.TensorArray(dtype, size=length, element_shape=shape) for dtype in (tf.int32, tf.bool)]
    lengths = tf.fill([count], length)

    def emit(t, last, state, written, lengths):
        seen = model.seen(state, last)
        context, state = model.step(state, frame.features(seen))
        draw = frame.sample(
            context,
            previous=seen.events,
            key=key,
            given=given[:, t],
            allowed=allowed,
            temperature=temperature,
            top_p=top_p,
            seed=tf.stack([seed, t]),
        )
        now = frame.follow(last, draw.events, draw.onsets)
        over = (lengths <= t)[:, None]
        frames = (tf.where(over, END, now.events), now.onsets & ~over)
        written = [array.write(t, x) for array, x in zip(written, frames, strict=True)]
        if model.ending:
            odds = model.ending_odds(context, now, conditions["tonic"])
            coin = tf.random.stateless_uniform([count], tf.random.experimental.stateless_fold_in([seed, t], 2))
            ends = until_end & (coin < tf.sigmoid(odds))
            lengths = tf.where(ends, tf.minimum(lengths, t + 1), lengths)
        return t + 1, now, state, written, lengths

    t, *_, written, lengths = tf.while_loop(
        lambda t, *others: tf.reduce_any(others[-1] > t), emit, (0, last, state, written, lengths)
    )
    events, onsets = (tf.transpose(array.stack()[:t], (1, 0, 2)) for array in written)
    return events, onsets, lengths


def listen(model, conditions, primer):
    """Hear the primer, see `write`: the last `Sounding` and the state after it."""
    frame = model.frame
    events, onsets = (tf.ensure_shape(x, (None, None, frame.voices)) for x in primer)

    def hear(t, last, state):
        _, state = model.step(state, frame.features(model.seen(state, last)))
        return t + 1, frame.follow(last, events[:, t], onsets[:, t]), state

    begin = (0, frame.silence(tf.shape(events)[0]), model.start(conditions))
    _, last, state = tf.while_loop(lambda t, *_: t < tf.shape(events)[1], hear, begin)
    return last, state
