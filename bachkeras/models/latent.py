"""What models with a latent share: a decoder that hears the latent in each frame, and the verbs that need no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.layers.conditions import Conditions
from bachkeras.layers.core import RecurrentCore
from bachkeras.layers.frame.base import Sounding, between, known_for, transpose
from bachkeras.layers.frame.tonality import Tonality
from bachkeras.models.base import FrameModel
from bachkeras.music.score import semitones_to_c

SIGNAL = 64
"""Numbers that the decoder hears of the latent in each frame."""

GREEDY = 1e-6
"""A top_p at which every head takes its most probable event."""


class LatentModel(FrameModel):
    """A model that writes a latent first, then frames that follow it.

    A latent `(batch, parts, size)` has a part for each `span` frames of a piece, counted from its first. The decoder is
    the core of `LSTMAttention` without attention. The latent says something of its own to each frame, a linear signal:
    no frame has to wait for what an LSTM remembers. Before a piece's first frame the decoder has seen nothing, and an
    example is scored without the frames that were before it.

    A subclass makes the layers `conditions`, `core`, `frame`, and `frame_dropout`, the share of the past frames that
    training hides from the decoder. It answers `_signals(latent, known, training)`, float32 `(batch, parts * span,
    SIGNAL)`; `_inferred(batch)`, a batch's own latents; `_checked(latent)`, a caller's latents as a tensor of rank 3;
    `_drawn(...)`, see there.

    Attributes:
        span: frames of a part.
        latent_name: the latent's name in `more_conditions`.
        part_name: what its parts are parts of a piece by, "window".
    """

    likelihood = "bound"
    can_continue = True
    latent_name: ClassVar[str]
    part_name: ClassVar[str]
    span: int
    conditions: Conditions
    core: RecurrentCore
    frame_dropout: float

    def reconstruct(self, batch: Mapping[str, tf.Tensor], latent: tf.Tensor | None = None) -> np.ndarray:
        """The notes that a latent makes: each frame greedily, after those written; bool `(batch, time, 88)`.

        Args:
            batch: what is reconstructed, of any length; if a latent is given its conditions alone are read.
            latent: as `decode` takes it; None: the batch's own.
        """
        self.ensure_built()
        latent = self._inferred(batch) if latent is None else latent
        conditions = {name: batch[name] for name in UNKNOWN}
        return self.decode(latent, batch["mask"].shape[1], conditions=conditions, top_p=GREEDY, seed=0)["pianoroll"]

    def reconstruction_log_prob(self, batch: Mapping[str, tf.Tensor], latent: tf.Tensor | None = None) -> tf.Tensor:
        """Log p(x|latent) in nats of each example, float32 `(batch,)`; the latent as in `reconstruct`."""
        self.ensure_built()
        latent = self._inferred(batch) if latent is None else self._enough(latent, *batch["mask"].shape)
        return tf.reduce_sum(self._decoded(latent, batch, batch) * batch["mask"], 1)

    def decode(
        self,
        latent: np.ndarray | tf.Tensor,
        length: int | None = None,
        *,
        conditions: Mapping[str, np.ndarray | int] | None = None,
        allowed: np.ndarray | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Music of given latents: what `generate` returns, a piece for each.

        Args:
            latent: `(count, parts, size)`, or `(count, size)` of one part each.
            length: frames; None: whole parts.
            conditions: see `generate`.
            allowed: see `generate`.
            temperature: see `generate`.
            top_p: see `generate`.
            seed: see `generate`.
        """
        latent = self._checked(latent)
        told = {**(conditions or {}), self.latent_name: latent}
        length = latent.shape[1] * self.span if length is None else length
        options = {"allowed": allowed, "temperature": temperature, "top_p": top_p, "seed": seed}
        return self.generate(latent.shape[0], length, conditions=told, **options)

    def start(self, conditions: Mapping[str, tf.Tensor]) -> dict:
        """The state before the first frame.

        Args:
            conditions: see `LSTMAttention.start`, and the latent by its name, `(batch, parts, size)`.
        """
        latent, known = conditions[self.latent_name], {name: conditions[name] for name in UNKNOWN}
        beyond = tf.shape(latent)[1] * self.span - tf.shape(known["position"])[1]
        known["position"] = tf.pad(known["position"], [[0, 0], [0, beyond]], constant_values=UNKNOWN["position"])
        return {
            "core": self.core.initial_state(tf.shape(known["tonic"])[0]),
            "signals": tf.concat([self._signals(latent, known), self.conditions(known)], -1),
            "time": tf.zeros((), tf.int32),
        }

    def step(self, state: dict, features: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """Take in the last frame's features `(batch, feature_size)`, see `seen`; what is known before the next one.

        Returns:
            `(context, state)`, context `(batch, hidden)`.
        """
        inputs = tf.concat([tf.cast(features, self.compute_dtype), state["signals"][:, state["time"]]], -1)
        context, core = self.core.step(inputs, self._core_state(state))
        return context, {**state, "core": core, "time": state["time"] + 1}

    def seen(self, state: dict, last: Sounding) -> Sounding:
        """See `FrameModel.seen`: nothing before the first frame."""
        return known_for(last, self._remembered(state["time"]))

    def _core_state(self, state):
        return state["core"]

    def _remembered(self, time: tf.Tensor) -> tf.Tensor:
        """Of how many frames before those numbered `time` the decoder knows, the last ones."""
        return time

    def _decoded(self, latent, batch, known, training=None):
        """Log probability of each frame of a batch given its latents: float32 `(batch, time)`."""
        return self._log_p(latent, self.frame.read(batch), known, training)

    def _log_p(self, latent, sounding, known, training=None):
        """`_decoded`, of frames as a `Sounding`, the one before them first."""
        now = between(sounding, 1, None)
        time = tf.shape(now.events)[1]
        remembered = tf.broadcast_to(self._remembered(tf.range(time)), tf.shape(now.events)[:2])
        if training:
            hidden = keras.random.uniform(tf.shape(remembered), seed=self.random) < self.frame_dropout
            remembered = tf.where(hidden, 0, remembered)
        before = known_for(between(sounding, None, -1), remembered)
        known = {name: tf.cast(known[name], tf.int32) for name in UNKNOWN}
        features = tf.cast(self.frame.features(before), self.compute_dtype)
        signals = self._signals(latent, known, training)[:, :time]
        context = self._contexts(tf.concat([features, signals, self.conditions(known)], -1), training)
        key = Tonality.of(known, time)
        log_p = self.frame.log_prob(context, now.events, now.onsets, previous=before.events, key=key, training=training)
        return tf.reduce_sum(log_p, -1)

    def _contexts(self, inputs, training):
        return self.core(inputs, training=training)

    def _known(self, conditions, primer, length):
        """See `FrameModel`; the latent, where it is told, too."""
        conditions = dict(conditions or {})
        latent = conditions.pop(self.latent_name, None)
        known = super()._known(conditions, primer, length)
        if latent is None:
            return known
        count, heard = primer[0].shape[:2]
        return known | {self.latent_name: self._enough(latent, count, heard + length)}

    def told(self, known, primer, sampling):
        """See `FrameModel`. A latent that is not told is the primer's own, then drawn."""
        if self.latent_name in known:
            return dict(known)
        parts = -(-tf.shape(known["position"])[1] // self.span)
        return {**known, self.latent_name: self._drawn(self._primed(primer), known, parts, sampling)}

    def _drawn(self, primed: Sounding, known: Mapping[str, tf.Tensor], parts: tf.Tensor, sampling) -> tf.Tensor:
        """Latents of so many parts for pieces that begin with a primer; see `_primed`, `Sampling`. Graph code."""
        raise NotImplementedError

    def _primed(self, primer) -> Sounding:
        """A primer's frames, silence before them first."""
        before = Sounding(*(x[:, None] for x in self.frame.silence(tf.shape(primer[0])[0])))

        def heard():
            return self.frame.trace(*(tf.concat([x, y], 1) for x, y in zip(before[:2], primer, strict=True)))

        return tf.cond(tf.shape(primer[0])[1] > 0, heard, lambda: before)  # A scan needs frames to scan.

    def _enough(self, latent, count, frames) -> tf.Tensor:
        """Latents for pieces of so many frames, `(count, parts, size)`; those of more parts are cut."""
        latent, parts = self._checked(latent), -(-frames // self.span)
        if latent.shape[0] != count or latent.shape[1] < parts:
            raise ValueError(
                f"{count} pieces of {parts} {self.part_name}s need {self.latent_name} for each. "
                f"Received: {self.latent_name}.shape={latent.shape}"
            )
        return latent[:, :parts]

    def _counted(self, mask):
        """Which parts have a frame that is no padding: float32 `(batch, parts)`, 0 or 1."""
        return tf.cast(mask[:, :: self.span] > 0, tf.float32)

    def _whole(self, frames):
        """Frames `(batch, time, ...)`, filled up with zeros to whole parts."""
        rest = -tf.shape(frames)[1] % self.span
        return tf.pad(frames, [[0, 0], [0, rest], *[[0, 0]] * (frames.shape.rank - 2)])

    def _in_c(self, sounding, mask, tonic):
        """Features of frames moved to the tonic C, where it is known, each part heard by itself; whole parts.

        Args:
            sounding: frames `(batch, time, voices)`.
            mask: float32 `(batch, time)`, 0 for those that are left out.
            tonic: int `(batch,)`.
        """
        tonic = tf.cast(tonic, tf.int32)
        shift = tf.where(tonic == UNKNOWN["tonic"], 0, semitones_to_c(tonic))
        moved = sounding._replace(events=transpose(sounding.events, shift[:, None, None]))
        place = tf.range(tf.shape(mask)[1]) % self.span
        return self._whole(self.frame.features(known_for(moved, tf.where(mask > 0.5, place + 1, 0))))
