"""Frame distributions: normalised by enumeration, sampled as they score, given what is given."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from bachkeras import models
from bachkeras.data.pipeline import from_arrays
from bachkeras.layers.frame import ChainedVoices, IndependentNotes
from bachkeras.layers.frame.base import END, FREE, Sounding, multi_hot, temper, transpose
from bachkeras.layers.frame.tonality import Tonality
from bachkeras.music.pianoroll import KEYS

SEED = tf.constant([1, 2])
FRAMES = {
    "chained": lambda: ChainedVoices(2, units=5),
    "onsets": lambda: ChainedVoices(2, units=5, onsets=True),
    "labelled": lambda: ChainedVoices(3, units=5, labelled=True),
    "labelled, onsets": lambda: ChainedVoices(3, units=5, labelled=True, onsets=True),
    "counterpoint": lambda: ChainedVoices(3, units=5, labelled=True, counterpoint=True),
    "independent": IndependentNotes,
}


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


def all_columns(voices):
    """Every frame of labelled voices, int32 (89^voices, voices)."""
    return np.array(list(itertools.product(range(END + 1), repeat=voices)), np.int32)


@pytest.mark.parametrize("previous", [None, [40, 40], [40, END], [END, END], [30, 50], [40, FREE]])
def test_labelled_voices_sum_to_one_over_all_columns(previous):
    """Unisons, crossings and rests among them."""
    frame = made(ChainedVoices(2, units=5, labelled=True))
    assert total_probability(frame, all_columns(2), previous) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("labelled", [False, True], ids=["sets", "columns"])
@pytest.mark.parametrize("previous", [None, [40, 30], [40, END], [40, FREE], [FREE, FREE]])
def test_with_counterpoint_they_sum_to_one(labelled, previous):
    frame = made(ChainedVoices(2, units=5, labelled=labelled, counterpoint=True))
    assert total_probability(frame, all_columns(2) if labelled else all_sets(2), previous) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("labelled", [False, True], ids=["sets", "columns"])
@pytest.mark.parametrize("previous", [None, [40, 30], [40, END], [END, END], [40, FREE], [FREE, FREE]])
def test_with_onsets_they_sum_to_one_over_all_strokes_too(labelled, previous):
    """Each frame with every choice of struck and held, the impossible ones included."""
    frame = made(ChainedVoices(2, units=5, labelled=labelled, onsets=True))
    events = all_columns(2) if labelled else all_sets(2)
    total = 0.0
    for onsets in itertools.product([False, True], repeat=2):
        total += total_probability(frame, events, previous, np.tile(onsets, (len(events), 1)))
    assert total == pytest.approx(1, abs=1e-4)


def total_probability(frame, events, previous, onsets=None):
    context = np.tile(np.random.default_rng(0).normal(size=6).astype(np.float32), (len(events), 1))
    if previous is not None:
        previous = np.tile(np.array(previous, np.int32), (len(events), 1))
    log_p = frame.log_prob(context, events, onsets, previous=previous)
    return float(tf.reduce_sum(tf.exp(tf.reduce_sum(tf.cast(log_p, tf.float64), -1))))


def test_a_new_note_is_struck_and_a_rest_is_not():
    frame = made(ChainedVoices(3, units=5, labelled=True, onsets=True))
    previous = tf.constant([[40, 50, END]])
    for events, onsets, possible in (
        ([40, 50, END], [False, True, False], True),
        ([40, 52, END], [True, True, False], True),
        ([50, 40, END], [True, True, False], True),  # The voices cross: each has a new note.
        ([50, 40, END], [False, True, False], False),
        ([40, 50, END], [False, False, True], False),  # A stroke in a rest.
        ([40, 50, 60], [False, False, False], False),
    ):
        log_p = frame.log_prob(
            np.zeros((1, 6), np.float32), tf.constant([events]), tf.constant([onsets]), previous=previous
        )
        assert (float(tf.reduce_sum(log_p)) > -1e8) == possible, (events, onsets)
    unlabelled = made(ChainedVoices(3, units=5, onsets=True))
    sinks = tf.constant([[50, 40, END]])  # It was the highest note, now it is the second.
    log_p = unlabelled.log_prob(
        np.zeros((1, 6), np.float32), tf.constant([[60, 50, END]]), tf.constant([[True, False, False]]), previous=sinks
    )
    assert float(tf.reduce_sum(log_p)) > -1e8


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_of_a_past_that_is_not_known_there_is_no_feature(make):
    """Nothing moves from it: a frame is as probable as without a frame before."""
    frame = made(make())
    unknown = tf.fill((20, frame.voices), FREE)
    assert not np.any(frame.features(Sounding(unknown, tf.zeros_like(unknown, tf.bool), tf.zeros_like(unknown))))
    context = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    draw, other = (frame.sample(context, previous=previous, seed=SEED) for previous in (unknown, None))
    np.testing.assert_array_equal(draw.events, other.events)
    log_p = [frame.log_prob(context, draw.events, draw.onsets, previous=previous) for previous in (unknown, None)]
    np.testing.assert_array_equal(log_p[0], log_p[1])
    np.testing.assert_allclose(draw.log_q, tf.reduce_sum(log_p[0], -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("held", [0, 3])
def test_of_a_known_past_there_are_features(held):
    """The same features as of one whose other voice is not known, but for what is that voice's."""
    frame = ChainedVoices(2, labelled=True, onsets=True, held=held)
    known, part = (
        frame.features(Sounding(tf.constant([events]), tf.constant([[True, struck]]), tf.constant([[5, length]])))
        for events, struck, length in (([50, 40], True, 2), ([50, FREE], False, 0))
    )
    size = (frame.feature_size - KEYS) // 2
    np.testing.assert_array_equal(known[0, KEYS : KEYS + size], part[0, KEYS : KEYS + size])
    assert np.flatnonzero(part[0, :KEYS]).tolist() == [50]
    assert not np.any(part[0, KEYS + size :])
    assert np.sum(known[0, KEYS + size :]) == (3 if held else 2)


