"""Vector quantisation against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras.layers.quantizer import VectorQuantizer

CODES, SIZE = 5, 3


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 6, SIZE)).astype(np.float32)


def made(**arguments) -> VectorQuantizer:
    keras.utils.set_random_seed(0)
    quantizer = VectorQuantizer(CODES, **arguments)
    quantizer.build((None, SIZE))
    return quantizer


def embeddings(quantizer) -> np.ndarray:
    return keras.ops.convert_to_numpy(quantizer.embeddings)


def nearest(vectors, codes) -> np.ndarray:
    return np.argmin(((vectors[..., None, :] - codes) ** 2).sum(-1), -1)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_each_vector_becomes_its_nearest_code(vectors, codebook):
    quantizer = made(codebook=codebook)
    quantized, indices, losses = quantizer(vectors)
    codes = embeddings(quantizer)
    np.testing.assert_array_equal(indices, nearest(vectors, codes))
    assert indices.dtype == tf.int32
    assert len(np.unique(indices)) > 2
    np.testing.assert_array_equal(quantized, codes[nearest(vectors, codes)])  # To the bit.
    np.testing.assert_array_equal(quantizer.lookup(indices), quantized)
    distance = ((vectors - codes[indices]) ** 2).sum(-1).mean()
    assert float(losses["commitment"]) == pytest.approx(0.25 * distance, rel=1e-5)
    assert losses.keys() == ({"commitment"} if codebook == "ema" else {"commitment", "codebook"})
    assert float(losses.get("codebook", distance)) == pytest.approx(distance, rel=1e-5)


def test_inference_changes_nothing(vectors):
    quantizer = made()
    quantizer(vectors, training=True)
    before = [keras.ops.convert_to_numpy(variable) for variable in quantizer.weights]
    for training in (False, None):
        quantizer(vectors, training=training)
    for variable, value in zip(quantizer.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_moving_averages_are_those_of_the_paper(vectors):
    """Appendix A.1 of van den Oord et al. 2017, over ten batches; what is not counted has no part in them."""
    quantizer = made(decay=0.9, reseed=0.0, data_start=False)
    random = np.random.default_rng(1)
    codes = embeddings(quantizer).astype(np.float64)
    counts, sums = np.zeros(CODES), np.zeros((CODES, SIZE))
    for _ in range(10):
        batch = random.standard_normal((8, SIZE)).astype(np.float32)
        counted = random.random(8) < 0.7
        indices = nearest(batch, codes)
        _, found, _ = quantizer(batch, counted, training=True)
        np.testing.assert_array_equal(found, indices)
        chosen = np.eye(CODES)[indices] * counted[:, None]
        counts = 0.9 * counts + 0.1 * chosen.sum(0)
        sums = 0.9 * sums + 0.1 * chosen.T @ batch
        codes = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1e-30)[:, None], codes)
        np.testing.assert_allclose(embeddings(quantizer), codes, rtol=1e-4, atol=1e-5)
    assert float(quantizer.reseeded) == 0


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_gradients(vectors, codebook):
    """Straight through to the vectors; to the codes by equation 3 alone, and with moving averages none."""
    quantizer = made(codebook=codebook)
    inputs = tf.constant(vectors)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        quantized, indices, losses = quantizer(inputs)
        direction = tf.reduce_sum(quantized * np.arange(3.0))
        loss = tf.add_n(list(losses.values()))
    np.testing.assert_allclose(tape.gradient(direction, inputs), np.broadcast_to(np.arange(3.0), vectors.shape))
    codes = embeddings(quantizer)
    towards = 2 * (vectors - codes[indices]) / (4 * 6)
    np.testing.assert_allclose(tape.gradient(loss, inputs), 0.25 * towards, rtol=1e-4, atol=1e-6)
    if codebook == "ema":
        assert quantizer.trainable_variables == []
        return
    (gradient,) = tape.gradient(loss, [v.value for v in quantizer.trainable_variables])
    chosen = np.eye(CODES)[np.ravel(indices)]
    np.testing.assert_allclose(
        tf.convert_to_tensor(gradient), -chosen.T @ towards.reshape(-1, SIZE), rtol=1e-4, atol=1e-6
    )
    assert tape.gradient(direction, [v.value for v in quantizer.trainable_variables]) == [None]


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_codes_begin_as_vectors_of_the_first_batch(vectors, codebook):
    quantizer = made(codebook=codebook, decay=0.0, reseed=0.0)
    counted = np.zeros((4, 6), bool)
    counted[1] = True
    quantizer(vectors, np.zeros((4, 6), bool), training=True)  # Nothing counts yet: it has not begun.
    assert float(quantizer.started) == 0
    quantizer._start(tf.reshape(vectors, (-1, SIZE)), tf.cast(tf.reshape(counted, [-1]), tf.float32))
    distance = np.sqrt(((embeddings(quantizer)[:, None] - vectors[1]) ** 2).sum(-1)).min(1)
    assert distance.max() < 0.15
    before = embeddings(quantizer)
    quantizer._start(tf.reshape(vectors, (-1, SIZE)), tf.ones(24))
    np.testing.assert_array_equal(embeddings(quantizer), before)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_dead_codes_are_reseeded(codebook):
    """Two clusters and five codes, of which three have nothing; without re-seeding they stay where they are."""
    random = np.random.default_rng(0)
    vectors = np.concatenate([random.normal(-4, 0.1, (40, SIZE)), random.normal(4, 0.1, (40, SIZE))]).astype(np.float32)
    far = np.array([[-4.0] * 3, [4.0] * 3, [50.0] * 3, [60.0] * 3, [70.0] * 3])
    for reseed, used in ((0.0, 2), (0.1, 5)):
        quantizer = made(codebook=codebook, reseed=reseed, data_start=False)
        quantizer.embeddings.assign(far)
        quantizer(vectors, training=True)
        assert float(quantizer.reseeded) == (3 if reseed else 0)
        _, indices, _ = quantizer(vectors)
        assert np.all(np.abs(embeddings(quantizer)[: 5 if reseed else 2]) < 5)
        if reseed:
            assert np.all(np.sqrt(((embeddings(quantizer)[2:, None] - vectors) ** 2).sum(-1)).min(1) < 1)
        else:
            np.testing.assert_array_equal(embeddings(quantizer)[2:], far[2:])
            assert len(np.unique(indices)) == used


def test_what_is_no_vector_or_no_quantizer_is_refused(vectors):
    with pytest.raises(ValueError, match=r"codes' size, 3. Received: inputs.shape=\(4, 6, 2\)"):
        made()(vectors[..., :2])
    for arguments in ({"codebook": "kmeans"}, {"commitment": -1}, {"decay": 1.0}, {"reseed": 1.0}):
        with pytest.raises(ValueError, match=f"Received: .*{next(iter(arguments))}="):
            VectorQuantizer(4, **arguments)


def test_saved_codes_are_loaded(vectors, tmp_path):
    quantizer = made(codebook="ema", reseed=0.2)
    inputs = keras.Input((6, SIZE))
    model = keras.Model(inputs, quantizer(inputs)[0])
    quantizer(vectors, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(vectors), model(vectors))
    assert again.layers[-1].get_config() == quantizer.get_config()
