"""What a discriminator hears in frames: melody, harmony and counterpoint, as products of the lines' notes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import tensorflow as tf

from bachkeras.music.pianoroll import KEYS

PITCH_CLASSES = np.eye(12, dtype=np.float32)[np.arange(KEYS) % 12]
"""From the 88 keys to their pitch classes, `(88, 12)`."""

INTERVALS = np.eye(12, dtype=np.float32)[np.subtract.outer(np.arange(12), np.arange(12)) % 12].reshape(144, 12)
"""From pairs of pitch classes to the interval class from the second up to the first, `(144, 12)`."""

ABOVE = np.stack([np.roll(np.eye(12, dtype=np.float32), -k, 1) for k in range(12)], 1).reshape(12, 144)
"""From a pitch class to pairs of a bass and the interval class from it up to that pitch class, `(12, 144)`."""

OCTAVES = (2, 4, 8)
"""Around circles of so many octaves a key is told from its octaves."""

_ANGLES = 2 * np.pi * np.arange(KEYS)[:, None] / (12 * np.array(OCTAVES))
PLACES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1).astype(np.float32)
"""From the 88 keys to their places on each circle, `(88, circles, 2)`."""


def heard(notes: tf.Tensor) -> list[tf.Tensor]:
    """What there is to hear in frames, in groups: `(batch, time, size)` each, from notes `(batch, time, lines, 88)`.

    Melody: the keys of each line, and how it moves, as interval class and as distance. Harmony: pitch classes; which
    two are together, and which follow one another; which two and which three interval classes are above the last line,
    as figured bass has it. Counterpoint: how far apart each two lines are, as interval class and as distance, and which
    interval class follows which. Before the first frame is silence.

    These products are what harmony and counterpoint are made of, and narrow layers learn them slowly. All are linear in
    each line alone. So the gradient through one line's draw tells rightly what another note would have changed, the
    other lines as they are; products of a frame's keys with themselves would put the other note beside its rival.
    """
    classes = tf.tensordot(notes, PITCH_CLASSES, 1)
    before = _before(classes)
    places = tf.tensordot(notes, PLACES, 1)
    every, every_before = tf.reduce_sum(classes, 2), tf.reduce_sum(before, 2)
    pairs = list(itertools.combinations(range(notes.shape[2]), 2))
    melody = [_flat(notes), _flat(_intervals(classes, before)), _flat(_distances(places, _before(places)))]
    above = _above(classes)
    harmony = [
        every,
        _flat(tf.einsum("btvi,btvj->btij", tf.cumsum(classes, 2, exclusive=True), classes)),
        _flat(every_before[..., :, None] * every[..., None, :]),
        *(_figures(classes, above, size) for size in (2, 3)),
    ]
    groups = [melody, harmony]
    if pairs:
        upper, lower = ([pair[side] for pair in pairs] for side in (0, 1))
        intervals = _intervals(tf.gather(classes, upper, axis=2), tf.gather(classes, lower, axis=2))
        distances = _distances(tf.gather(places, upper, axis=2), tf.gather(places, lower, axis=2))
        groups.append([*map(_flat, (intervals, distances, _before(intervals)[..., :, None] * intervals[..., None, :]))])
    return [tf.concat(group, -1) for group in groups]


def sizes(lines: int) -> list[int]:
    """The sizes of the groups that there are to hear in frames of so many lines."""
    distance = 2 * len(OCTAVES)
    pairs = lines * (lines - 1) // 2
    return [(KEYS + 12 + distance) * lines, 12 + 3 * 144 + 12**3, *([(12 + distance + 144) * pairs] if pairs else [])]


def _intervals(upper: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
    """Interval classes `(..., 12)` between pitch classes `(..., 12)`, of each two of them the product."""
    pairs = upper[..., :, None] * lower[..., None, :]
    return tf.tensordot(tf.reshape(pairs, tf.concat([tf.shape(upper)[:-1], [144]], 0)), INTERVALS, 1)


def _distances(upper: tf.Tensor, lower: tf.Tensor) -> tf.Tensor:
    """How far it is from the second up to the first, `(..., 2 circles)`: cosines and sines of the angles between them.

    The interval class does not tell a step from a leap of a seventh the other way.

    Args:
        upper: places, `(..., circles, 2)`.
        lower: likewise.
    """
    (x, y), (u, v) = tf.unstack(upper, axis=-1), tf.unstack(lower, axis=-1)
    return tf.concat([x * u + y * v, y * u - x * v], -1)


def _above(classes: tf.Tensor) -> tf.Tensor:
    """The interval class of each line above the last, by what the last may be: `(batch, time, lines - 1, 12, 12)`."""
    batch, time, lines, _ = tf.unstack(tf.shape(classes))
    return tf.reshape(tf.tensordot(classes[:, :, :-1], ABOVE, 1), [batch, time, lines - 1, 12, 12])


def _figures(classes: tf.Tensor, above: tf.Tensor, size: int) -> tf.Tensor:
    """Which `size` lines are together above the last, as interval classes from it, upper ones first: `(..., 12**size)`.

    Chords are told by them in whatever key they are. All is 0 with fewer lines.

    Args:
        classes: pitch classes of lines, `(batch, time, lines, 12)`.
        above: see `_above`.
        size: 2 or more.
    """
    batch, time = tf.unstack(tf.shape(classes)[:2])
    found = tf.zeros([batch, time, 12**size])
    for chosen in itertools.combinations(range(classes.shape[2] - 1), size):
        chord = classes[:, :, -1, :, None]  # By the bass, which each of them has its interval from.
        for line in chosen[:-1]:
            chord = tf.reshape(chord[..., :, None] * above[:, :, line, :, None], [batch, time, 12, -1])
        chord = tf.matmul(chord, above[:, :, chosen[-1]], transpose_a=True)
        found += tf.reshape(chord, [batch, time, 12**size])
    return found


def _before(x: tf.Tensor) -> tf.Tensor:
    """The frame before each of `(batch, time, ...)`, silence at first."""
    return tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], 1)


def _flat(x: tf.Tensor) -> tf.Tensor:
    """`(batch, time, ...)` as `(batch, time, size)`."""
    return tf.reshape(x, tf.concat([tf.shape(x)[:2], [math.prod(x.shape[2:])]], 0))
