"""Writing frame by frame: one compiled loop for any model with `start` and `step`."""

from __future__ import annotations

import tensorflow as tf

from bachkeras.layers.frame.base import END


def write(model, conditions, primer, given, temperature, top_p, seed) -> tf.Tensor:
    """Continue `primer` by as many frames as `given` has.

    Graph code: everything is a tensor, the state has a fixed size, so a frame costs the same wherever it stands.

    Args:
        model: has `frame` (a `FrameDistribution`), `start(conditions) -> state` and
            `step(state, features) -> (context, state)`.
        conditions: `tonic`, `mode`, `timestep` int32 `(count,)`; `position` int32 `(count, primer + length)`.
        primer: int32 `(count, primer, voices)`, events to continue; may have no frames.
        given: int32 `(count, length, voices)`, events to keep, -1 = free.
        temperature: float32 scalar.
        top_p: float32 scalar.
        seed: int32 scalar.

    Returns:
        int32 `(count, length, voices)`, the new events, without the primer.
    """
    frame = model.frame
    silence = tf.fill(tf.shape(given[:, 0]), END)
    state = model.start(conditions)

    def listen(t, last, state):
        _, state = model.step(state, frame.features(last))
        return t + 1, primer[:, t], state

    _, last, state = tf.while_loop(lambda t, *_: t < tf.shape(primer)[1], listen, (0, silence, state))
    length = tf.shape(given)[1]
    written = tf.TensorArray(tf.int32, size=length, element_shape=given.shape[:1] + given.shape[2:])

    def emit(t, last, state, written):
        context, state = model.step(state, frame.features(last))
        draw = frame.sample(
            context,
            previous=last,
            given=given[:, t],
            temperature=temperature,
            top_p=top_p,
            seed=tf.stack([seed, t]),
        )
        return t + 1, draw.events, state, written.write(t, draw.events)

    *_, written = tf.while_loop(lambda t, *_: t < length, emit, (0, last, state, written))
    return tf.transpose(written.stack(), (1, 0, 2))