def test_a_voice_that_is_not_known_makes_no_motion_and_no_parallels():
    """As one that rests makes none; its note may have been struck or held."""
    plain, strokes = (
        made(ChainedVoices(3, units=5, labelled=True, counterpoint=True, onsets=onsets)) for onsets in (False, True)
    )
    random = np.random.default_rng(0)
    context, events = random.normal(size=(50, 6)).astype(np.float32), random.integers(40, 50, (50, 3))
    unknown, rest, others = (tf.tile([[44, event, 47]], (50, 1)) for event in (FREE, END, 43))
    log_p = [plain.log_prob(context, events, previous=previous) for previous in (unknown, rest, others)]
    np.testing.assert_array_equal(log_p[0], log_p[1])
    assert np.all(np.any(np.abs(log_p[0] - log_p[2]) > 1e-4, 0)[1:])
    for struck in itertools.product([False, True], repeat=3):
        log_p = strokes.log_prob(context, events, tf.tile([struck], (50, 1)), previous=unknown).numpy()
        possible = np.array(struck) | (events == [44, -2, 47]) | [False, True, False]
        np.testing.assert_array_equal(log_p > -1e8, possible)


def test_an_unlabelled_note_may_be_held_where_one_is_not_known():
    frame = made(ChainedVoices(2, units=5, onsets=True))
    for previous, possible in (([50, 40], False), ([50, FREE], True), ([50, END], False)):
        log_p = frame.log_prob(
            np.zeros((1, 6), np.float32),
            tf.constant([[60, 45]]),
            tf.constant([[True, False]]),
            previous=tf.constant([previous]),
        )
        assert (float(log_p[0, 1]) > -1e8) == possible


def test_events_are_transposed():
    """What leaves the keyboard ends."""
    events = tf.constant([[87, 40, END, 0], [3, 2, 1, END]])
    assert transpose(events, 1).numpy().tolist() == [[END, 41, END, 1], [4, 3, 2, END]]
    assert transpose(events, tf.constant([[0], [-2]])).numpy().tolist() == [[87, 40, END, 0], [1, 0, END, END]]


