"""How fast music is written: `pytest -m slow -s tests/test_speed.py` prints the figures."""

import statistics
import time

import keras
import numpy as np
import pytest

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
def test_a_late_frame_costs_what_an_early_one_does(model):
    """Frames 1,000 to 1,096 against 97 to 193: differences of whole runs, in turn, in seconds of the processor."""
    ends = (97, 193, 1000, 1096)
    times = {end: [] for end in ends}
    for repeat in range(16):
        for end in ends:
            start = time.process_time()
            model.generate(8, end, seed=0)
            if repeat:
                times[end].append(time.process_time() - start)
    best = {end: min(values) for end, values in times.items()}
    early, late = best[193] - best[97], best[1096] - best[1000]
    print(f"\nframes 97-193: {early * 1000:.0f} ms, 1,000-1,096: {late * 1000:.0f} ms")
    assert late <= 1.1 * early
