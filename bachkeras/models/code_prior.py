"""A prior over the codes of a VQ-VAE: an LSTM that writes groups of codes."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.generation import loop
from bachkeras.layers.conditions import Conditions
from bachkeras.layers.core import RecurrentCore
from bachkeras.layers.frame.base import END, Sounding
from bachkeras.layers.frame.codes import ChainedCodes


@keras.saving.register_keras_serializable(package="bachkeras")
class CodePrior(keras.Model):
    """LSTMs over the codes of groups, `RecurrentCore` without attention, ending in `ChainedCodes`.

        log p(codes) = sum_g sum_k log p(code_{g,k} | codes_{<g}, code_{g,<k}, conditions)

    Args:
        codes: codes of each codebook.
        codebooks: codes of a group.
        size: numbers of a code's vector, see `ChainedCodes.vectors`.
        hidden: width of every layer.
        layers: number of LSTMs.
        dropout: share dropped of the codes read, between layers and in the heads.
        condition_dropout: share of the examples for which training makes a condition unknown, see `Conditions`.
        l2: L2 penalty of the kernels.

    Attributes:
        frame: the `ChainedCodes`.
    """

    ending = None

    def __init__(
        self,
        codes: int = 512,
        codebooks: int = 4,
        size: int = 32,
        hidden: int = 256,
        layers: int = 2,
        dropout: float = 0.4,
        condition_dropout: float = 0.1,
        l2: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.conditions = Conditions(condition_dropout, dtype=policy, name="conditions")
        self.core = RecurrentCore(hidden, layers, 0, dropout=dropout, l2=l2, dtype=policy, name="core")
        self.frame = ChainedCodes(codes, codebooks, size, hidden, dropout, dtype=policy, name="frame")
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        told = {name: tf.TensorSpec((None, None) if name == "position" else (None,), tf.int32) for name in UNKNOWN}
        self._write = tf.function(
            self._write_graph,
            autograph=False,
            input_signature=(
                told,
                tf.TensorSpec((None, None, codebooks), tf.int32),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((), tf.int32),
            ),
        )

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            **{name: getattr(self.frame, name) for name in ("codes", "codebooks", "size")},
            **{name: getattr(self.core, name) for name in ("hidden", "layers", "dropout", "l2")},
            "condition_dropout": self.conditions.drop,
        }

    def get_build_config(self):
        """Nothing: no weight depends on the shape of an input."""
        return {"input_shape": None}

    def build_from_config(self, config):
        """Create the weights. Keras's own way swallows an error here and goes on with random weights."""
        self.build(config["input_shape"])

    def build(self, input_shape=None):
        """Create every weight; they depend on no input's shape."""
        self.core.build((None, None, self.frame.feature_size + self.conditions.size))
        self.frame.build((None, None, self.core.hidden))
        self.built = True

    def call(self, batch: Mapping[str, tf.Tensor], training=None) -> tf.Tensor:
        """Log probability of each group's codes in nats, float32 `(batch, groups)`.

        Args:
            batch: `codes` int32 `(batch, groups, codebooks)`; the conditions: `tonic`, `mode`, `timestep` int
                `(batch,)`, `position` int `(batch, groups)`, of each group's first frame.
            training: whether to drop.
        """
        known = self.conditions.forget(batch) if training else batch
        codes = batch["codes"]
        silence = self.frame.silence(tf.shape(codes)[0]).events
        before = self.frame.follow(None, tf.concat([silence[:, None], codes[:, :-1]], 1), None)
        features = self.drop(tf.cast(self.frame.features(before), self.compute_dtype), training=training)
        context = self.core(tf.concat([features, self.conditions(known)], -1), training=training)
        return tf.reduce_sum(self.frame.log_prob(context, codes, training=training), -1)

    def write(
        self,
        conditions: Mapping[str, tf.Tensor],
        given: tf.Tensor,
        temperature: tf.Tensor | float = 1.0,
        top_p: tf.Tensor | float = 1.0,
        seed: tf.Tensor | int = 0,
    ) -> tf.Tensor:
        """Write codes, int32 `(batch, groups, codebooks)`.

        Args:
            conditions: see `call`.
            given: int32 `(batch, groups, codebooks)`, codes to keep, -1 = free.
            temperature: divides the logits of each head.
            top_p: each head draws from its most probable codes that together reach this probability.
            seed: the same seed writes the same codes.
        """
        told = {name: tf.cast(conditions[name], tf.int32) for name in UNKNOWN}
        numbers = (tf.cast(x, tf.float32) for x in (temperature, top_p))
        return self._write(told, tf.cast(given, tf.int32), *numbers, tf.cast(seed, tf.int32))

    def _write_graph(self, conditions, given, temperature, top_p, seed):
        empty = given[:, :0]
        allowed = tf.ones((self.frame.voices, END + 1), tf.bool)
        primer = (empty, tf.cast(empty, tf.bool))
        return loop.write(self, conditions, primer, given, allowed, tf.constant(False), temperature, top_p, seed)[0]

    def start(self, conditions: Mapping[str, tf.Tensor]) -> dict:
        """The state before the first group; see `call`."""
        known = {name: conditions[name] for name in UNKNOWN}
        return {
            "core": self.core.initial_state(tf.shape(known["tonic"])[0]),
            "conditions": self.conditions(known),
            "time": tf.zeros((), tf.int32),
        }

    def step(self, state: dict, features: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """Take in the last group's features; what is known before the next one: `(context, state)`."""
        inputs = tf.concat([tf.cast(features, self.compute_dtype), state["conditions"][:, state["time"]]], -1)
        context, core = self.core.step(inputs, state["core"])
        return context, {**state, "core": core, "time": state["time"] + 1}

    def seen(self, state: dict, last: Sounding) -> Sounding:
        """See `FrameModel.seen`: all of it."""
        return last
