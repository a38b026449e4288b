"""What a group of frames says to a vector quantizer."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="bachkeras")
class GroupEncoder(keras.layers.Layer):
    """Vectors of groups, one for each codebook.

    The frames of a group are shared out to the codebooks, in order; each codebook hears its own share alone:

        z_c = norm(V_c gelu(U_c gelu(W frames_c)))

    `norm` is a batch normalisation without scale and offset, so that codes and vectors stay on one scale while the
    encoder learns, and no direction is left unused (Lancucki et al. 2020). Nothing is dropped: where a group does not
    get the same codes whenever it is heard, codes are spent on the noise.

    Args:
        codebooks: codebooks, each with as many frames.
        size: numbers of a vector.
        hidden: width of the two layers.
    """

    def __init__(self, codebooks: int, size: int, hidden: int = 256, **kwargs):
        super().__init__(**kwargs)
        self.codebooks = codebooks
        self.size = size
        self.hidden = hidden
        policy = self.dtype_policy
        self.input_dense = keras.layers.Dense(hidden, activation="gelu", dtype=policy, name="input")
        self.inner = [
            keras.layers.Dense(hidden, activation="gelu", dtype=policy, name=f"inner_{c}") for c in range(codebooks)
        ]
        self.output_dense = [keras.layers.Dense(size, dtype="float32", name=f"output_{c}") for c in range(codebooks)]
        # A larger epsilon would be a way out of the commitment loss: vectors that shrink below it.
        self.norm = keras.layers.BatchNormalization(
            momentum=0.95, epsilon=1e-8, center=False, scale=False, dtype="float32", name="norm"
        )

    def get_config(self):
        """Constructor arguments."""
        names = ("codebooks", "size", "hidden")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        """Create the weights for groups `(groups, frames, features)`."""
        frames, features = input_shape[-2:]
        self.input_dense.build((None, frames // self.codebooks * features))
        for inner, output in zip(self.inner, self.output_dense, strict=True):
            inner.build((None, self.hidden))
            output.build((None, self.hidden))
        self.norm.build((None, self.codebooks * self.size))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, counted: tf.Tensor, training=None) -> tf.Tensor:
        """Vectors float32 `(groups, codebooks, size)`.

        Args:
            inputs: `(groups, frames, features)`, frames a multiple of `codebooks`; zeros where there is no frame.
            counted: bool `(groups,)`, those that are no padding.
            training: whether to normalise by the batch.
        """
        shares = tf.reshape(inputs, (-1, self.codebooks, inputs.shape[1] // self.codebooks * inputs.shape[2]))
        x = self.input_dense(shares)
        layers = zip(self.inner, self.output_dense, strict=True)
        vectors = tf.concat([output(inner(x[:, c])) for c, (inner, output) in enumerate(layers)], -1)
        vectors = self.norm(vectors, training=training, mask=counted)
        return tf.reshape(vectors, (-1, self.codebooks, self.size))
