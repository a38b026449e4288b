"""What all models share: the loss and its metrics, the likelihood of a piece, generation."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.generation import loop
from bachkeras.layers.frame.base import FREE, FrameDistribution
from bachkeras.music.pianoroll import KEYS

_WRITE_SIGNATURE = (
    {name: tf.TensorSpec((None, None) if name == "position" else (None,), tf.int32) for name in UNKNOWN},
    tf.TensorSpec((None, None, None), tf.int32, "primer"),
    tf.TensorSpec((None, None, None), tf.int32, "given"),
    tf.TensorSpec((), tf.float32, "temperature"),
    tf.TensorSpec((), tf.float32, "top_p"),
    tf.TensorSpec((), tf.int32, "seed"),
)
"""One graph for every count and length: tracing it takes longer than writing a piece."""


class FrameModel(keras.Model):
    """A model of music as a sequence of frames.

    A subclass sets `frame` and answers `call(batch) -> (batch, time)`, the log probability of each frame. One that
    writes frame by frame also has `start(conditions) -> state` and `step(state, features) -> (context, state)`.

    Attributes:
        frame: the `FrameDistribution` that the model ends in.
        likelihood: "exact", "bound" or None.
        can_continue: whether `generate` takes a primer.
    """

    frame: FrameDistribution
    likelihood: str | None = None
    can_continue = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.nats_per_frame = keras.metrics.Mean(name="nats_per_frame")
        self.dropped_notes = keras.metrics.Sum(name="dropped_notes")
        self._write = tf.function(self._write_graph, autograph=False, input_signature=_WRITE_SIGNATURE)

    def get_build_config(self):
        """Nothing: no weight depends on the shape of an input."""
        return {"input_shape": None}

    def build_from_config(self, config):
        """Create the weights. Keras's own way swallows an error here and goes on with random weights."""
        self.build(config["input_shape"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Masked mean of `-log p` over the frames of a batch, in nats, plus the layers' penalties.

        The notes that do not fit the model's voices are counted in the metric `dropped_notes`.
        """
        self.dropped_notes.update_state(self.frame.events(x["pianoroll"][:, 1:])[1])
        mask = tf.cast(x["mask"], tf.float32)
        nll = -tf.cast(y_pred, tf.float32)
        # Flat: Keras would average over time first, and so weigh a frame by the length of its batch.
        self.nats_per_frame.update_state(tf.reshape(nll, [-1]), sample_weight=tf.reshape(mask, [-1]))
        loss = tf.reduce_sum(nll * mask) / tf.maximum(tf.reduce_sum(mask), 1.0)
        return tf.add_n([loss, *(tf.cast(penalty, tf.float32) for penalty in self.losses)])

    def log_prob(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Log probability of each example, in nats, float32 `(batch,)`; padded frames do not count.

        Raises:
            ValueError: if a frame has more notes than the model has voices: of such a frame there is no likelihood.
        """
        self._check_fit("batch", batch["pianoroll"])
        return tf.reduce_sum(tf.cast(self(batch, training=False), tf.float32) * batch["mask"], axis=1)

    def generate(
        self,
        count: int,
        length: int,
        *,
        primer: np.ndarray | None = None,
        given: np.ndarray | None = None,
        conditions: Mapping[str, np.ndarray | int] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Write music.

        Args:
            count: pieces to write.
            length: frames of each.
            primer: frames to continue, `(time, 88)` for all pieces or `(count, time, 88)`.
            given: int32 `(length, voices)` or `(count, length, voices)`, events to keep, -1 = free.
            conditions: `tonic`, `mode`, `timestep` (its place in `TIMESTEPS`): a number, or one a piece; `position`:
                a number a frame, those of the primer first. What is left out is unknown.
            temperature: above 1 bolder, below 1 safer; acts on each head's softmax.
            top_p: draw from the most probable events that together reach this probability.
            seed: the same seed gives the same music; None: a new one.

        Returns:
            `pianoroll` bool `(count, length, 88)` and `events` int32 `(count, length, voices)`, without the primer.

        Raises:
            ValueError: if an argument is out of its range or has another shape.
        """
        if count < 1 or length < 1:
            raise ValueError(f"count and length are at least 1. Received: count={count}, length={length}")
        if not 0 < temperature < math.inf or not 0 < top_p <= 1:
            raise ValueError(
                f"temperature is above 0, top_p in (0, 1]. Received: temperature={temperature}, top_p={top_p}"
            )
        if seed is None:
            seed = secrets.randbits(31)
        if not 0 <= seed < 2**31:
            raise ValueError(f"A seed is 0 to 2^31 - 1. Received: seed={seed}")
        conditions = dict(conditions or {})
        for name in conditions.keys() - UNKNOWN.keys():
            raise ValueError(f"The conditions are {', '.join(UNKNOWN)}. Received: {name}={conditions[name]}")
        if not self.built:
            self.build(None)
        primer = self._primer(primer, count)
        shape = (count, length, self.frame.voices)
        given = _broadcast("given", FREE if given is None else given, shape)
        self.frame.check_given(given)
        events = self._write(
            {
                name: _broadcast(
                    name,
                    conditions.get(name, unknown),
                    (count,) if name != "position" else (count, primer.shape[1] + length),
                )
                for name, unknown in UNKNOWN.items()
            },
            primer,
            given,
            tf.constant(temperature, tf.float32),
            tf.constant(top_p, tf.float32),
            tf.constant(seed, tf.int32),
        )
        return {"pianoroll": self.frame.pianoroll(events).numpy() > 0.5, "events": events.numpy()}

    def _primer(self, primer, count) -> tf.Tensor:
        """The primer's events, int32 `(count, time, voices)`."""
        if primer is None:
            return tf.zeros((count, 0, self.frame.voices), tf.int32)
        if not self.can_continue:
            raise ValueError(f"{type(self).__name__} cannot continue a piece: leave the primer out.")
        primer = np.asarray(primer) > 0.5
        if primer.ndim not in (2, 3) or primer.shape[-1] != KEYS:
            raise ValueError(f"A primer is (time, {KEYS}) or (count, time, {KEYS}). Received: shape={primer.shape}")
        self._check_fit("primer", primer)
        return self.frame.events(_broadcast("primer", primer, (count, *primer.shape[-2:])))[0]

    def _check_fit(self, name, pianoroll):
        dropped = tf.reduce_sum(self.frame.events(pianoroll)[1])
        if not tf.is_symbolic_tensor(dropped) and dropped:
            raise ValueError(
                f"{int(dropped)} notes do not fit the model's {self.frame.voices} voices: give it a frame distribution "
                f"with more. Received: {name}"
            )

    def _write_graph(self, conditions, primer, given, temperature, top_p, seed):
        return loop.write(self, conditions, primer, given, temperature, top_p, seed)


def _broadcast(name: str, value, shape: tuple[int, ...]) -> tf.Tensor:
    """An argument of `generate` as int32 of the shape that it must have."""
    try:
        return tf.constant(np.broadcast_to(np.asarray(value), shape), tf.int32)
    except ValueError:
        raise ValueError(f"{name} must have shape {shape}. Received: shape={np.shape(value)}") from None