@pytest.mark.parametrize("labelled", [False, True], ids=["sets", "columns"])
def test_frames_are_followed_through_time(labelled):
    """Onsets and lengths against a loop in Python; the first frame counts as new."""
    frame = ChainedVoices(3, labelled=labelled, onsets=True, held=4)
    random = np.random.default_rng(0)
    events = (
        random.integers(30, 34, (50, 3))
        if labelled
        else -np.sort(-random.permuted(np.tile([*range(30, 35)], (50, 1)), axis=1)[:, :3])
    )
    events[random.random((50, 3)) < (0.2 if labelled else 0)] = END
    told = random.random((50, 3)) < 0.2
    last = frame.silence(1)
    last = last._replace(events=tf.constant(events[None, 0], tf.int32))
    held = {k if labelled else events[0, k]: 1 for k in range(3)}
    for t in range(1, 50):
        last = frame.follow(last, tf.constant(events[None, t], tf.int32), tf.constant(told[None, t]))
        now = {}
        for k, event in enumerate(events[t]):
            name = k if labelled else event
            stays = event == events[t - 1, k] if labelled else event in events[t - 1]
            begins = bool(told[t, k]) or not stays
            now[name] = 1 if begins else held[name] + 1
            assert last.held[0, k] == now[name]
            assert last.onsets[0, k] == (begins and event != END)
        held = now
    assert frame.features(last).shape == (1, frame.feature_size)


@pytest.mark.parametrize("labelled", [False, True], ids=["sets", "columns"])
def test_a_whole_sequence_is_read_as_frame_by_frame(labelled, parts):
    frame = ChainedVoices(4, labelled=labelled, onsets=True, held=3)
    columns, onsets = parts[0]
    roll = frame.pianoroll(columns).numpy()
    struck = frame.pianoroll(np.where(onsets, columns, END)).numpy() > 0.5
    music = {"pianoroll": roll[None], "onsets": struck[None], "voices": columns[None], "voice_onsets": onsets[None]}
    events, strokes, dropped = frame.events(music)
    sounding = frame.read(music | {"onsets": 0 * struck[None], "voice_onsets": 0 * onsets[None]})  # No stroke is told.
    last = frame.silence(1)._replace(events=events[:, 0])
    for t in range(1, len(columns)):
        last = frame.follow(last, events[:, t], tf.zeros_like(strokes[:, t]))
        for part, whole in zip(last, sounding, strict=True):
            np.testing.assert_array_equal(part, whole[:, t])
    new = columns[1:] != columns[:-1]
    if labelled:
        np.testing.assert_array_equal(sounding.onsets[0, 1:], new & (columns[1:] != END))
    np.testing.assert_array_equal(frame.pianoroll(events)[0], roll)
    np.testing.assert_array_equal(frame.pianoroll(tf.where(strokes, events, END))[0] > 0.5, struck)
    assert not dropped.numpy().any()


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
    log_p = frame.log_prob(context, frame.events({"pianoroll": rolls})[0]).numpy()
    total = np.exp(log_p.sum(-1, dtype=np.float64)).sum()
    others = np.delete(log_p[0], range(40, 50)).sum(dtype=np.float64)
    assert total == pytest.approx(np.exp(others), rel=1e-4)


