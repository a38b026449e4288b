"""What all models share: the loss and its metrics, the likelihood of a piece, generation."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bachkeras import _presets as presets
from bachkeras.data.pipeline import UNKNOWN
from bachkeras.generation import constrained, loop
from bachkeras.layers.ending import Ending
from bachkeras.layers.frame.base import END, FREE, FrameDistribution, Sounding
from bachkeras.music.pianoroll import KEYS

_CONDITIONS = {name: tf.TensorSpec((None, None) if name == "position" else (None,), tf.int32) for name in UNKNOWN}

_WRITE_SIGNATURE = (
    tf.TensorSpec((None, None, None), tf.int32, "primer"),
    tf.TensorSpec((None, None, None), tf.bool, "primer_onsets"),
    tf.TensorSpec((None, None, None), tf.int32, "given"),
    tf.TensorSpec((None, END + 1), tf.bool, "allowed"),
    tf.TensorSpec((), tf.bool, "until_end"),
    tf.TensorSpec((), tf.float32, "temperature"),
    tf.TensorSpec((), tf.float32, "top_p"),
    tf.TensorSpec((), tf.int32, "seed"),
)
"""After the conditions. One graph for every count and length: tracing it takes longer than writing a piece."""

_COMPLETE_SIGNATURE = (
    *_WRITE_SIGNATURE[:3],
    tf.TensorSpec((None, None, None), tf.bool, "given_onsets"),
    _WRITE_SIGNATURE[3],
    tf.TensorSpec((), tf.bool, "ends"),
    tf.TensorSpec((), tf.int32, "particles"),
    *_WRITE_SIGNATURE[-3:],
)


class Sampling(NamedTuple):
    """How `generate` draws, see there; numbers or scalar tensors."""

    temperature: tf.Tensor | float
    top_p: tf.Tensor | float
    seed: tf.Tensor | int


class FrameModel(keras.Model):
    """A model of music as a sequence of frames.

    A subclass sets `frame` and answers `call(batch)`. One that writes frame by frame also has
    `start(conditions) -> state` and `step(state, features) -> (context, state)`.

    A latent model also has verbs, and `bachkeras.evaluation.collapse` computes what they allow. One with a Gaussian z:

        posterior(batch) -> (mean, log_variance), float32 (batch, latent) each: of q(z|x); the prior is N(0, 1)

    One with codes, each for a group of `group_size` frames (an int); the last group may be short, so there are
    ceil(time / group_size). `code_sizes`, a tuple, has the size of each codebook:

        codes(batch) -> int32 (batch, groups, codebooks): what groups of padded frames hold does not matter
        code_log_prob(batch) -> float32 (batch,): log probability in nats of the codes under the prior, without those of
            padded groups

    Both, where `latent` is a z `(batch, latent)` or codes, None: the posterior's mean or the batch's own codes:

        reconstruct(batch, latent=None) -> bool (batch, time, 88): the most probable notes of each frame after those it
            has written itself; of the batch the decoder knows the conditions only
        reconstruction_log_prob(batch, latent=None) -> float32 (batch,): log p(x|latent) in nats of what sounds; padded
            frames do not count, where a piece ends is no part of it

    Attributes:
        frame: the `FrameDistribution` that the model ends in.
        ending: the `Ending` that says after a frame whether it was the last, or None; with it comes a metric,
            `ending_nats`.
        likelihood: "exact", "bound" or None.
        window: frames that have a latent of their own; None: a piece is not cut.
        monitors: the stages of its training, by name, in order; each has the figure of an epoch that chooses its best
            one, the lower the better. A model of several has `stage`, the name of the one that `fit` goes on with.
        optimizers: the sections of a configuration that say how it is optimised, one for each argument of `compile`.
        judged_by_samples: whether samples choose its best epoch, see `evaluation.listening`, and not the validation
            split alone.
        more_conditions: by name, what `generate` is told besides `tonic`, `mode`, `timestep` and `position`.
        can_continue: whether `generate` takes a primer.
        can_complete: whether it has `complete`; it needs `select(state, rows) -> state` too, the state of some rows of
            the batch, int32 `(rows,)`.
    """

    frame: FrameDistribution
    ending: Ending | None = None
    likelihood: str | None = None
    window: int | None = None
    monitors: ClassVar[Mapping[str, str]] = {"model": "val_nats_per_frame"}
    optimizers: ClassVar[tuple[str, ...]] = ("training",)
    judged_by_samples = False
    more_conditions: ClassVar[Mapping[str, tf.TensorSpec]] = {}
    can_continue = False
    can_complete = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.nats_per_frame = keras.metrics.Mean(name="nats_per_frame")
        self.dropped_notes = keras.metrics.Sum(name="dropped_notes")
        told = _CONDITIONS | dict(self.more_conditions)
        self._write = tf.function(self._write_graph, autograph=False, input_signature=(told, *_WRITE_SIGNATURE))
        self._complete = tf.function(
            self._complete_graph, autograph=False, input_signature=(told, *_COMPLETE_SIGNATURE)
        )
        self._score = tf.function(self._score_graph, autograph=False, reduce_retracing=True)

    @classmethod
    def from_config(cls, config):
        """The model of a config, its frame distribution included."""
        return cls(**{**config, "frame": keras.saving.deserialize_keras_object(config["frame"])})

    @classmethod
    def from_preset(cls, name: str) -> FrameModel:
        """A released model, trained; `bachkeras.presets()` says which there are, and what each is.

        Args:
            name: its name.

        Raises:
            ValueError: if there is no such preset, or it is a model of another class.
        """
        from bachkeras.training import directory  # The door to saved models comes after the models.

        if name not in presets.names():
            raise ValueError(f"The presets are {', '.join(presets.names())}. Received: name={name!r}")
        model = directory.load(name)
        if not isinstance(model, cls):
            raise ValueError(f"That preset is of {type(model).__name__}, not {cls.__name__}. Received: name={name!r}")
        return model

    def get_build_config(self):
        """Nothing: no weight depends on the shape of an input."""
        return {"input_shape": None}

    def build_from_config(self, config):
        """Create the weights. Keras's own way swallows an error here and goes on with random weights."""
        self.build(config["input_shape"])

    def call(self, batch: Mapping[str, tf.Tensor], training=None) -> dict[str, tf.Tensor]:
        """Log probabilities in nats, float32 `(batch, time)` each; the loss is minus their sum.

        Args:
            batch: see `Windows.batch`; the frame before the first one comes first.
            training: whether to drop.

        Returns:
            `frame`: of what sounds in each frame. `ending`, where the model has one and the batch says where pieces
            end (`last`): of the piece going on after each frame, or not.
        """
        raise NotImplementedError

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Masked mean of `-log p` over the frames of a batch, in nats, plus the layers' penalties.

        The metric `nats_per_frame` has the frames alone, `ending_nats` the endings, a mean over the examples. The notes
        that do not fit the model's voices are counted in `dropped_notes`.
        """
        self.dropped_notes.update_state(self.frame.events(x)[2][:, 1:])
        mask = tf.cast(x["mask"], tf.float32)
        # Flat: Keras would average over time first, and so weigh a frame by the length of its batch.
        self.nats_per_frame.update_state(tf.reshape(-y_pred["frame"], [-1]), sample_weight=tf.reshape(mask, [-1]))
        if "ending" in y_pred:
            self.ending_nats.update_state(-tf.reduce_sum(y_pred["ending"] * mask, 1))
        nll = -tf.add_n([tf.cast(term, tf.float32) for term in y_pred.values()])
        loss = tf.reduce_sum(nll * mask) / tf.maximum(tf.reduce_sum(mask), 1.0)
        return tf.add_n([loss, *(tf.cast(penalty, tf.float32) for penalty in self.losses)])

    def log_prob(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Log probability of what sounds in each example, in nats, float32 `(batch,)`; padded frames do not count.

        Where a piece ends is no part of it.

        Raises:
            ValueError: if a frame has more notes than the model has voices: of such a frame there is no likelihood.
        """
        return self.log_probs(batch)["frame"]

    def log_probs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `call` returns, summed over the frames of each example: float32 `(batch,)` each; see `log_prob`."""
        self._check_fit("batch", batch)
        return self._score(dict(batch))

    def seen(self, state: dict, last: Sounding) -> Sounding:
        """What the model sees of the last frame before it writes the next one at `state`: all of it.

        A model that can `complete` sees all of it.
        """
        return last

    def ending_odds(self, context: tf.Tensor, now: Sounding, tonic: tf.Tensor, training=None) -> tf.Tensor:
        """Log odds that the frame `now`, written from `context`, is the last: float32 `(...)`; see `Ending`."""
        features, roll = self.frame.features(now), self.frame.pianoroll(now.events)
        return self.ending(context, features, roll, tonic, training=training)

    def generate(
        self,
        count: int,
        length: int,
        *,
        until_end: bool = False,
        primer: np.ndarray | Mapping[str, np.ndarray] | None = None,
        given: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
        conditions: Mapping[str, np.ndarray | int] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Write music.

        Args:
            count: pieces to write.
            length: frames of each; with `until_end` the most.
            until_end: stop a piece where the model ends it. Temperature and top_p do not act on that.
            primer: frames to continue, for all pieces or with a dimension `count` in front: `(time, 88)`, or a mapping
                with the arrays that the model reads, named as in a batch: `pianoroll` and `onsets` `(time, 88)`;
                labelled: `voices` and `voice_onsets` `(time, voices)`, such as the events and onsets written here.
            given: int32 `(length, voices)` or `(count, length, voices)`, events to keep, -1 = free.
            allowed: bool `(voices, 89)`, the notes that each voice may sing where it is free; a rest it always may.
                None: all.
            conditions: `tonic`, `mode`, `timestep` (its place in `TIMESTEPS`): a number, or one a piece; `position`:
                a number a frame, those of the primer first. What is left out is unknown.
            temperature: above 1 bolder, below 1 safer; acts on each head's softmax.
            top_p: draw from the most probable events that together reach this probability.
            seed: the same seed gives the same music; None: a new one.

        Returns:
            `pianoroll` bool `(count, length, 88)` and `events` int32 `(count, length, voices)`, without the primer;
            where they are modelled, `onsets` bool `(count, length, voices)`. With `until_end` the longest piece makes
            the length, `lengths` int32 `(count,)` are the pieces' own, and after its end a piece is silent.

        Raises:
            ValueError: if an argument is out of its range or has another shape, or the model knows no ending.
        """
        if until_end and not self.ending:
            raise ValueError("This model was not trained to end a piece. Received: until_end=True")
        seed = secrets.randbits(31) if seed is None else seed
        _check_numbers(count, length, temperature, top_p, seed)
        primer, primer_onsets = self._primer(primer, count)
        known = self._known(conditions, (primer, primer_onsets), length)
        shape = (count, length, self.frame.voices)
        given = _broadcast("given", FREE if given is None else given, shape)
        self.frame.check_given(given)
        events, onsets, lengths = self._write(
            self.told(known, (primer, primer_onsets), Sampling(temperature, top_p, seed)),
            primer,
            primer_onsets,
            given,
            self._allowed(allowed),
            tf.constant(until_end),
            tf.constant(temperature, tf.float32),
            tf.constant(top_p, tf.float32),
            tf.constant(seed, tf.int32),
        )
        music = self.music(events, onsets) | ({"lengths": lengths} if until_end else {})
        return {name: array.numpy() for name, array in music.items()}

    def complete(
        self,
        given: np.ndarray,
        *,
        given_onsets: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
        ends: bool = False,
        primer: np.ndarray | Mapping[str, np.ndarray] | None = None,
        conditions: Mapping[str, np.ndarray | int] | None = None,
        particles: int = 64,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Write what is free around what is given, before it and after it: see `constrained.complete`.

        `generate` keeps what is given too, but does not look ahead to it.

        Args:
            given: int32 `(count, length, voices)`, events to keep, -1 = free; any of them where voices are labelled,
                else a prefix of each frame's.
            given_onsets: bool `(count, length, voices)`, whether given events are struck, where that is modelled; None:
                where an event differs from the one before.
            allowed: see `generate`.
            ends: whether the piece ends with the last frame.
            primer: see `generate`.
            conditions: see `generate`.
            particles: frames are written so often side by side; the more, the further it looks ahead.
            temperature: see `generate`.
            top_p: see `generate`.
            seed: see `generate`.

        Returns:
            What `generate` returns, and `log_given` float32 `(count,)`: an estimate of log p(given, allowed) in nats,
            at temperature and top_p 1 that of an unbiased one of p. Where the piece ends counts, if the model knows.

        Raises:
            ValueError: if an argument is out of its range or has another shape, or the model cannot.
        """
        if not self.can_complete:
            raise ValueError(f"{type(self).__name__} cannot write around given notes.")
        given = np.asarray(given)
        if given.ndim != 3 or given.shape[-1] != self.frame.voices:
            raise ValueError(f"given is (count, length, {self.frame.voices}). Received: given.shape={given.shape}")
        count, length, _ = given.shape
        seed = secrets.randbits(31) if seed is None else seed
        _check_numbers(count, length, temperature, top_p, seed)
        if particles < 1:
            raise ValueError(f"There is at least one particle. Received: particles={particles}")
        self.frame.check_given(given)
        primer, primer_onsets = self._primer(primer, count)
        known = self._known(conditions, (primer, primer_onsets), length)
        onsets = np.zeros(given.shape, bool) if given_onsets is None else given_onsets
        events, onsets, log_given = self._complete(
            self.told(known, (primer, primer_onsets), Sampling(temperature, top_p, seed)),
            primer,
            primer_onsets,
            tf.constant(given, tf.int32),
            tf.cast(_broadcast("given_onsets", onsets, given.shape), tf.bool),
            self._allowed(allowed),
            tf.constant(ends),
            tf.constant(particles, tf.int32),
            tf.constant(temperature, tf.float32),
            tf.constant(top_p, tf.float32),
            tf.constant(seed, tf.int32),
        )
        music = self.music(events, onsets) | {"log_given": log_given}
        return {name: array.numpy() for name, array in music.items()}

    def _known(self, conditions, primer, length) -> dict[str, tf.Tensor]:
        """What the caller tells of pieces that continue `primer`, events and onsets, by `length` frames."""
        count, heard = primer[0].shape[:2]
        return _conditions(conditions, count, heard + length)

    def told(
        self, known: Mapping[str, tf.Tensor], primer: tuple[tf.Tensor, tf.Tensor], sampling: Sampling
    ) -> dict[str, tf.Tensor]:
        """What `start` is told of pieces: what is known of them, and what has to be drawn where nobody told it.

        Graph code, for any number of pieces and frames.

        Args:
            known: the conditions, of the primer's frames and the new ones; and a latent, where it is given.
            primer: events, int32, and onsets, bool, `(count, time, voices)`; may have no frames.
            sampling: see there.
        """
        return dict(known)

    def _allowed(self, allowed) -> tf.Tensor:
        """What free events may be, bool `(voices, 89)`."""
        everything = True if allowed is None else allowed
        return tf.cast(_broadcast("allowed", everything, (self.frame.voices, END + 1)), tf.bool)

    def music(self, events: tf.Tensor, onsets: tf.Tensor) -> dict[str, tf.Tensor]:
        """Events and onsets `(count, time, voices)`, as `generate` returns music. Graph code."""
        music = {"pianoroll": self.frame.pianoroll(events) > 0.5, "events": events}
        return music | ({"onsets": onsets} if self.frame.onsets else {})

    def _primer(self, primer, count) -> tuple[tf.Tensor, tf.Tensor]:
        """The primer's events and onsets, int32 and bool `(count, time, voices)`."""
        self.ensure_built()
        if primer is None:
            empty = tf.zeros((count, 0, self.frame.voices), tf.int32)
            return empty, tf.cast(empty, tf.bool)
        if not self.can_continue:
            raise ValueError(f"{type(self).__name__} cannot continue a piece: leave the primer out.")
        arrays = dict(primer) if isinstance(primer, Mapping) else {"pianoroll": np.asarray(primer) > 0.5}
        widths = {"pianoroll": KEYS, "onsets": KEYS, "voices": self.frame.voices, "voice_onsets": self.frame.voices}
        time = {np.shape(array)[-2:-1] for array in arrays.values()}
        for name, array in arrays.items():
            array = np.asarray(array)
            if name not in widths or array.ndim not in (2, 3) or array.shape[-1] != widths[name] or len(time) > 1:
                raise ValueError(
                    f"A primer is (time, {KEYS}) or (count, time, {KEYS}), or a mapping of {', '.join(widths)}, of "
                    f"one length. Received: {name}.shape={array.shape}"
                )
            arrays[name] = _broadcast("primer", array, (count, *array.shape[-2:]))
        self._check_fit("primer", arrays)
        events, onsets, _ = self.frame.events(arrays)
        if tf.reduce_any((events < 0) | (events > END)):
            raise ValueError(f"A voice holds 0 to {END}. Received: primer with others")
        return events, onsets

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """Write a SavedModel that needs TensorFlow alone; docs/serving.md has its endpoints, their inputs and outputs.

        `generate`, and as far as the model can: `harmonize`, `log_prob`, `posterior`, `codes`, `decode`; `metadata`
        says what the numbers mean. The same seed gives the music that this model writes with it.

        Args:
            filepath: a new folder.
            format: "tf_saved_model", there is no other.
            verbose: changes nothing.
            input_signature: None, the endpoints have their own.
            **kwargs: Keras has others, for other formats.

        Raises:
            ValueError: if something is at `filepath` already, or an argument asks for something else.
            OSError: if the folder cannot be written.
        """
        from bachkeras.models import export  # It knows the models' endpoints, and so comes after them.

        if format != "tf_saved_model" or input_signature is not None or kwargs:
            raise ValueError(
                "These models are exported as tf_saved_model, with inputs of their own. "
                f"Received: format={format!r}, input_signature={input_signature}, {kwargs}"
            )
        export.save(self, Path(filepath))

    def build_optimizers(self) -> None:
        """Create the variables of a compiled model's optimizers, before a step needs them."""
        self.optimizer.build(self.trainable_variables)

    def ensure_built(self) -> None:
        """Create the weights where nothing has needed them yet."""
        if not self.built:
            self.build(None)

    def _check_fit(self, name, music):
        self.ensure_built()
        dropped = tf.reduce_sum(self.frame.events(music)[2])
        if not tf.is_symbolic_tensor(dropped) and dropped:
            raise ValueError(
                f"{int(dropped)} notes do not fit the model's {self.frame.voices} voices: give it a frame distribution "
                f"with more. Received: {name}"
            )

    def _score_graph(self, batch):
        return {name: tf.reduce_sum(term * batch["mask"], 1) for name, term in self(batch, training=False).items()}

    def _write_graph(self, conditions, primer, primer_onsets, *others):
        return loop.write(self, conditions, (primer, primer_onsets), *others)

    def _complete_graph(self, conditions, primer, primer_onsets, *others):
        return constrained.complete(self, conditions, (primer, primer_onsets), *others)


def _check_numbers(count: int, length: int, temperature: float, top_p: float, seed: int) -> None:
    """Refuse arguments of `generate` that are out of their range."""
    if count < 1 or length < 1:
        raise ValueError(f"count and length are at least 1. Received: count={count}, length={length}")
    if not 0 < temperature < math.inf or not 0 < top_p <= 1:
        raise ValueError(f"temperature is above 0, top_p in (0, 1]. Received: temperature={temperature}, top_p={top_p}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"A seed is 0 to 2^31 - 1. Received: seed={seed}")


def _conditions(conditions: Mapping[str, np.ndarray | int] | None, count: int, frames: int) -> dict[str, tf.Tensor]:
    """The conditions of `generate`, each of its own shape; those left out are unknown."""
    conditions = dict(conditions or {})
    for name in conditions.keys() - UNKNOWN.keys():
        raise ValueError(f"The conditions are {', '.join(UNKNOWN)}. Received: {name}={conditions[name]}")
    shapes = dict.fromkeys(UNKNOWN, (count,)) | {"position": (count, frames)}
    return {name: _broadcast(name, conditions.get(name, UNKNOWN[name]), shape) for name, shape in shapes.items()}


def _broadcast(name: str, value, shape: tuple[int, ...]) -> tf.Tensor:
    """An argument of `generate` as int32 of the shape that it must have."""
    try:
        return tf.constant(np.broadcast_to(np.asarray(value), shape), tf.int32)
    except ValueError:
        raise ValueError(f"{name} must have shape {shape}. Received: shape={np.shape(value)}") from None
