"""A head per codebook, each knowing the group's codes so far: `ChainedVoices`, for codes instead of notes."""

from __future__ import annotations

import keras
import tensorflow as tf

from bachkeras.layers.frame.base import FREE, Draw, Sounding, at, gumbel, linear, temper


@keras.saving.register_keras_serializable(package="bachkeras")
class ChainedCodes(keras.layers.Layer):
    """Softmax heads over the codes of a group, chained from the first codebook to the last.

        h_k = gelu(W_k context + sum_{j<k} (E_j[code_j] + F_j v_j[code_j]))
        p(code_k = c | ...) = softmax_c(U_k h_k + b_k + v_k[c] . V_k h_k)

    v_k[c] are the codes' own vectors in codebook k (`vectors`, not learned here): what is learned of a code says
    something about those that lie near it, which matters where a code is seen a few dozen times.

    To the loop that writes music (`bachkeras.generation.loop`) it is a frame distribution: a group of frames is its
    frame, its events are the codes, `FREE` (-1) in the group before a piece.

    Args:
        codes: number of codes in each codebook.
        codebooks: codes of a group.
        size: numbers of a code's vector.
        units: width of each head's hidden layer.
        dropout: share of the context and of the hidden layer that training drops.

    Attributes:
        vectors: float32 `(codebooks, codes, size)`; zeros until someone assigns them.
        voices: events of a group: `codebooks`.
        feature_size: last dimension of what `features` returns.
    """

    def __init__(self, codes: int, codebooks: int, size: int, units: int = 256, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if min(codes, codebooks, size) < 1:
            raise ValueError(
                f"codes, codebooks and size are at least 1. Received: codes={codes}, codebooks={codebooks}, size={size}"
            )
        self.codes = codes
        self.codebooks = codebooks
        self.size = size
        self.units = units
        self.dropout = dropout
        self.voices = codebooks
        self.feature_size = codebooks * (codes + size)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def get_config(self):
        """Constructor arguments."""
        names = ("codes", "codebooks", "size", "units", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, context_shape):
        """Create the heads for a context of `context_shape[-1]` numbers."""
        books, units = self.codebooks, self.units
        small = keras.initializers.RandomNormal(stddev=0.05)
        self.context_kernel = self.add_weight(name="context_kernel", shape=(context_shape[-1], books * units))
        self.context_bias = self.add_weight(name="context_bias", shape=(books * units,), initializer="zeros")
        if books > 1:
            self.emitted = self.add_weight(name="emitted", shape=(books - 1, self.codes, units), initializer=small)
            self.emitted_vectors = self.add_weight(
                name="emitted_vectors", shape=(books - 1, self.size, units), initializer=small
            )
        self.head_kernel = self.add_weight(
            name="head_kernel",
            shape=(books, units, self.codes),
            initializer=keras.initializers.RandomNormal(stddev=units**-0.5),
        )
        self.head_bias = self.add_weight(name="head_bias", shape=(books, self.codes), initializer="zeros")
        shape = (books, self.codes, self.size)
        self.vectors = self.add_weight(
            name="vectors", shape=shape, initializer="zeros", trainable=False, autocast=False
        )
        self.vector_kernel = self.add_weight(name="vector_kernel", shape=(books, units, self.size), initializer=small)
        super().build(context_shape)

    def silence(self, batch: tf.Tensor | int) -> Sounding:
        """The group before a piece."""
        return self.follow(None, tf.fill([batch, self.codebooks], FREE), None)

    def follow(self, last: Sounding | None, codes: tf.Tensor, onsets: tf.Tensor | None) -> Sounding:
        """The group after `last`; nothing but its codes is known of a group."""
        return Sounding(codes, tf.zeros_like(codes, tf.bool), tf.ones_like(codes))

    def features(self, sounding: Sounding) -> tf.Tensor:
        """What a model reads of a past group, float32 `(..., feature_size)`.

        Each code one-hot, then its vector; of `FREE` zeros.
        """
        codes = sounding.events
        vectors = tf.stack([self._vectors(k, codes[..., k]) for k in range(self.codebooks)], -2)
        each = tf.concat([tf.one_hot(codes, self.codes), vectors], -1)
        return tf.reshape(each, tf.concat([tf.shape(each)[:-2], [self.feature_size]], 0))

    def log_prob(self, context: tf.Tensor, codes: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Log probability of each code, float32 `(..., codebooks)`.

        Args:
            context: `(..., C)`, what the model knows before the group.
            codes: int32 `(..., codebooks)`.
            training: whether to drop.
        """
        codes = tf.cast(codes, tf.int32)
        log_p = []

        def choose(k, logits):
            log_p.append(at(tf.nn.log_softmax(logits), codes[..., k]))
            return codes[..., k]

        self._chain(context, choose, training)
        return tf.stack(log_p, -1)

    def sample(
        self,
        context: tf.Tensor,
        *,
        given: tf.Tensor,
        seed: tf.Tensor,
        temperature: tf.Tensor | float = 1.0,
        top_p: tf.Tensor | float = 1.0,
        **unused,
    ) -> Draw:
        """Draw a group's codes; see `FrameDistribution.sample`.

        Args:
            context: `(..., C)`.
            given: int32 `(..., codebooks)`, codes to keep, `FREE` (-1) = draw.
            seed: int32 `(2,)`.
            temperature: divides the logits of each head.
            top_p: each head draws from its most probable codes that together reach this probability.
            **unused: what notes have and codes have not: `previous`, `key`, `allowed`.
        """
        given = tf.cast(given, tf.int32)
        own = tf.random.experimental.stateless_fold_in(seed, 3)  # The notes of frame t have the seed of group t.
        noise = gumbel(tf.concat([tf.shape(context)[:-1], [self.codebooks, self.codes]], 0), own)
        free = given == FREE
        codes, log_q, log_given = [], [], []

        def choose(k, logits):
            drawn_from = temper(logits, temperature, top_p)
            drawn = tf.argmax(drawn_from + noise[..., k, :], -1, tf.int32)
            codes.append(tf.where(free[..., k], drawn, given[..., k]))
            log_q.append(tf.where(free[..., k], at(drawn_from, codes[-1]), 0.0))
            log_given.append(tf.where(free[..., k], 0.0, at(tf.nn.log_softmax(logits), codes[-1])))
            return codes[-1]

        self._chain(context, choose)
        leading = tf.math.cumprod(tf.cast(~free, tf.float32), -1)
        prefix = tf.reduce_sum(leading * tf.stack(log_given, -1), -1)
        return Draw(tf.stack(codes, -1), None, tf.add_n(log_q), tf.add_n(log_given), prefix)

    def _chain(self, context, choose, training=None):
        """Walk the heads: `choose(k, logits)` takes head k's logits, float32 `(..., codes)`, and says its code."""
        context = self.drop(context, training=training)
        hidden = linear(context, self.context_kernel) + tf.cast(self.context_bias, context.dtype)
        before = 0.0
        for k in range(self.codebooks):
            head = tf.nn.gelu(hidden[..., k * self.units : (k + 1) * self.units] + before)
            head = self.drop(head, training=training)
            near = tf.matmul(tf.cast(self.vector_kernel[k], tf.float32), self.vectors[k], transpose_b=True)
            kernel = tf.cast(self.head_kernel[k], head.dtype) + tf.cast(near, head.dtype)
            logits = tf.matmul(head, kernel)
            code = choose(k, tf.cast(logits, tf.float32) + tf.cast(self.head_bias[k], tf.float32))
            if k < self.codebooks - 1:
                before += tf.gather(tf.cast(self.emitted[k], head.dtype), code)
                before += linear(tf.cast(self._vectors(k, code), head.dtype), self.emitted_vectors[k])

    def _vectors(self, k, codes):
        """The vectors of codes of codebook k, `(..., size)`; of `FREE` zeros."""
        known = tf.cast(codes >= 0, tf.float32)[..., None]
        return known * tf.gather(tf.convert_to_tensor(self.vectors[k]), tf.maximum(codes, 0))
