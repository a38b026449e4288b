"""Frame distributions: normalised by enumeration, sampled as they score, given what is given."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras.layers.frame import ChainedVoices, IndependentNotes
from bachkeras.layers.frame.base import END, temper
from bachkeras.music.pianoroll import KEYS

SEED = tf.constant([1, 2])


def made(frame, size=6, seed=0):
    """A distribution with random weights, peaked enough to show mistakes."""
    keras.utils.set_random_seed(seed)
    frame.build((None, size))
    for variable in frame.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.7))
    return frame


def all_sets(most):
    """Every set of at most `most` keys as events, int32 (sets, most)."""
    sets = [
        [*sorted(keys, reverse=True), *[END] * (most - size)]
        for size in range(most + 1)
        for keys in itertools.combinations(range(KEYS), size)
    ]
    return np.array(sets, np.int32)


@pytest.mark.parametrize("voices", [1, 2])
def test_chained_voices_sum_to_one_over_all_sets(voices):
    frame = made(ChainedVoices(voices, units=5))
    events = all_sets(voices)
    assert len(events) == {1: 89, 2: 89 + 88 * 87 // 2}[voices]
    for i, context in enumerate(np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)):
        previous = None if i == 0 else np.tile(events[-i], (len(events), 1))
        log_p = frame.log_prob(np.tile(context, (len(events), 1)), events, previous=previous)
        assert float(tf.reduce_sum(tf.exp(tf.reduce_sum(log_p, -1)))) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_three_chained_voices_sum_to_one_over_all_113564_sets():
    frame = made(ChainedVoices(3, units=5))
    events = all_sets(3)
    context = np.tile(np.random.default_rng(0).normal(size=6).astype(np.float32), (len(events), 1))
    log_p = frame.log_prob(context, events)
    assert float(tf.reduce_sum(tf.exp(tf.reduce_sum(log_p, -1)))) == pytest.approx(1, abs=1e-4)


def test_independent_notes_sum_to_one_over_the_subsets_of_ten_keys():
    """The other 78 keys are silent: the sum over the ten is the product of their silence."""
    frame = made(IndependentNotes())
    rolls = np.zeros((2**10, KEYS), np.float32)
    rolls[:, 40:50] = list(itertools.product([0, 1], repeat=10))
    context = np.tile(np.random.default_rng(0).normal(size=6).astype(np.float32), (2**10, 1))
    log_p = frame.log_prob(context, frame.events(rolls)[0]).numpy()
    total = np.exp(log_p.sum(-1, dtype=np.float64)).sum()
    others = np.delete(log_p[0], range(40, 50)).sum(dtype=np.float64)
    assert total == pytest.approx(np.exp(others), rel=1e-4)


def test_chained_voices_against_numpy():
    """The docstring's equations, written out."""
    frame = made(ChainedVoices(3, units=4, reach=7))
    w, b, e, u, i, c = (keras.ops.convert_to_numpy(v).astype(np.float64) for v in frame.trainable_variables)
    context = np.random.default_rng(0).normal(size=6)
    events, previous = [60, 52, END], [58, END, 30]
    expected, before = [], np.zeros(4)
    for k, event in enumerate(events):
        x = (context @ w + b)[4 * k : 4 * k + 4] + before
        hidden = np.array(tf.nn.gelu(x))
        logits = hidden @ u[k] + c[k]
        motion, spacing = np.split(hidden @ i[k], 2)
        for centre, values in ((previous[k], motion), (events[k - 1] if k else END, spacing)):
            for key in range(88):
                if centre != END and abs(key - centre) <= 7:
                    logits[key] += values[key - centre + 7]
        allowed = [True] * 89 if k == 0 else [key < events[k - 1] for key in range(88)] + [True]
        logits = np.where(allowed, logits, -np.inf)
        expected.append(logits[event] - np.log(np.exp(logits).sum()))
        before = before + e[min(k, 1)][event]
    got = frame.log_prob(
        tf.constant(context[None], tf.float32), tf.constant(events)[None], previous=tf.constant([previous])
    )[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frame", [ChainedVoices(4), IndependentNotes()], ids=["chained", "independent"])
def test_events_and_pianoroll_are_inverse(frame, rolls):
    events, dropped = frame.events(rolls[0])
    np.testing.assert_array_equal(frame.pianoroll(events), rolls[0])
    assert not dropped.numpy().any()
    assert events.dtype == tf.int32


def test_what_does_not_fit_is_counted_from_the_bottom():
    roll = np.zeros((2, KEYS), bool)
    roll[0, [10, 20, 30, 40]] = True
    events, dropped = ChainedVoices(3).events(roll)
    np.testing.assert_array_equal(events, [[40, 30, 20], [END, END, END]])
    np.testing.assert_array_equal(dropped, [1, 0])


def test_events_that_do_not_descend_are_impossible():
    frame = made(ChainedVoices(3, units=4))
    context = np.zeros((3, 6), np.float32)
    log_p = tf.reduce_sum(frame.log_prob(context, np.array([[3, 7, END], [7, 7, END], [7, END, 3]])), -1)
    assert np.all(log_p.numpy() < -1e8)


def test_after_the_end_nothing_costs_anything():
    frame = made(ChainedVoices(4, units=4))
    log_p = frame.log_prob(np.ones((1, 6), np.float32), np.array([[50, END, END, END]])).numpy()
    assert np.all(log_p[0, :2] < 0)
    np.testing.assert_array_equal(log_p[0, 2:], [0, 0])


@pytest.mark.parametrize("frame", [ChainedVoices(2, units=5), IndependentNotes()], ids=["chained", "independent"])
def test_samples_are_as_probable_as_they_say(frame):
    made(frame)
    context = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    draw = frame.sample(context, seed=SEED)
    assert draw.events.shape == (4, 5, frame.voices)
    np.testing.assert_allclose(
        draw.log_q, tf.reduce_sum(frame.log_prob(context, draw.events), -1), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(draw.log_given, np.zeros((4, 5)))


def test_samples_come_as_often_as_they_should():
    frame = made(ChainedVoices(2, units=5), seed=3)
    context = np.tile(np.random.default_rng(1).normal(size=6).astype(np.float32), (20000, 1))
    drawn = frame.sample(context, seed=SEED).events.numpy()
    events = all_sets(2)
    p = np.exp(frame.log_prob(np.tile(context[:1], (len(events), 1)), events).numpy().sum(-1))
    common = np.argsort(-p)[:20]
    for row, probability in zip(events[common], p[common], strict=True):
        seen = np.all(drawn == row, -1).mean()
        assert abs(seen - probability) < 5 * np.sqrt(probability / 20000)


@pytest.mark.parametrize("frame", [ChainedVoices(3, units=5), IndependentNotes()], ids=["chained", "independent"])
def test_a_given_prefix_is_kept_and_scored(frame):
    made(frame)
    context = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    given = np.full((50, frame.voices), -1)
    given[:, 0] = 60
    given[:10, 1] = END
    draw = frame.sample(context, given=tf.constant(given, tf.int32), seed=SEED)
    events = draw.events.numpy()
    assert np.all(events[:, 0] == 60)
    assert np.all(events[:10, 1] == END)
    assert np.any(events[10:, 1] != END)
    # What was drawn and what was given together are the frame.
    total = tf.reduce_sum(frame.log_prob(context, draw.events), -1)
    np.testing.assert_allclose(draw.log_q + draw.log_given, total, rtol=1e-4, atol=1e-4)
    assert np.all(draw.log_given.numpy() < 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [([40, 50, -1], "descend"), ([END, 40, -1], "descend"), ([95, -1, -1], "0 to 88"), ([-5, -1, -1], "0 to 88")],
)
def test_given_events_must_be_events(given, message):
    with pytest.raises(ValueError, match=message):
        ChainedVoices(3).check_given(tf.constant([given]))
    ChainedVoices(3).check_given(tf.constant([[40, END, END], [40, 30, -1], [-1, -1, -1], [END, -1, -1]]))


@pytest.mark.parametrize("frame", [ChainedVoices(3, units=5), IndependentNotes()], ids=["chained", "independent"])
def test_only_a_prefix_can_be_given(frame):
    made(frame)
    given = np.full((1, frame.voices), -1)
    given[0, 1] = 40
    with pytest.raises(ValueError, match=r"only a prefix .* Received: given"):
        frame.sample(np.zeros((1, 6), np.float32), given=tf.constant(given, tf.int32), seed=SEED)


def test_temperature_and_top_p():
    logits = tf.math.log([[0.5, 0.3, 0.15, 0.05]])
    np.testing.assert_allclose(tf.exp(temper(logits, 1.0, 1.0)), [[0.5, 0.3, 0.15, 0.05]], rtol=1e-5)
    np.testing.assert_allclose(tf.exp(temper(logits, 1.0, 0.7)), [[0.625, 0.375, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(tf.exp(temper(logits, 1.0, 0.01)), [[1, 0, 0, 0]], rtol=1e-5)
    masked = tf.constant([[1.0, -1e9, 2.0]])
    assert tf.exp(temper(masked, 1e9, 1.0))[0, 1] == 0
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(tf.exp(temper(logits, 0.5, 1.0))[0], squares / squares.sum(), rtol=1e-5)


@pytest.mark.parametrize("frame", [ChainedVoices(3, units=5), IndependentNotes()], ids=["chained", "independent"])
def test_relaxed_is_hard_forward_and_soft_backward(frame):
    made(frame)
    context = tf.Variable(np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32))
    with tf.GradientTape() as tape:
        roll = frame.relaxed(context, temperature=0.8, seed=SEED)
        loss = tf.reduce_sum(roll * tf.range(88.0))
    assert roll.shape == (7, 88)
    np.testing.assert_allclose(roll, np.round(roll), atol=1e-6)
    assert float(tf.reduce_max(roll)) == pytest.approx(1)
    gradient = tape.gradient(loss, context)
    assert np.all(np.abs(gradient.numpy()).sum(-1) > 0)


def test_relaxed_draws_what_sample_draws():
    frame = made(ChainedVoices(3, units=5))
    context = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    sampled = frame.pianoroll(frame.sample(context, seed=SEED).events)
    np.testing.assert_allclose(frame.relaxed(context, seed=SEED), sampled, atol=1e-6)


def test_a_frame_has_one_to_88_voices():
    with pytest.raises(ValueError, match="voices=0"):
        ChainedVoices(0)
