"""The autoregressive LSTM with attention."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.layers import ending as endings
from bachkeras.layers.conditions import Conditions
from bachkeras.layers.core import RecurrentCore
from bachkeras.layers.frame import ChainedVoices, FrameDistribution
from bachkeras.layers.frame.base import between
from bachkeras.layers.frame.tonality import Tonality
from bachkeras.models.base import FrameModel


@keras.saving.register_keras_serializable(package="bachkeras")
class LSTMAttention(FrameModel):
    """Residual LSTMs and windowed attention, ending in a distribution over the frame.

        log p(x) = sum_t log p(x_t | x_{<t}, conditions_{<=t})

    exactly: the likelihood is no bound. By default the frame is written by a head per voice (`ChainedVoices`).

    Args:
        hidden: width of the LSTMs.
        layers: number of LSTMs.
        attention_heads: heads of the attention; 0 leaves it out.
        attention_window: frames that the attention sees, in training, scoring and generation alike.
        dropout: share dropped between layers and before the heads.
        frame_dropout: share of the past frame's features that training drops, so that the model does not lean on any.
        condition_dropout: share of the examples for which training makes a condition unknown, see `Conditions`.
        l2: L2 penalty of the core's kernels.
        ending: whether the model also says after each frame whether the piece is over (`Ending`).
        frame: the frame distribution; None: `ChainedVoices()`, four voices.
    """

    likelihood = "exact"
    can_continue = True
    can_complete = True

    def __init__(
        self,
        hidden: int = 256,
        layers: int = 2,
        attention_heads: int = 4,
        attention_window: int = 96,
        dropout: float = 0.4,
        frame_dropout: float = 0.0,
        condition_dropout: float = 0.1,
        l2: float = 0.0,
        ending: bool = False,
        frame: FrameDistribution | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy  # A reload has no global policy to inherit it from.
        self.conditions = Conditions(condition_dropout, dtype=policy, name="conditions")
        self.core = RecurrentCore(
            hidden, layers, attention_heads, attention_window, dropout, l2, dtype=policy, name="core"
        )
        self.frame = ChainedVoices(dropout=dropout, dtype=policy, name="frame") if frame is None else frame
        self.frame_dropout = frame_dropout
        self.feature_dropout = keras.layers.Dropout(frame_dropout, dtype=policy)
        if ending:
            self.ending = endings.Ending(dropout=dropout, dtype=policy, name="ending")
            self.ending_nats = keras.metrics.Mean(name="ending_nats")

    def get_config(self):
        """Constructor arguments."""
        names = ("hidden", "layers", "attention_heads", "attention_window", "dropout", "l2")
        return {
            **super().get_config(),
            **{name: getattr(self.core, name) for name in names},
            "frame_dropout": self.frame_dropout,
            "condition_dropout": self.conditions.drop,
            "ending": self.ending is not None,
            "frame": keras.saving.serialize_keras_object(self.frame),
        }

    def build(self, input_shape=None):
        """Create every weight; they depend on no input's shape."""
        self.core.build((None, None, self.frame.feature_size + self.conditions.size))
        if not self.frame.built:  # Keras restores a saved frame with its weights already made.
            self.frame.build((None, None, self.core.hidden))
        if self.ending:
            self.ending.build((None, None, self.core.hidden), (None, None, self.frame.feature_size))
        self.built = True

    def call(self, batch: Mapping[str, tf.Tensor], training=None) -> dict[str, tf.Tensor]:
        """Log probabilities of each frame, see `FrameModel.call`."""
        known = self.conditions.forget(batch) if training else batch
        context, before, now = self._contexts(batch, known, training)
        key = Tonality.of(known, tf.shape(context)[1])
        log_p = self.frame.log_prob(context, now.events, now.onsets, previous=before.events, key=key, training=training)
        terms = {"frame": tf.reduce_sum(log_p, axis=-1)}
        if self.ending and "last" in batch:
            terms["ending"] = endings.log_prob(self.ending_odds(context, now, key.tonic, training), batch["last"])
        return terms

    def voice_log_prob(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Log probability of each event given the frames before and the events above it, `(batch, time, voices)`."""
        context, before, now = self._contexts(batch, batch, training=False)
        key = Tonality.of(batch, tf.shape(context)[1])
        return self.frame.log_prob(context, now.events, now.onsets, previous=before.events, key=key)

    def attention(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Attention weights `(batch, heads, time, time)`: row = the frame that looks, column = the frame seen."""
        if not self.core.attention_heads:
            raise ValueError("This model has no attention to look at. Received: attention_heads=0")
        self.ensure_built()
        before = between(self.frame.read(batch), None, -1)
        return self.core.attention.attention_weights(self.core.recurrent(self._inputs(batch, before, training=False)))

    def start(self, conditions: Mapping[str, tf.Tensor]) -> dict:
        """The state before the first frame.

        Args:
            conditions: `tonic`, `mode`, `timestep` `(batch,)`, and `position` `(batch, time)` of all frames to come.
        """
        known = {name: conditions[name] for name in UNKNOWN}
        return {
            "core": self.core.initial_state(tf.shape(known["tonic"])[0]),
            "known": known,
            "time": tf.zeros((), tf.int32),
        }

    def step(self, state: dict, features: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """Take in the last frame's features `(batch, feature_size)`; what is known before the next one is written.

        Returns:
            `(context, state)`, context `(batch, hidden)`.
        """
        time, known = state["time"], state["known"]
        signal = self.conditions({**known, "position": known["position"][:, time, None]})[:, 0]
        inputs = tf.concat([tf.cast(features, self.compute_dtype), signal], -1)
        context, core = self.core.step(inputs, state["core"])
        return context, {"core": core, "known": known, "time": time + 1}

    def select(self, state: dict, rows: tf.Tensor) -> dict:
        """The state of some rows of the batch, int32 `(rows,)`, each as often as it is named."""
        known = {name: tf.gather(x, rows) for name, x in state["known"].items()}
        return {**state, "core": self.core.select(state["core"], rows), "known": known}

    def _contexts(self, batch, known, training):
        """The context of each frame of a batch, the frame before it and the frame."""
        sounding = self.frame.read(batch)
        before, now = between(sounding, None, -1), between(sounding, 1, None)
        return self.core(self._inputs(known, before, training), training=training), before, now

    def _inputs(self, known, before, training):
        """What the core reads: features of the frame before, conditions of the frame to come."""
        features = tf.cast(self.frame.features(before), self.compute_dtype)
        features = self.feature_dropout(features, training=training)
        return tf.concat([features, self.conditions(known)], -1)
