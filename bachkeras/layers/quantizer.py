"""Vector quantisation: each vector becomes the nearest of a codebook's codes."""

from __future__ import annotations

import keras
import tensorflow as tf

CODEBOOKS = ("ema", "gradient")
"""Ways in which a codebook learns."""

JITTER = 0.01
"""Noise, as a share of their spread, that keeps codes apart which begin at one vector."""


@keras.saving.register_keras_serializable(package="bachkeras")
class VectorQuantizer(keras.layers.Layer):
    """The nearest code of a codebook, with a straight-through gradient (van den Oord et al. 2017).

        index = argmin_k ||z - e_k||,   quantized = e_index,   d quantized / d z = 1

    With `codebook="ema"` no gradient moves the codes. They are moving averages of the vectors that chose them (the
    paper's appendix A.1; n_k of a batch's vectors chose code k, their sum is s_k):

        N_k <- decay N_k + (1 - decay) n_k,   m_k <- decay m_k + (1 - decay) s_k,   e_k = m_k / N_k

    With `codebook="gradient"` the second term of equation 3 moves them, ||sg[z] - e||^2.

    A code that is hardly chosen any more never comes back by itself: no vector moves it. It is re-seeded, put where
    one of the batch's vectors is (Dhariwal et al. 2020, Jukebox, section 3), when N_k falls below `reseed` times the
    codes' mean. With `data_start` the codes begin as vectors of the first training batch and not at random. (With
    re-seeding they nearly do so without it: in the first batch all codes that nothing chose are dead.)

    What is not counted (`counted`) gets a code but moves none and costs nothing. All is float32.

    Args:
        codes: number of codes.
        commitment: weight of the commitment loss, ||z - sg[e]||^2.
        codebook: "ema" or "gradient".
        decay: see above; with `codebook="gradient"` of N_k alone.
        reseed: see above; 0: codes are never re-seeded.
        data_start: see above.

    Attributes:
        embeddings: the codes, float32 `(codes, size)`; `size` is the last dimension of the inputs.
        reseeded: how many codes were re-seeded so far, float32.
    """

    def __init__(
        self,
        codes: int,
        commitment: float = 0.25,
        codebook: str = "ema",
        decay: float = 0.99,
        reseed: float = 0.1,
        data_start: bool = True,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        if codebook not in CODEBOOKS:
            raise ValueError(f"A codebook learns by {' or '.join(CODEBOOKS)}. Received: codebook={codebook!r}")
        if codes < 1 or commitment < 0 or not 0 <= decay < 1 or not 0 <= reseed < 1:
            raise ValueError(
                "There is at least one code, commitment is at least 0, decay and reseed are in [0, 1). Received: "
                f"codes={codes}, commitment={commitment}, decay={decay}, reseed={reseed}"
            )
        self.codes = codes
        self.commitment = commitment
        self.codebook = codebook
        self.decay = decay
        self.reseed = reseed
        self.data_start = data_start
        self.random = keras.random.SeedGenerator()

    def get_config(self):
        """Constructor arguments."""
        names = ("codes", "commitment", "codebook", "decay", "reseed", "data_start")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        """Create the codebook for vectors `(..., size)`."""
        shape = (self.codes, input_shape[-1])
        learned = self.codebook == "gradient"
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.embeddings = self.add_weight(name="embeddings", shape=shape, initializer=normal, trainable=learned)
        self.counts = self.add_weight(name="counts", shape=(self.codes,), initializer="zeros", trainable=False)
        self.sums = self.add_weight(name="sums", shape=shape, initializer="zeros", trainable=False)
        self.reseeded = self.add_weight(name="reseeded", shape=(), initializer="zeros", trainable=False)
        self.started = self.add_weight(name="started", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, counted: tf.Tensor | None = None, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Quantise vectors; in training the codebook learns.

        Args:
            inputs: float32 `(..., size)`.
            counted: bool `(...)`, which vectors count; None: all.
            training: whether the codebook starts, moves and is re-seeded.

        Returns:
            `quantized`, float32 `(..., size)`, to the bit what `lookup` returns; `indices`, int32 `(...)`; `losses`,
            float32 scalars, means over the vectors that count: `commitment` (weighed) and, with
            `codebook="gradient"`, `codebook`.

        Raises:
            ValueError: if the vectors have another size than the codes.
        """
        if inputs.shape[-1] != self.embeddings.shape[-1]:
            raise ValueError(
                f"Vectors have the codes' size, {self.embeddings.shape[-1]}. Received: inputs.shape={inputs.shape}"
            )
        flat = tf.reshape(tf.cast(inputs, tf.float32), (-1, inputs.shape[-1]))
        weight = tf.ones(tf.shape(flat)[:1]) if counted is None else tf.cast(tf.reshape(counted, [-1]), tf.float32)
        if training:
            self._start(flat, weight)
        nearest = tf.argmin(self._distances(flat), -1, tf.int32)
        chosen = self.lookup(nearest)
        total = tf.maximum(tf.reduce_sum(weight), 1.0)
        losses = {
            "commitment": self.commitment * _squares(flat - tf.stop_gradient(chosen), weight) / total,
        }
        if self.codebook == "gradient":
            losses["codebook"] = _squares(tf.stop_gradient(flat) - chosen, weight) / total
        if training:
            with tf.control_dependencies([chosen]):
                self._learn(tf.stop_gradient(flat), nearest, weight)
        quantized = tf.stop_gradient(chosen) + (flat - tf.stop_gradient(flat))  # To the bit the code.
        return tf.reshape(quantized, tf.shape(inputs)), tf.reshape(nearest, tf.shape(inputs)[:-1]), losses

    def lookup(self, indices: tf.Tensor) -> tf.Tensor:
        """The codes of given indices, int `(...)`: float32 `(..., size)`."""
        return tf.gather(tf.convert_to_tensor(self.embeddings), indices)

    def _distances(self, vectors):
        """Squared distance from each code, `(vectors, codes)`, up to what all codes share."""
        codes = tf.convert_to_tensor(self.embeddings)
        return tf.reduce_sum(codes**2, -1) - 2 * tf.matmul(vectors, codes, transpose_b=True)

    def _start(self, vectors, weight):
        """Before the first batch that counts: codes are its vectors."""
        first = (self.started == 0) & (tf.reduce_sum(weight) > 0)
        self.started.assign(tf.where(first, 1.0, self.started))
        if self.data_start:
            self.embeddings.assign(tf.where(first, self._drawn(vectors, weight), self.embeddings))

    def _learn(self, vectors, nearest, weight):
        """Move the codes towards the vectors that chose them, and re-seed the dead ones."""
        chosen = tf.one_hot(nearest, self.codes) * weight[:, None]
        counts = self.decay * self.counts + (1 - self.decay) * tf.reduce_sum(chosen, 0)
        sums = self.decay * self.sums + (1 - self.decay) * tf.matmul(chosen, vectors, transpose_a=True)
        alive = tf.reduce_mean(counts)
        dead = (counts < self.reseed * alive) & (tf.reduce_sum(weight) > 0)
        counts = tf.where(dead, alive, counts)
        seeds = self._drawn(vectors, weight)
        if self.codebook == "ema":
            sums = tf.where(dead[:, None], counts[:, None] * seeds, sums)
            # A code that nothing chose for so long that no number is left of it stays where it was.
            moved = tf.where(counts[:, None] > 1e-30, sums / tf.maximum(counts, 1e-30)[:, None], self.embeddings)
            self.sums.assign(sums)
        else:
            moved = tf.where(dead[:, None], seeds, self.embeddings)
        self.embeddings.assign(moved)
        self.counts.assign(counts)
        self.reseeded.assign_add(tf.reduce_sum(tf.cast(dead, tf.float32)))

    def _drawn(self, vectors, weight):
        """A vector that counts for each code, `(codes, size)`, with a little noise."""
        logits = tf.where(weight > 0, 0.0, -1e9)[None]
        seed = self.random.next()
        picked = tf.gather(vectors, tf.random.stateless_categorical(logits, self.codes, tf.cast(seed, tf.int32))[0])
        spread = tf.math.reduce_std(vectors, 0)
        return picked + JITTER * spread * keras.random.normal(tf.shape(picked), seed=self.random)


def _squares(difference, weight):
    return tf.reduce_sum(tf.reduce_sum(difference**2, -1) * weight)