def test_labelled_voices_with_onsets_against_numpy():
    """Two voices: the first is held or struck again, the second moves; strokes reach the later head."""
    frame = made(ChainedVoices(2, units=4, reach=7, labelled=True, onsets=True))
    w, b, e, u, i, c, sk, sb, s = (keras.ops.convert_to_numpy(v).astype(np.float64) for v in frame.trainable_variables)
    context = np.random.default_rng(0).normal(size=6)
    previous, events = [50, 40], [50, 60]
    for struck in (False, True):
        expected, before = [], np.zeros(4)
        for k, event in enumerate(events):
            hidden = np.array(tf.nn.gelu((context @ w + b)[4 * k : 4 * k + 4] + before))
            logits = hidden @ u[k] + c[k]
            motion, spacing = np.split(hidden @ i[k], 2)
            for centre, values in ((previous[k], motion), (events[0] if k else END, spacing)):
                for key in range(88):
                    if centre != END and abs(key - centre) <= 7:
                        logits[key] += values[key - centre + 7]
            log_p = logits[event] - np.log(np.exp(logits).sum())
            if k == 0:
                p = 1 / (1 + np.exp(-(hidden @ sk[0, :, 0] + sb[0, event])))
                log_p += np.log(p if struck else 1 - p)
                before = before + e[0, event] + struck * s[0]
            expected.append(log_p)
        got = frame.log_prob(
            tf.constant(context[None], tf.float32),
            tf.constant([events]),
            tf.constant([[struck, True]]),
            previous=tf.constant([previous]),
        )
        np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize(
    ("previous", "events"),
    [
        ([58, 51, 30], [60, 53, 35]),  # The first two go up together, a fifth apart.
        ([58, 51, 30], [58, 51, 35]),  # They stay, the third one moves.
        ([58, END, 30], [60, END, 36]),  # A rest makes no interval; the outer ones go from a tenth to an octave.
        ([48, 60, 36], [50, 62, 38]),  # Crossed voices, all an octave apart.
    ],
)
def test_counterpoint_against_numpy(previous, events):
    """The docstring's equations, written out, on top of the same distribution without them."""
    frame = made(ChainedVoices(3, units=4, reach=7, labelled=True, counterpoint=True))
    plain = made(ChainedVoices(3, units=4, reach=7, labelled=True))
    weights = {v.name: keras.ops.convert_to_numpy(v).astype(np.float64) for v in frame.trainable_variables}
    for variable in plain.trainable_variables:
        variable.assign(weights[variable.name])
    context = np.random.default_rng(0).normal(size=6)
    one = {"context": tf.constant(context[None], tf.float32), "previous": tf.constant([previous])}
    expected, before = [], np.zeros(4)
    for k, event in enumerate(events):
        everything = [[*events[:k], e, *[END] * (2 - k)] for e in range(89)]
        logits = np.array(
            [plain.log_prob(one["context"], tf.constant([e]), previous=one["previous"])[0, k] for e in everything]
        ).astype(np.float64)
        hidden = np.array(
            tf.nn.gelu((context @ weights["context_kernel"] + weights["context_bias"])[4 * k : 4 * k + 4] + before)
        )
        values = np.split(hidden @ weights[f"counterpoint_kernel_{k}"], 2 * k) if k else []
        for j in range(k):
            for e in range(88):
                interval = (e - events[j]) % 12
                if events[j] != END:
                    logits[e] += values[j][interval]
                kept = (previous[k] - previous[j]) % 12
                sounding = END not in (events[j], previous[j], previous[k])
                if sounding and interval == kept and (events[j] - previous[j]) % 12:
                    logits[e] += values[k + j][kept]
        expected.append(logits[event] - np.log(np.exp(logits).sum()))
        before = before + weights["emitted"][min(k, 1)][event]
    got = frame.log_prob(one["context"], tf.constant([events]), previous=one["previous"])[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_tonality_against_numpy(mode):
    """The docstring's equation, written out, on top of the same distribution without it; D is the tonic."""
    frame = made(ChainedVoices(2, units=4, reach=7, labelled=True, tonality=True))
    plain = made(ChainedVoices(2, units=4, reach=7, labelled=True))
    weights = {v.name: keras.ops.convert_to_numpy(v).astype(np.float64) for v in frame.trainable_variables}
    for variable in plain.trainable_variables:
        variable.assign(weights[variable.name])
    context, events = np.random.default_rng(0).normal(size=6), [60, 53]
    one, expected, before = tf.constant(context[None], tf.float32), [], np.zeros(4)
    for k, event in enumerate(events):
        everything = [[*events[:k], e, *[END] * (1 - k)] for e in range(89)]
        logits = np.array([plain.log_prob(one, tf.constant([e]))[0, k] for e in everything]).astype(np.float64)
        pre = (context @ weights["context_kernel"] + weights["context_bias"])[4 * k : 4 * k + 4] + before
        degrees = np.array(tf.nn.gelu(pre)) @ weights["degree_kernel"][k] + weights["degree_bias"][k, mode]
        for e in range(88):
            logits[e] += degrees[(e + 21 - 2) % 12]  # Key 0 is the pitch 21, an A.
        expected.append(logits[event] - np.log(np.exp(logits).sum()))
        before = before + weights["emitted"][0][event]
    key = Tonality(tf.constant([2]), tf.constant([mode]))
    np.testing.assert_allclose(frame.log_prob(one, tf.constant([events]), key=key)[0], expected, rtol=1e-4, atol=1e-4)
    for unknown in (None, Tonality(tf.constant([12]), tf.constant([mode]))):
        np.testing.assert_array_equal(
            frame.log_prob(one, tf.constant([events]), key=unknown), plain.log_prob(one, tf.constant([events]))
        )


@pytest.mark.parametrize("frame", [ChainedVoices(4), IndependentNotes()], ids=["chained", "independent"])
def test_events_and_pianoroll_are_inverse(frame, rolls):
    events, _, dropped = frame.events({"pianoroll": rolls[0]})
    np.testing.assert_array_equal(frame.pianoroll(events), rolls[0])
    assert not dropped.numpy().any()
    assert events.dtype == tf.int32


def test_what_does_not_fit_is_counted_from_the_bottom():
    roll = np.zeros((2, KEYS), bool)
    roll[0, [10, 20, 30, 40]] = True
    events, _, dropped = ChainedVoices(3).events({"pianoroll": roll})
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


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_samples_are_as_probable_as_they_say(make):
    frame = made(make())
    context = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    draw = frame.sample(context, seed=SEED)
    assert draw.events.shape == (4, 5, frame.voices)
    assert (draw.onsets is not None) == frame.onsets
    log_p = frame.log_prob(context, draw.events, draw.onsets)
    np.testing.assert_allclose(draw.log_q, tf.reduce_sum(log_p, -1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(draw.log_given, np.zeros((4, 5)))


def test_strokes_come_as_often_as_they_should():
    frame = made(ChainedVoices(1, units=5, labelled=True, onsets=True), seed=3)
    context = np.tile(np.random.default_rng(1).normal(size=6).astype(np.float32), (20000, 1))
    previous, given = tf.fill([20000, 1], 40), tf.fill([20000, 1], 40)
    draw = frame.sample(context, previous=previous, given=given, seed=SEED)
    p = np.exp(frame.log_prob(context[:1], given[:1], tf.constant([[True]]), previous=previous[:1]).numpy().sum())
    p /= p + np.exp(frame.log_prob(context[:1], given[:1], tf.constant([[False]]), previous=previous[:1]).numpy().sum())
    assert 0.02 < p < 0.98
    assert abs(draw.onsets.numpy().mean() - p) < 5 * np.sqrt(p * (1 - p) / 20000)


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


def some_allowed(frame):
    """Other notes for each labelled voice, the same ones for all ranks of a set."""
    allowed = np.zeros((frame.voices, END + 1), bool)
    for k in range(frame.voices):
        allowed[k, 30 + 5 * k * frame.labelled : 50 - 3 * k * frame.labelled : 2] = True
    return allowed


CHAINED = [name for name in FRAMES if name != "independent"]


@pytest.mark.parametrize("tempered", [{}, {"temperature": 0.7, "top_p": 0.8}], ids=["", "tempered"])
@pytest.mark.parametrize("name", CHAINED)
def test_what_is_allowed_is_given(name, tempered):
    """Its probability is the mass inside, at each head by enumeration of what this might emit."""
    frame = made(FRAMES[name]())
    random = np.random.default_rng(0)
    context, allowed = random.normal(size=(30, 6)).astype(np.float32), some_allowed(frame)
    previous = tf.tile([[50, 42, 36][: frame.voices]], (30, 1))
    draw = frame.sample(context, previous=previous, allowed=tf.constant(allowed), seed=SEED, **tempered)
    events = draw.events.numpy()
    inside = allowed | (np.arange(END + 1) == END)
    assert all(inside[k, events[:, k]].all() for k in range(frame.voices))
    assert len(np.unique(events[:, 0])) > 3
    log_given = np.zeros(30)
    for k in range(frame.voices):
        terms = []
        for event, struck in itertools.product(np.flatnonzero(inside[k]), [False, True] if frame.onsets else [None]):
            changed = np.concatenate([events[:, :k], np.full((30, 1), event), np.full_like(events[:, k + 1 :], END)], 1)
            strokes = None
            if frame.onsets:
                strokes = draw.onsets.numpy().copy()
                strokes[:, k] = struck
            terms.append(frame.log_prob(context, changed, strokes, previous=previous).numpy()[:, k])
        log_given += logsumexp(terms, axis=0)
    np.testing.assert_allclose(draw.log_given, log_given, rtol=1e-4, atol=1e-5)
    assert np.all(log_given < -0.01)
    if not tempered:  # What was drawn and what was given together are the frame.
        total = tf.reduce_sum(frame.log_prob(context, draw.events, draw.onsets, previous=previous), -1)
        np.testing.assert_allclose(draw.log_q + draw.log_given, total, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("labelled", [False, True], ids=["sets", "columns"])
def test_allowed_events_come_as_often_as_they_should(labelled):
    frame = made(ChainedVoices(2, units=5, labelled=labelled), seed=3)
    context = np.tile(np.random.default_rng(1).normal(size=6).astype(np.float32), (20000, 1))
    draw = frame.sample(context, allowed=tf.constant(some_allowed(frame)), seed=SEED)
    rows, first, seen = np.unique(draw.events.numpy(), axis=0, return_index=True, return_counts=True)
    common = np.argsort(-seen)[:20]
    p = np.exp(draw.log_q.numpy()[first[common]])
    assert len(rows) > 20
    assert np.all(np.abs(seen[common] / 20000 - p) < 5 * np.sqrt(p / 20000))


def test_a_voice_that_may_sing_nothing_rests_and_what_is_given_stays():
    frame = made(ChainedVoices(3, units=5, labelled=True))
    context = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    given = tf.tile([[FREE, 70, FREE]], (20, 1))
    draw = frame.sample(context, given=given, allowed=tf.zeros((3, END + 1), tf.bool), seed=SEED)
    np.testing.assert_array_equal(draw.events, np.tile([END, 70, END], (20, 1)))
    np.testing.assert_allclose(draw.log_given, tf.reduce_sum(frame.log_prob(context, draw.events), -1), rtol=1e-4)
    np.testing.assert_allclose(draw.log_q, np.zeros(20), atol=1e-6)


@pytest.mark.parametrize("top", [FREE, 45, 46])
def test_of_keys_that_are_not_allowed_it_is_given_that_they_are_silent(top):
    """The given note stays whether it is allowed or not (45 is not); above it all is settled."""
    frame = made(IndependentNotes())
    context = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    given = np.full((50, KEYS), FREE)
    given[:, 0] = top
    allowed = some_allowed(frame)
    draw = frame.sample(context, given=tf.constant(given, tf.int32), allowed=tf.constant(allowed), seed=SEED)
    roll = frame.pianoroll(draw.events).numpy() > 0.5
    free = allowed[0, :KEYS] & (np.arange(KEYS) < (KEYS if top == FREE else top))
    assert np.all(roll[:, ~free] == (np.flatnonzero(~free) == top))
    assert 0 < roll[:, free].mean() < 1
    log_p = frame.log_prob(context, draw.events).numpy()
    np.testing.assert_allclose(draw.log_given, log_p[:, ~free].sum(-1), rtol=1e-4)
    np.testing.assert_array_equal(draw.log_prefix, draw.log_given)
    np.testing.assert_allclose(draw.log_q, log_p[:, free].sum(-1), rtol=1e-4, atol=1e-5)


def test_a_window_in_the_middle_of_a_piece_knows_the_frame_before(parts):
    """Its first frame is as probable as by hand from the frame before, whose notes count as new."""
    model = models.LSTMAttention(
        6, layers=1, attention_heads=0, frame=ChainedVoices(units=5, labelled=True, onsets=True, held=3)
    )
    model.build()
    columns, onsets = parts[1]
    roll = multi_hot(columns).numpy()
    corpus = from_arrays([roll], voices=[columns], voice_onsets=[onsets])
    batch = next(iter(corpus.windows(3, shuffle=False).batch(9)))
    context, _ = model.step(
        model.start({name: batch[name][1:2] for name in ("tonic", "mode", "timestep", "position")}),
        model.frame.features(Sounding(columns[None, 2], tf.constant(onsets[None, 2]), tf.ones((1, 4), tf.int32))),
    )
    now = tf.constant(columns[None, 3], tf.int32), tf.constant(onsets[None, 3])
    by_hand = model.frame.log_prob(context, *now, previous=tf.constant(columns[None, 2], tf.int32))
    np.testing.assert_allclose(model(batch)["frame"][1, 0], tf.reduce_sum(by_hand), rtol=1e-5)


def test_any_labelled_voice_can_be_given():
    frame = made(ChainedVoices(3, units=5, labelled=True, onsets=True))
    context = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    given = np.tile(np.array([-1, 70, END], np.int32), (50, 1))  # Above the voice over it, and a rest.
    draw = frame.sample(context, given=tf.constant(given), seed=SEED)
    assert np.all(draw.events.numpy()[:, 1:] == given[:, 1:])
    assert len(np.unique(draw.events.numpy()[:, 0])) > 5
    total = tf.reduce_sum(frame.log_prob(context, draw.events, draw.onsets), -1)
    np.testing.assert_allclose(draw.log_q + draw.log_given, total, rtol=1e-4, atol=1e-4)
    for wrong in (89, -2):
        with pytest.raises(ValueError, match="0 to 88"):
            frame.check_given(tf.constant([[wrong, 3, 3]]))


def test_given_strokes_are_kept_where_they_can_be():
    """A given note that is new is struck, a rest is not, and of a free voice a stroke says nothing."""
    frame = made(ChainedVoices(4, units=5, labelled=True, onsets=True))
    context = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    previous, given = (tf.tile([row], (200, 1)) for row in ([70, 60, 50, 40], [70, 61, END, FREE]))
    for told in (True, False):
        draw = frame.sample(context, previous=previous, given=given, given_onsets=tf.fill((200, 4), told), seed=SEED)
        struck, free = draw.onsets.numpy(), draw.events.numpy()[:, 3]
        assert np.all(struck[:, :3] == [told, True, False])
        np.testing.assert_array_equal(struck[:, 3][free != 40], free[free != 40] != END)
        log_p = frame.log_prob(context, draw.events, draw.onsets, previous=previous)
        # Of the strokes too: all but the last voice is given.
        np.testing.assert_allclose(draw.log_given, tf.reduce_sum(log_p[:, :3], -1), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(draw.log_q, log_p[:, 3], rtol=1e-4, atol=1e-4)


def test_a_stroke_of_a_free_voice_is_drawn_whatever_was_told():
    frame = made(ChainedVoices(1, units=5, labelled=True, onsets=True), seed=3)
    frame.head_bias.assign(20.0 * tf.one_hot([40], END + 1))  # It stays.
    context = np.random.default_rng(1).normal(size=(100, 6)).astype(np.float32)
    draws = [
        frame.sample(
            context,
            previous=tf.fill((100, 1), 40),
            given=tf.fill((100, 1), FREE),
            given_onsets=None if told is None else tf.fill((100, 1), told),
            seed=SEED,
        ).onsets.numpy()
        for told in (None, False, True)
    ]
    assert 0 < draws[0].mean() < 1
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_the_prefix_is_what_is_given_before_the_first_free_event(make):
    """It is known before anything is drawn: another seed does not change it."""
    frame = made(make())
    context = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    previous = tf.fill((4, frame.voices), END)
    given = np.full((4, frame.voices), FREE, np.int32)
    given[1:, 0], given[2:, 1] = 50, END
    if frame.labelled:
        given[3] = [50, FREE, 40]
    struck = tf.fill((4, frame.voices), True) if frame.onsets else None
    keep = {"previous": previous, "given": tf.constant(given), "given_onsets": struck}
    draw, other = (frame.sample(context, **keep, seed=seed) for seed in (SEED, SEED + 7))
    assert np.any(draw.events != other.events)
    np.testing.assert_array_equal(draw.log_prefix, other.log_prefix)
    if isinstance(frame, IndependentNotes):
        np.testing.assert_array_equal(draw.log_prefix, draw.log_given)
        return
    log_p = frame.log_prob(context, draw.events, draw.onsets, previous=previous).numpy()
    leading = np.cumprod(given != FREE, -1)
    np.testing.assert_allclose(draw.log_prefix, (leading * log_p).sum(-1), rtol=1e-4, atol=1e-5)
    assert leading.sum(-1).tolist() == [0, 1, min(2, frame.voices), 1 if frame.labelled else 2]
    if frame.labelled:
        np.testing.assert_allclose(draw.log_given[3] - draw.log_prefix[3], log_p[3, 2], rtol=1e-4)


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


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_relaxed_is_hard_forward_and_soft_backward(make):
    frame = made(make())
    context = tf.Variable(np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32))
    with tf.GradientTape() as tape:
        notes = frame.relaxed(context, temperature=0.8, seed=SEED)
        loss = tf.reduce_sum(notes * tf.range(88.0))
    assert notes.shape == (7, frame.lines, 88)
    np.testing.assert_allclose(notes, np.round(notes), atol=1e-6)
    assert float(tf.reduce_max(notes)) == pytest.approx(1)
    gradient = tape.gradient(loss, context)
    assert np.all(np.abs(gradient.numpy()).sum(-1) > 0)


def test_relaxed_draws_what_sample_draws():
    frame = made(ChainedVoices(3, units=5))
    context = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    sampled = frame.notes(frame.sample(context, seed=SEED).events)
    np.testing.assert_allclose(frame.relaxed(context, seed=SEED), sampled, atol=1e-6)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_relaxed_gives_back_the_frame_that_was_drawn(make):
    frame = made(make())
    context = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    events = frame.sample(context, seed=SEED).events
    notes = frame.relaxed(context, given=events, seed=tf.constant([8, 9]))
    np.testing.assert_allclose(notes, frame.notes(events), atol=1e-6)
    np.testing.assert_array_equal(np.max(np.round(notes), -2), frame.pianoroll(events))


@pytest.mark.parametrize(
    "make", [lambda: ChainedVoices(2, units=5, reach=3), IndependentNotes], ids=["chained", "keys"]
)
def test_the_gradient_through_a_known_draw_is_on_average_that_of_a_new_one(make):
    """Frames drawn first and the noise after: the same distribution as noise drawn first."""
    frame = made(make())
    context = tf.Variable(np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32))

    def gradient(given, seed):
        with tf.GradientTape() as tape:
            many = tf.repeat(context, 20000, 0)
            known = frame.sample(many, seed=tf.constant([1, seed])).events if given else None
            notes = frame.relaxed(many, given=known, temperature=0.7, seed=tf.constant([2, seed]))
            loss = tf.reduce_mean(tf.reduce_sum(notes * tf.sin(tf.range(88.0)), [-2, -1]))
        return tape.gradient(loss, context)[0].numpy()

    new, known = ([gradient(given, seed) for seed in range(4)] for given in (False, True))
    spread = np.std(new, 0).max() + np.std(known, 0).max()
    np.testing.assert_allclose(np.mean(new, 0), np.mean(known, 0), atol=2 * spread)
    assert spread < 0.3 * np.abs(np.mean(new, 0)).max()


def test_what_cannot_be_read_is_refused(rolls):
    with pytest.raises(ValueError, match="read from `voices`"):
        ChainedVoices(labelled=True).events({"pianoroll": rolls[0]})
    with pytest.raises(ValueError, match=r"3 labelled voices\. Received: voices=4"):
        ChainedVoices(labelled=True).events({"voices": np.zeros((5, 3), np.int32)})
    for frame in (ChainedVoices(), IndependentNotes()):
        with pytest.raises(ValueError, match="read from `pianoroll`"):
            frame.events({"voices": np.zeros((5, 4), np.int32)})
    with pytest.raises(ValueError, match="onsets=None"):
        made(ChainedVoices(1, units=3, onsets=True)).log_prob(np.zeros((1, 6), np.float32), np.array([[3]]))
    with pytest.raises(ValueError, match="held=-1"):
        ChainedVoices(held=-1)


def test_a_frame_has_one_to_88_voices():
    with pytest.raises(ValueError, match="voices=0"):
        ChainedVoices(0)
