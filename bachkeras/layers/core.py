"""The recurrent core: LSTMs and windowed attention, for a whole sequence at once and frame by frame."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="bachkeras")
class WindowedAttention(keras.layers.Layer):
    """Causal multi-head attention over the last `window` frames, the present one included.

    Scaled dot products (Vaswani et al. 2017, equation 1) plus a learned bias for each head and distance in time
    (Shaw et al. 2018; in the scalar form of Raffel et al. 2020), so that "a bar ago" can be learned.

    Args:
        heads: attention heads; they share `input_shape[-1]` numbers evenly.
        window: frames seen.
        l2: L2 penalty of the kernels.
    """

    def __init__(self, heads: int = 4, window: int = 96, l2: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.window = window
        self.l2 = l2

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "heads": self.heads, "window": self.window, "l2": self.l2}

    def build(self, input_shape):
        """Create the projections for inputs `(batch, time, size)`."""
        size = input_shape[-1]
        if size % self.heads:
            raise ValueError(
                f"attention_heads must divide hidden. Received: attention_heads={self.heads}, hidden={size}"
            )
        self.head_size = size // self.heads
        common = {"kernel_regularizer": _l2(self.l2), "dtype": self.dtype_policy}
        self.query_key_value = keras.layers.Dense(3 * size, name="query_key_value", **common)
        self.query_key_value.build(input_shape)
        self.output_dense = keras.layers.Dense(size, name="output", **common)
        self.output_dense.build(input_shape)
        self.distance_bias = self.add_weight(name="distance_bias", shape=(self.heads, self.window), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs):
        """Attend over a whole sequence: `(batch, time, size)` to the same shape."""
        query, key, value = self._project(inputs)
        weights = self._weights(query, key)
        mixed = tf.einsum("bhqk,bkhd->bqhd", weights, value)
        return self.output_dense(tf.reshape(mixed, tf.shape(inputs)))

    def attention_weights(self, inputs):
        """Attention weights `(batch, heads, time, time)`; row = the frame that looks, column = the frame seen."""
        query, key, _ = self._project(inputs)
        return self._weights(query, key)

    def initial_state(self, batch: tf.Tensor | int) -> dict[str, tf.Tensor]:
        """An empty ring: keys and values `(batch, heads, window, head_size)`, and the frames written so far."""
        empty = tf.zeros((batch, self.heads, self.window, self.head_size), self.compute_dtype)
        return {"keys": empty, "values": empty, "time": tf.zeros((), tf.int32)}

    def select(self, state, rows):
        """The state of some rows of the batch, int32 `(rows,)`, each as often as it is named."""
        return {**state, "keys": tf.gather(state["keys"], rows), "values": tf.gather(state["values"], rows)}

    def step(self, inputs, state):
        """Attend from one new frame `(batch, size)`; its cost does not depend on how many came before."""
        heads = tf.reshape(self.query_key_value(inputs), (-1, 3, self.heads, self.head_size))
        query, key, value = tf.unstack(heads, axis=1)
        time = state["time"]
        slot = time % self.window
        # Written in place: copying the ring would take longer than all else.
        row, head = tf.meshgrid(tf.range(tf.shape(inputs)[0]), tf.range(self.heads), indexing="ij")
        place = tf.stack([row, head, tf.fill(tf.shape(row), slot)], -1)
        keys = tf.tensor_scatter_nd_update(state["keys"], place, key)
        values = tf.tensor_scatter_nd_update(state["values"], place, value)
        # Slot s was written `distance[s]` frames ago, or never.
        distance = (slot - tf.range(self.window)) % self.window
        bias = tf.cast(tf.gather(self.distance_bias, distance, axis=1), query.dtype)
        bias = tf.where(distance <= time, bias, _minus_infinity(query.dtype))
        scores = tf.matmul(query[:, :, None], keys, transpose_b=True) * self.head_size**-0.5
        mixed = tf.matmul(tf.nn.softmax(scores + bias[:, None]), values)
        output = self.output_dense(tf.reshape(mixed, tf.shape(inputs)))
        return output, {"keys": keys, "values": values, "time": time + 1}

    def _project(self, inputs):
        """Query, key and value, `(batch, time, heads, head_size)` each."""
        shape = tf.concat([tf.shape(inputs)[:-1], [self.heads, self.head_size]], 0)
        return (tf.reshape(part, shape) for part in tf.split(self.query_key_value(inputs), 3, axis=-1))

    def _weights(self, query, key):
        """Softmax over the frames inside the window: `(batch, heads, time, time)`."""
        time = tf.range(tf.shape(query)[1])
        distance = time[:, None] - time[None, :]
        inside = (distance >= 0) & (distance < self.window)
        bias = tf.gather(self.distance_bias, tf.clip_by_value(distance, 0, self.window - 1), axis=1)
        bias = tf.where(inside, tf.cast(bias, query.dtype), _minus_infinity(query.dtype))
        scores = tf.einsum("bqhd,bkhd->bhqk", query, key) * self.head_size**-0.5
        return tf.nn.softmax(scores + bias)


@keras.saving.register_keras_serializable(package="bachkeras")
class RecurrentCore(keras.layers.Layer):
    """Residual LSTMs, then windowed attention.

        x_0 = dropout(W input)
        x_i = norm(x_{i-1} + dropout(LSTM_i(x_{i-1}))),   i = 1 .. n
        output = norm(x_n + dropout(attention(x_n)))

    Args:
        hidden: width of every layer.
        layers: number of LSTMs.
        attention_heads: heads of the attention; 0 leaves it out.
        attention_window: frames that the attention sees.
        dropout: share dropped between layers in training.
        l2: L2 penalty of the kernels.
    """

    def __init__(
        self,
        hidden: int = 256,
        layers: int = 2,
        attention_heads: int = 4,
        attention_window: int = 96,
        dropout: float = 0.0,
        l2: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden = hidden
        self.layers = layers
        self.attention_heads = attention_heads
        self.attention_window = attention_window
        self.dropout = dropout
        self.l2 = l2

    def get_config(self):
        """Constructor arguments."""
        names = ("hidden", "layers", "attention_heads", "attention_window", "dropout", "l2")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        """Create the layers for inputs `(batch, time, size)`."""
        policy, regularizer = self.dtype_policy, _l2(self.l2)
        inner = (None, None, self.hidden)
        self.input_dense = keras.layers.Dense(self.hidden, kernel_regularizer=regularizer, dtype=policy, name="input")
        self.input_dense.build(input_shape)
        self.lstms, self.norms = [], []
        for i in range(self.layers):
            lstm = keras.layers.LSTM(
                self.hidden,
                return_sequences=True,
                kernel_regularizer=regularizer,
                recurrent_regularizer=regularizer,
                dtype=policy,
                name=f"lstm_{i}",
            )
            norm = keras.layers.LayerNormalization(dtype=policy, name=f"norm_{i}")
            lstm.build(inner)
            norm.build(inner)
            self.lstms.append(lstm)
            self.norms.append(norm)
        self.drop = keras.layers.Dropout(self.dropout, dtype=policy)
        if self.attention_heads:
            self.attention = WindowedAttention(
                self.attention_heads, self.attention_window, self.l2, dtype=policy, name="attention"
            )
            self.attention.build(inner)
            self.attention_norm = keras.layers.LayerNormalization(dtype=policy, name="attention_norm")
            self.attention_norm.build(inner)
        super().build(input_shape)

    def call(self, inputs, training=None):
        """A whole sequence from a zero state: `(batch, time, size)` to `(batch, time, hidden)`."""
        x = self.recurrent(inputs, training=training)
        if self.attention_heads:
            x = self.attention_norm(x + self.drop(self.attention(x), training=training))
        return x

    def recurrent(self, inputs, training=None):
        """What the attention reads: `(batch, time, hidden)`."""
        x = self.drop(self.input_dense(inputs), training=training)
        for lstm, norm in zip(self.lstms, self.norms, strict=True):
            x = norm(x + self.drop(lstm(x), training=training))
        return x

    def initial_state(self, batch: tf.Tensor | int) -> dict:
        """The state before the first frame."""
        zero = tf.zeros((batch, self.hidden), self.compute_dtype)
        state = {"lstms": [[zero, zero] for _ in range(self.layers)]}
        if self.attention_heads:
            state["attention"] = self.attention.initial_state(batch)
        return state

    def select(self, state, rows):
        """The state of some rows of the batch, int32 `(rows,)`, each as often as it is named."""
        chosen = {"lstms": [[tf.gather(x, rows) for x in pair] for pair in state["lstms"]]}
        if self.attention_heads:
            chosen["attention"] = self.attention.select(state["attention"], rows)
        return chosen

    def step(self, inputs, state):
        """One frame: `(batch, size)` and a state to `(batch, hidden)` and the next state."""
        x = self.input_dense(inputs)
        lstms = []
        for lstm, norm, before in zip(self.lstms, self.norms, state["lstms"], strict=True):
            output, after = lstm.cell(x, before)
            lstms.append(list(after))
            x = norm(x + output)
        after = {"lstms": lstms}
        if self.attention_heads:
            output, after["attention"] = self.attention.step(x, state["attention"])
            x = self.attention_norm(x + output)
        return x, after


def _l2(l2: float):
    return keras.regularizers.L2(l2) if l2 else None


def _minus_infinity(dtype) -> tf.Tensor:
    return tf.constant(tf.as_dtype(dtype).min / 2, dtype)
