"""An endpoint of an exported model: a TensorFlow function of named tensors, of which some may be left out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Tensors = dict[str, tf.Tensor]


class Input(NamedTuple):
    """An input of an endpoint.

    Attributes:
        spec: its name, dtype and shape.
        default: its value where it is left out; None: it may not be.
    """

    spec: tf.TensorSpec
    default: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A function of named tensors.

    Attributes:
        inputs: those without a default first.
        body: graph code, from the inputs by their names to the outputs.
    """

    inputs: Sequence[Input]
    body: Callable[[Tensors], Tensors]

    def function(self) -> tf.types.experimental.PolymorphicFunction:
        """As TensorFlow saves it: a loaded function takes the inputs by name; signatures have the defaults, too."""
        parameters = [
            inspect.Parameter(
                spec.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if default is None else default,
            )
            for spec, default in self.inputs
        ]
        signature = inspect.Signature(parameters)

        def endpoint(*values, **named):
            return self.body(dict(signature.bind(*values, **named).arguments))

        endpoint.__signature__ = signature  # What TensorFlow takes parameters and defaults from.
        return tf.function(endpoint, autograph=False, input_signature=[spec for spec, _ in self.inputs])


def required(name: str, dtype: tf.DType, *shape: int | None) -> Input:
    """An input that has to be there."""
    return Input(tf.TensorSpec(shape, dtype, name))


def optional(name: str, dtype: tf.DType, default: Any, *shape: int | None) -> Input:
    """An input that may be left out."""
    return Input(tf.TensorSpec(shape, dtype, name), tf.cast(default, dtype))


def check(holds: tf.Tensor, rule: str, received: tf.Tensor) -> tf.Operation:
    """Refuse a call in which something does not hold; for `tf.control_dependencies`."""
    return tf.debugging.Assert(holds, [f"{rule}. Received:", received])
