"""What every distribution over one frame must answer; a model knows nothing of keys, voices or labels but this."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from bachkeras.layers.frame.tonality import Tonality
from bachkeras.music.pianoroll import KEYS

END = KEYS
"""The event after the last note of an unlabelled frame; in a labelled voice, a rest."""

FREE = -1
"""In `given`: this event is not given, draw it. Of the past: it is not known; nothing is a feature of it."""

FORBIDDEN = -1e9
"""Logit of what cannot be emitted; finite, so that no gradient is NaN."""


class Sounding(NamedTuple):
    """What sounds in a frame, and since when: all that a distribution asks of the past.

    Attributes:
        events: int32 `(..., voices)`.
        onsets: bool `(..., voices)`, true where a note begins.
        held: int32 `(..., voices)`, frames that each event has lasted, 1 where it begins.
    """

    events: tf.Tensor
    onsets: tf.Tensor
    held: tf.Tensor


class Draw(NamedTuple):
    """A sampled frame.

    Attributes:
        events: int32 `(..., voices)`.
        onsets: bool `(..., voices)`, or None where onsets are not modelled.
        log_q: float32 `(...)`, log probability with which the free events, and the onsets not given, were drawn
            (temperature and top_p applied).
        log_given: float32 `(...)`, log probability of what was given under the model itself (temperature 1).
        log_prefix: float32 `(...)`, its part that does not depend on what was drawn: that of the given events before
            the first free one. Strokes that are not given are drawn: then it depends on them.
    """

    events: tf.Tensor
    onsets: tf.Tensor | None
    log_q: tf.Tensor
    log_given: tf.Tensor
    log_prefix: tf.Tensor


class FrameDistribution(keras.layers.Layer, abc.ABC):
    """A distribution over what sounds in one frame, given a context vector and the frame before.

    Where the frame before is not known, `previous` is left out.

    Attributes:
        voices: number of events in a frame.
        feature_size: last dimension of what `features` returns.
        labelled: whether a column of events is a voice of its own, and not a rank among the notes of a frame.
        onsets: whether a repeated note is told from a held one.
        held: the longest length of an event that `features` tells apart, in frames; 0: none.
        lines: rows of `notes` and `relaxed`: 1 where notes have no order.
    """

    voices: int
    lines: int
    feature_size: int
    labelled = False
    onsets = False
    held = 0

    @property
    def remembers(self) -> bool:
        """Whether a frame has to be followed through time to be understood."""
        return self.onsets or self.held > 0

    @abc.abstractmethod
    def events(self, music: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Turn frames into events.

        Args:
            music: a batch, or any part of one: `pianoroll` `(..., 88)`, multi-hot of any dtype, with `onsets`
                `(..., 88)`; labelled: `voices` `(..., voices)` with `voice_onsets`. The onsets may be missing.

        Returns:
            `(events, onsets, dropped)`: int32 and bool `(..., voices)`, and int32 `(...)`, the notes of the pianoroll
            that did not fit. Without onsets in `music`, or in this distribution, all are false.

        Raises:
            ValueError: if `music` has not what it takes.
        """

    @abc.abstractmethod
    def pianoroll(self, events: tf.Tensor) -> tf.Tensor:
        """Turn events `(..., voices)` into frames, float32 `(..., 88)`: the inverse of `events`."""

    @abc.abstractmethod
    def notes(self, events: tf.Tensor) -> tf.Tensor:
        """Turn events `(..., voices)` into the keys of each line, float32 `(..., lines, 88)`, none for `END`."""

    @abc.abstractmethod
    def features(self, sounding: Sounding) -> tf.Tensor:
        """What a model reads of a past frame: float32 `(..., feature_size)`."""

    def read(self, music: Mapping[str, tf.Tensor]) -> Sounding:
        """The frames of `music` `(batch, time, ...)`, see `events`, followed through time; see `trace`."""
        return self.trace(*self.events(music)[:2])

    def trace(self, events: tf.Tensor, onsets: tf.Tensor) -> Sounding:
        """Frames `(batch, time, voices)` followed through time.

        How long the first frame has lasted is not known: it counts as new.
        """
        first = Sounding(events[:, 0], onsets[:, 0], tf.ones_like(events[:, 0]))
        if not self.remembers:
            return Sounding(events, onsets, tf.ones_like(events))
        later = tuple(tf.transpose(x[:, 1:], (1, 0, 2)) for x in (events, onsets))
        later = tf.scan(lambda last, now: self.follow(last, *now), later, first)
        return Sounding(
            *(tf.concat([x[:, None], tf.transpose(y, (1, 0, 2))], 1) for x, y in zip(first, later, strict=True))
        )

    def silence(self, batch: tf.Tensor | int) -> Sounding:
        """The frame before a piece."""
        events = tf.fill([batch, self.voices], END)
        return Sounding(events, tf.zeros_like(events, tf.bool), tf.ones_like(events))

    def follow(self, last: Sounding, events: tf.Tensor, onsets: tf.Tensor | None) -> Sounding:
        """The frame after `last`. A note that did not sound there begins, whatever `onsets` says."""
        if onsets is None:
            onsets = tf.zeros_like(events, tf.bool)
        if not self.remembers:
            return Sounding(events, onsets, tf.ones_like(events))
        same = events[..., :, None] == last.events[..., None, :]
        if self.labelled:
            same &= tf.eye(self.voices, dtype=tf.bool)
        held = tf.reduce_max(tf.where(same, last.held[..., None, :], 0), -1)
        begins = (held == 0) | onsets
        return Sounding(events, begins & (events != END), tf.where(begins, 1, held + 1))

    @abc.abstractmethod
    def log_prob(
        self,
        context: tf.Tensor,
        events: tf.Tensor,
        onsets: tf.Tensor | None = None,
        *,
        previous: tf.Tensor | None = None,
        key: Tonality | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Log probability of each event, float32 `(..., voices)`; its sum is the frame's.

        Args:
            context: `(..., C)`, what the model knows before it writes the frame.
            events: int32 `(..., voices)`.
            onsets: bool `(..., voices)` where onsets are modelled.
            previous: int32 `(..., voices)`, the events of the frame before, `FREE` (-1) where they are not known.
            key: of the context's leading shape; None: not known.
            training: whether to drop.
        """

    @abc.abstractmethod
    def sample(
        self,
        context: tf.Tensor,
        *,
        previous: tf.Tensor | None = None,
        key: Tonality | None = None,
        given: tf.Tensor | None = None,
        given_onsets: tf.Tensor | None = None,
        allowed: tf.Tensor | None = None,
        temperature: tf.Tensor | float = 1.0,
        top_p: tf.Tensor | float = 1.0,
        seed: tf.Tensor,
    ) -> Draw:
        """Draw a frame.

        Args:
            context: `(..., C)`.
            previous: see `log_prob`.
            key: see `log_prob`.
            given: int32 `(..., voices)`, events to keep, `FREE` (-1) = draw; any of them when labelled, else a prefix.
            given_onsets: bool `(..., voices)`, whether the given events are struck, where that is modelled; None: draw
                it. A given event that did not sound in the frame before is struck, whatever it says.
            allowed: bool `(voices, 89)`, what each free event may be; `END` always may. None: anything. It counts as
                given that an event is one of these.
            temperature: divides the logits of each head; above 0.
            top_p: each head draws from its most probable events that together reach this probability, in (0, 1].
            seed: int32 `(2,)`, as `tf.random.stateless_*` take it. Same seed, same frame.

        Raises:
            ValueError: as `check_given` does.
        """

    def check_given(self, given: tf.Tensor) -> None:
        """Refuse a `given` that no frame of this distribution can keep.

        Args:
            given: int32 `(..., voices)`; a symbolic tensor passes unchecked.

        Raises:
            ValueError: if a value is no event and not `FREE`; unlabelled: if the events do not descend, or are no
                prefix.
        """
        if tf.is_symbolic_tensor(given):
            return
        given = tf.convert_to_tensor(given)
        above, below = given[..., :-1], given[..., 1:]
        if bool(tf.reduce_any((given < FREE) | (given > END))):
            problem = f"Given events are 0 to {END}, or {FREE} for a free one."
        elif self.labelled:
            return
        elif bool(tf.reduce_any((above == FREE) & (below != FREE))):
            problem = (
                "Without labelled voices only a prefix of the events, from the highest note down, can be given: "
                f"put {FREE} at the end alone."
            )
        elif bool(tf.reduce_any((below != FREE) & ~((below < above) & (above != END)) & (below != END))):
            problem = f"Given notes descend, and nothing but {END} follows {END}."
        else:
            return
        raise ValueError(f"{problem} Received: given={given.numpy().tolist()}"[:500])

    @abc.abstractmethod
    def relaxed(
        self,
        context: tf.Tensor,
        *,
        previous: tf.Tensor | None = None,
        key: Tonality | None = None,
        given: tf.Tensor | None = None,
        temperature: tf.Tensor | float = 1.0,
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """A sampled frame that gradients pass through: its `notes`, float32 `(..., lines, 88)`.

        Straight-through Gumbel-softmax (Jang, Gu and Poole 2017, section 2.2): forward the drawn 0 or 1, backward the
        gradient of the softmax at `temperature`.

        Args:
            context: `(..., C)`.
            previous: see `log_prob`.
            key: see `log_prob`.
            given: int32 `(..., voices)`, the events of a frame that was drawn from `context` already; None: draw it.
                Then the noise is drawn from what it may have been.
            temperature: of the gradient; above 0.
            seed: see `sample`.
        """


def read_notes(music: Mapping[str, tf.Tensor], voices: int) -> tuple[tf.Tensor, tf.Tensor]:
    """`top_notes` of the frames of `music`, see `FrameDistribution.events`."""
    if "pianoroll" not in music:
        raise ValueError("Frames are read from `pianoroll`. Received: " + ", ".join(music))
    return top_notes(music["pianoroll"], voices)


def top_notes(pianoroll: tf.Tensor, voices: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The highest `voices` notes of each frame, from the top, then `END`; and how many notes were left out.

    Args:
        pianoroll: `(..., 88)`, multi-hot.
        voices: events to return.

    Returns:
        int32 `(..., voices)` and int32 `(...)`.
    """
    sounding = tf.cast(pianoroll, tf.float32) > 0.5
    ranked = tf.where(sounding, tf.range(1, KEYS + 1), 0)
    highest = tf.math.top_k(ranked, k=voices).values
    dropped = tf.reduce_sum(tf.cast(sounding, tf.int32), -1) - tf.reduce_sum(tf.cast(highest > 0, tf.int32), -1)
    return tf.where(highest > 0, highest - 1, END), dropped


def transpose(events: tf.Tensor, semitones: tf.Tensor) -> tf.Tensor:
    """Events `(..., voices)` moved by `semitones`, int32 of a shape that broadcasts; what leaves the keyboard ends."""
    moved = events + semitones
    return tf.where((events < END) & (moved >= 0) & (moved < END), moved, END)


def between(sounding: Sounding, start: int | None, stop: int | None) -> Sounding:
    """Some of the frames of `(batch, time, voices)`, as a slice of them."""
    return Sounding(*(x[:, start:stop] for x in sounding))


def known_for(sounding: Sounding, frames: tf.Tensor) -> Sounding:
    """What is known of frames by one that knows so many, int32 `(...)`, this one the last; of none: no feature."""
    frames = frames[..., None]
    events, onsets, held = sounding
    return Sounding(tf.where(frames > 0, events, FREE), onsets & (frames > 0), tf.minimum(held, frames))


def multi_hot(events: tf.Tensor) -> tf.Tensor:
    """Events `(..., voices)` as frames, float32 `(..., 88)`; `END` is no key."""
    return tf.reduce_max(tf.one_hot(events, KEYS), axis=-2)


def linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`x` times a kernel, in the precision of `x`."""
    return tf.tensordot(x, tf.cast(kernel, x.dtype), 1)  # One product of matrices, which matmul's gradient is not.


def at(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """`values[..., index]`, one value an element of the leading dimensions."""
    return tf.gather(values, index, axis=-1, batch_dims=index.shape.rank)


def gumbel(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard Gumbel noise, float32, of a stateless `seed`."""
    tiny = 1e-20
    uniform = tf.random.stateless_uniform(shape, seed, minval=tiny, maxval=1.0)
    return -tf.math.log(-tf.math.log(uniform) + tiny)


def gumbel_before(logits: tf.Tensor, chosen: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Gumbel noise of a draw that is known: with it `chosen` has the largest of `logits + noise`.

    The largest sum is a Gumbel variable around the logits' log-sum-exp, the others are Gumbel variables cut off there
    (Maddison, Tarlow and Minka 2014, section 3; so used by Paulus, Maddison and Krause 2021).

    Args:
        logits: float32 `(..., classes)`.
        chosen: int32 `(...)`.
        noise: standard Gumbel noise, `(..., classes)`.
    """
    largest = (tf.reduce_logsumexp(logits, -1) + at(noise, chosen))[..., None]
    # -log(exp(-largest) + exp(-(logits + noise)))
    others = largest - tf.nn.softplus(largest - logits - noise)
    is_chosen = tf.range(logits.shape[-1]) == chosen[..., None]
    return tf.where(is_chosen, largest, others) - logits


def temper(logits: tf.Tensor, temperature: tf.Tensor | float, top_p: tf.Tensor | float) -> tf.Tensor:
    """Log probabilities after temperature and nucleus (Holtzman et al. 2020) filtering, float32 `(..., classes)`."""
    forbidden = logits <= FORBIDDEN / 2
    log_p = tf.nn.log_softmax(tf.where(forbidden, FORBIDDEN, logits / temperature))
    if isinstance(top_p, float) and top_p >= 1.0:
        return log_p  # No sorting: a GAN draws each frame that it learns from.
    descending = tf.sort(log_p, direction="DESCENDING")
    before = tf.cumsum(tf.exp(descending), axis=-1, exclusive=True)
    inside = (before < top_p) | (tf.convert_to_tensor(top_p) >= 1.0)
    least = tf.reduce_min(tf.where(inside, descending, 0.0), axis=-1, keepdims=True)
    return tf.nn.log_softmax(tf.where((log_p >= least) & ~forbidden, log_p, FORBIDDEN))
