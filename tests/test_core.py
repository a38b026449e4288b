"""The recurrent core against NumPy."""

import keras
import numpy as np
import pytest

from bachkeras.layers.core import RecurrentCore, WindowedAttention


@pytest.fixture
def attention():
    keras.utils.set_random_seed(0)
    layer = WindowedAttention(heads=2, window=3)
    layer.build((None, None, 6))
    layer.distance_bias.assign(keras.random.normal((2, 3)))
    return layer


def test_attention_sees_its_window_and_no_more(attention):
    x = np.random.default_rng(0).normal(size=(2, 7, 6)).astype(np.float32)
    weights = attention.attention_weights(x).numpy()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    time = np.arange(7)
    distance = time[:, None] - time[None]
    outside = (distance < 0) | (distance >= 3)
    assert np.all(weights[..., outside] == 0)
    assert np.all(weights[..., ~outside] > 0)


def test_attention_against_numpy(attention):
    x = np.random.default_rng(0).normal(size=(1, 5, 6)).astype(np.float32)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in attention.query_key_value.weights)
    out_kernel, out_bias = (keras.ops.convert_to_numpy(w) for w in attention.output_dense.weights)
    distance_bias = keras.ops.convert_to_numpy(attention.distance_bias)
    query, key, value = np.split(x[0] @ kernel + bias, 3, axis=-1)
    expected = np.zeros((5, 6))
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        for t in range(5):
            seen = range(max(t - 2, 0), t + 1)
            scores = np.array([query[t, part] @ key[s, part] / 3**0.5 + distance_bias[head, t - s] for s in seen])
            weights = np.exp(scores) / np.exp(scores).sum()
            expected[t, part] = weights @ value[list(seen), part]
    np.testing.assert_allclose(attention(x)[0], expected @ out_kernel + out_bias, rtol=1e-4, atol=1e-5)


def test_heads_share_the_width_evenly():
    with pytest.raises(ValueError, match="attention_heads=4, hidden=6"):
        WindowedAttention(heads=4).build((None, None, 6))


def test_the_penalty_covers_every_kernel():
    core = RecurrentCore(8, layers=2, attention_heads=2, l2=0.5)
    core.build((None, None, 5))
    kernels = [v for v in core.trainable_variables if v.name in ("kernel", "recurrent_kernel")]
    assert len(kernels) == 1 + 2 * 2 + 2
    expected = sum(0.5 * float(keras.ops.sum(v**2)) for v in kernels)
    assert float(sum(core.losses)) == pytest.approx(expected, rel=1e-5)
