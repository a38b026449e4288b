"""How fast music is written: `pytest -m slow -s tests/test_speed.py` prints the figures."""

import statistics
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras import models
from bachkeras.data.pipeline import UNKNOWN

WINDOW = 96


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = models.LSTMAttention(hidden=256, layers=2, attention_heads=4, attention_window=WINDOW)
    model.build()
    return model


def seconds(work, repeats=5) -> float:
    """Median time of some work that has been done once before."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def predicted_frames_a_second(model, count) -> float:
    """The way of the tutorials: `predict` on the last 96 frames, a call a frame."""
    batch = {name: np.full(count, value) for name, value in UNKNOWN.items()}
    batch["position"] = np.full((count, WINDOW), UNKNOWN["position"])
    batch["pianoroll"] = np.zeros((count, WINDOW + 1, 88), np.float32)
    return count / seconds(lambda: model.predict(batch, batch_size=count, verbose=0))


def written_frames_a_second(model, count) -> float:
    frames = 256
    return count * frames / seconds(lambda: model.generate(count, frames, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "asked"), [(1, 50), (64, 15)])
def test_the_loop_beats_a_call_a_frame(model, count, asked):
    slow = predicted_frames_a_second(model, count)
    fast = written_frames_a_second(model, count)
    print(f"\nbatch {count}: {fast:.0f} frames/s, model.predict {slow:.0f}: {fast / slow:.0f} times")
    assert fast / slow >= asked


@pytest.mark.slow
def test_a_late_frame_costs_what_an_early_one_does(model, monkeypatch):
    """Frames 1,000 to 1,096 against 97 to 193, by a clock in the loop; each at its fastest, as machines stutter."""
    begun = tf.Variable(tf.zeros(1097, tf.float64))
    step = model.step

    def timed(state, features):
        with tf.control_dependencies([features]):
            tick = begun.scatter_nd_update([[state["time"]]], [tf.timestamp()])
        with tf.control_dependencies([tick]):
            return step(state, features)

    monkeypatch.setattr(model, "step", timed)
    monkeypatch.setattr(model, "_write", tf.function(model._write_graph, autograph=False))
    runs = []
    for _ in range(8):
        model.generate(8, 1097, seed=0)
        runs.append(np.diff(begun.numpy()))
    fastest = np.min(runs[1:], axis=0)
    early, late = (np.median(fastest[first : first + 96]) * 1000 for first in (97, 1000))
    print(f"\na frame of 97-193: {early:.2f} ms, of 1,000-1,096: {late:.2f} ms")
    assert late <= 1.1 * early
