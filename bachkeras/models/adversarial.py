"""The objectives of adversarial training, and the slopes of a critic that they hold down."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Objective(NamedTuple):
    """What discriminator and generator want; formulas: see `AdversarialModel`. Scores have any shape, losses the same.

    Attributes:
        name: "minimax" or "wasserstein".
        critic_loss: of scores of real and generated notes and the smoothing of real labels.
        generator_loss: of scores of generated notes.
        penalized: from real and generated notes and a seed to the notes at which slopes are penalised.
        penalty: of slopes.
    """

    name: str
    critic_loss: Callable[..., tf.Tensor]
    generator_loss: Callable[..., tf.Tensor]
    penalized: Callable[..., tf.Tensor]
    penalty: Callable[..., tf.Tensor]


def objective(name: str) -> Objective:
    """One of the objectives.

    Raises:
        ValueError: if there is none of this name.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"Objectives are {', '.join(OBJECTIVES)}. Received: objective={name!r}")
    return OBJECTIVES[name]


def slopes(score: Callable[[tf.Tensor], tf.Tensor], notes: tf.Tensor) -> tf.Tensor:
    """||grad score|| at some notes, float32 `(batch,)`: over all frames, lines and keys of an example.

    Scales are critics of their own: of the examples, each shows one scale's slope, in turn. A slope of their sum would
    let one scale take all that the penalty leaves.

    Args:
        score: from notes `(batch, time, lines, 88)` to scores `(batch, scales)`.
        notes: where.
    """
    with tf.GradientTape() as tape:
        tape.watch(notes)
        scores = score(notes)
        count, scales = tf.unstack(tf.shape(scores))
        total = tf.reduce_sum(scores * tf.one_hot(tf.range(count) % scales, scales))
    gradient = tape.gradient(total, notes)
    # The root has no derivative at 0.
    return tf.sqrt(tf.reduce_sum(gradient**2, [1, 2, 3]) + 1e-12)


def between(real: tf.Tensor, fake: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A point on the line from each generated example to a real one, uniformly."""
    share = tf.random.stateless_uniform((tf.shape(real)[0], 1, 1, 1), seed)
    return share * real + (1 - share) * fake


def _minimax(real: tf.Tensor, fake: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy with labels 1 - `smoothing` and 0."""
    return (1 - smoothing) * tf.nn.softplus(-real) + smoothing * tf.nn.softplus(real) + tf.nn.softplus(fake)


OBJECTIVES = {
    "minimax": Objective(
        "minimax",
        _minimax,
        lambda fake: tf.nn.softplus(-fake),
        lambda real, fake, seed: real,
        lambda slopes: slopes**2 / 2,
    ),
    "wasserstein": Objective(
        "wasserstein",
        lambda real, fake, smoothing: fake - real,
        lambda fake: -fake,
        between,
        lambda slopes: (slopes - 1) ** 2,
    ),
}
"""By their names."""
