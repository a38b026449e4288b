"""Conditions: one-hot, each may be unknown."""

import keras
import numpy as np
import tensorflow as tf

from bachkeras.layers.conditions import SIZES, Conditions


def conditions(count=2, **values):
    known = {"tonic": 3, "mode": 1, "timestep": 2}
    batch = {name: np.full(count, values.get(name, value)) for name, value in known.items()}
    return batch | {"position": np.tile(values.get("position", [0, 1, 2, -1]), (count, 1))}


def blocks(encoded):
    """The one-hot block of each condition."""
    return dict(zip(SIZES, tf.split(encoded, list(SIZES.values()), axis=-1), strict=True))


def test_each_condition_is_one_hot_in_every_frame():
    encoded = blocks(Conditions()(conditions()))
    for name, value in (("tonic", 3), ("mode", 1), ("timestep", 2)):
        np.testing.assert_array_equal(tf.argmax(encoded[name], -1), np.full((2, 4), value))
    np.testing.assert_array_equal(tf.argmax(encoded["position"], -1)[0], [0, 1, 2, SIZES["position"] - 1])
    for block in encoded.values():
        np.testing.assert_array_equal(tf.reduce_sum(block, -1), np.ones((2, 4)))


def test_what_is_out_of_the_table_is_unknown():
    encoded = blocks(Conditions()(conditions(tonic=12, timestep=99, position=[64, 65, 1000, 63])))
    assert np.all(tf.argmax(encoded["tonic"], -1) == 12)
    assert np.all(tf.argmax(encoded["timestep"], -1) == SIZES["timestep"] - 1)
    np.testing.assert_array_equal(tf.argmax(encoded["position"], -1)[0], [64, 64, 64, 63])


def test_training_makes_each_unknown_now_and_then():
    keras.utils.set_random_seed(0)
    layer = Conditions(drop=0.25)
    encoded = blocks(layer(layer.forget(conditions(4000))))
    for name, block in encoded.items():
        unknown = tf.argmax(block, -1).numpy() == SIZES[name] - 1
        assert np.all(unknown[:, :3] == unknown[:, :1])  # The whole example at once.
        expected = 1 - 0.75**2 if name == "mode" else 0.25
        assert abs(unknown[:, 0].mean() - expected) < 0.03
    no_tonic = tf.argmax(encoded["tonic"], -1).numpy() == 12
    assert np.all(tf.argmax(encoded["mode"], -1).numpy()[no_tonic] == 2)
    told = blocks(layer(conditions(50)))
    assert not np.any(tf.argmax(told["tonic"], -1) == 12)
