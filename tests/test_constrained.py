"""Writing around what is given, against enumeration: every way to fill what is free, and how probable each one is."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from bachkeras.generation import constrained
from bachkeras.layers.frame import ChainedVoices
from bachkeras.layers.frame.base import END, FREE
from bachkeras.models import LSTMAttention

TOLD = {"tonic": 2, "mode": 1, "timestep": 4}
PIECE = np.array([[50, 38], [50, 38], [52, END], [50, 38]])
STROKES = np.array([[True, True], [False, True], [True, False], [True, True]])


@pytest.fixture(scope="module")
def model():
    """Two voices with strokes and an ending, weights so large that what comes before says much."""
    keras.utils.set_random_seed(3)
    frame = ChainedVoices(2, units=5, reach=3, labelled=True, onsets=True, held=2)
    model = LSTMAttention(6, layers=1, attention_heads=2, attention_window=3, ending=True, frame=frame)
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.3))
    return model


def log_probs(model, events, onsets, ends=False, **conditions):
    """`FrameModel.log_probs` of music `(count, length, voices)`."""
    count, length, voices = events.shape
    told = {**TOLD, **conditions}
    batch = {name: np.broadcast_to(told.get(name), count).astype(np.int32) for name in ("tonic", "mode", "timestep")}
    batch |= {
        "voices": np.concatenate([np.full((count, 1, voices), END), events], 1).astype(np.int32),
        "voice_onsets": np.concatenate([np.zeros((count, 1, voices), bool), onsets], 1),
        "mask": np.ones((count, length), np.float32),
        "last": np.tile(np.arange(length) == (length - 1 if ends else -1), (count, 1)),
        "position": np.tile(np.arange(length, dtype=np.int32), (count, 1)),
    }
    return {name: term.numpy().astype(np.float64) for name, term in model.log_probs(batch).items()}


def complete(model, given, onsets, conditions=TOLD, **arguments):
    """`FrameModel.complete` of some pieces, whose places in the bar are 0, 1 ..."""
    primer = arguments.get("primer")
    frames = given.shape[1] + (0 if primer is None else len(primer["voices"]))
    told = {**conditions, "position": np.arange(frames)}
    return model.complete(given, given_onsets=onsets, conditions=told, **arguments)


def ways(given, onsets):
    """Every way to fill the free events of `(length, voices)`, with its strokes: a note that is new is struck."""
    free = tuple(np.argwhere(given == FREE).T)
    filled = np.array(list(itertools.product(itertools.product(range(END + 1), (0, 1)), repeat=len(free[0]))))
    events, strokes = np.tile(given, (len(filled), 1, 1)), np.tile(onsets, (len(filled), 1, 1))
    events[:, *free], strokes[:, *free] = filled[..., 0], filled[..., 1] > 0
    before = np.concatenate([np.full_like(events[:, :1], END), events[:, :-1]], 1)
    possible = strokes == np.where(events == END, False, (events != before) | strokes)
    possible = possible[:, *free].all(-1)
    strokes |= (events != before) & (events != END)  # So is a given one that follows another.
    return events[possible], strokes[possible]


def freed(*places):
    given = PIECE.copy()
    given[tuple(np.transpose(places))] = FREE
    return given


CASES = {
    "first voice": (freed((1, 0)), False),
    "second voice, first frame, ends": (freed((0, 1)), True),
    "last frame, ends": (freed((3, 0)), True),
    "two frames of a voice": (freed((1, 0), (2, 0)), False),
    "two voices, ends": (freed((0, 0), (2, 1)), True),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request, model):
    """What is given, whether it ends, and every way to fill it with its log probability, the ending's included."""
    given, ends = request.param
    events, onsets = ways(given, STROKES)
    return given, ends, events, onsets, sum(log_probs(model, events, onsets, ends).values())


def test_what_is_drawn_and_what_is_given_are_as_probable_as_they_should(model, case):
    assert_as_probable(model, *case)


def test_what_is_allowed_is_given_too(model, case):
    """Of the ways to fill what is free, those inside; a rest is always one of them."""
    given, ends, events, onsets, log_p = case
    allowed = np.zeros((2, END + 1), bool)
    allowed[0, 20:60:2] = allowed[1, 10:35] = True
    free = np.nonzero(given == FREE)
    sung = events[:, *free]
    inside = np.all(allowed[free[1], sung] | (sung == END), 1)
    assert 0 < inside.sum() < len(events)
    assert_as_probable(model, given, ends, events[inside], onsets[inside], log_p[inside], allowed=allowed)


def assert_as_probable(model, given, ends, events, onsets, log_p, **arguments):
    """What `complete` draws and estimates, against all that it may draw and its log probability."""
    count = 300
    music = complete(model, np.tile(given, (count, 1, 1)), STROKES, ends=ends, particles=32, seed=1, **arguments)
    exact = np.exp(log_p - logsumexp(log_p))
    common = np.flatnonzero(exact > 0.01)
    for i in common:
        seen = np.mean(np.all((music["events"] == events[i]) & (music["onsets"] == onsets[i]), (1, 2)))
        assert abs(seen - exact[i]) < 4 * np.sqrt(exact[i] / count)
    assert len(common) > 3 or exact.max() < 0.02
    kept = given != FREE
    assert np.all(music["events"][:, kept] == given[kept])
    estimates = np.exp(music["log_given"] - logsumexp(log_p))
    assert estimates.std() < 0.4
    assert abs(estimates.mean() - 1) < 4 * estimates.std() / np.sqrt(count)


@pytest.mark.parametrize("particles", [1, 3])
def test_few_particles_are_right_on_average(model, case, particles):
    """Each estimate may be far off; those of several seeds and of 300 pieces a seed are not."""
    given, ends, _, _, log_p = case
    music = [
        complete(model, np.tile(given, (300, 1, 1)), STROKES, ends=ends, particles=particles, seed=seed)
        for seed in range(5)
    ]
    estimates = np.exp(np.concatenate([m["log_given"] for m in music]) - logsumexp(log_p))
    assert estimates.std() > 0.05
    assert abs(estimates.mean() - 1) < 4 * estimates.std() / np.sqrt(len(estimates))


def test_one_particle_looks_not_ahead(model):
    """The last frame does not know that the piece ends; among 32 there are some with which it can."""
    given, ends = CASES["last frame, ends"]
    log_p = {}
    for particles in (1, 32):
        music = complete(model, np.tile(given, (300, 1, 1)), STROKES, ends=ends, particles=particles, seed=0)
        log_p[particles] = sum(log_probs(model, music["events"], music["onsets"], ends).values()).mean()
    assert log_p[32] > log_p[1] + 0.5


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("particles", [1, 5])
def test_where_all_is_given_it_is_exactly_as_probable_as_log_prob_says(model, particles, ends):
    """Pieces that differ, in keys that differ; temperature does not act on what is given."""
    random = np.random.default_rng(0)
    events = random.integers(36, 39, (4, 5, 2))
    events[random.random(events.shape) < 0.2] = END
    onsets = (random.random(events.shape) < 0.4) & (events != END)
    tonic = np.array([0, 3, 7, 12])
    music = complete(
        model, events, onsets, TOLD | {"tonic": tonic}, ends=ends, particles=particles, temperature=3.0, seed=0
    )
    np.testing.assert_array_equal(music["events"], events)
    log_p = log_probs(model, events, onsets, ends, tonic=tonic)
    np.testing.assert_allclose(music["log_given"], sum(log_p.values()), rtol=1e-5)
    new = np.concatenate([np.full((4, 1, 2), True), events[:, 1:] != events[:, :-1]], 1)
    np.testing.assert_array_equal(music["onsets"], (onsets | new) & (events != END))


def test_strokes_that_nobody_gave_are_changes_of_pitch(model):
    music = model.complete(PIECE[None], seed=0, particles=1)
    np.testing.assert_array_equal(music["onsets"][0], [[True, True], [False, False], [True, False], [True, True]])


def test_where_nothing_is_given_it_only_goes_on(model):
    """With one particle it is music as the model writes it, and what is given is that it does not end, or does."""
    free = np.full((3, 6, 2), FREE)
    for ends in (False, True):
        music = complete(model, free, False, ends=ends, particles=1, seed=4)
        log_p = log_probs(model, music["events"], music["onsets"], ends)
        np.testing.assert_allclose(music["log_given"], log_p["ending"], rtol=1e-4)
    first = complete(model, np.full((3000, 1, 2), FREE), False, particles=1, seed=4)
    written = model.generate(3000, 1, conditions=TOLD | {"position": [0]}, seed=5)
    for name in ("events", "onsets"):
        seen, expected = (
            np.bincount(music[name][..., 0].ravel() * 1, minlength=END + 1) / 3000 for music in (first, written)
        )
        assert np.all(np.abs(seen - expected) < 4 * np.sqrt(seen + expected + 1e-3) / np.sqrt(3000))
    safest = {"conditions": TOLD | {"position": np.arange(6)}, "top_p": 1e-6}
    likeliest = model.complete(free, particles=1, seed=0, **safest)
    np.testing.assert_array_equal(likeliest["events"], model.generate(3, 6, seed=1, **safest)["events"])


@pytest.fixture(scope="module")
def walker():
    """One voice that goes a semitone up or down, whatever came before, and starts anywhere; no ending."""
    frame = ChainedVoices(1, units=1, reach=1, labelled=True)
    model = LSTMAttention(2, layers=1, attention_heads=0, frame=frame)
    model.build()
    for variable in frame.trainable_variables:
        variable.assign(0 * variable)
    frame.context_bias.assign([30.0])  # The hidden unit is 30.
    frame.interval_kernel.assign([[[1.0, 0.0, 1.0, 0.0, 0.0, 0.0]]])
    frame.head_bias.assign([[0.0] * 88 + [-30.0]])
    return model


def test_what_comes_later_is_walked_to(walker):
    """Three steps up in three frames: one way of 2^3. And one from anywhere to a note, of 88 * 2^3."""
    given = np.full((50, 4, 1), FREE)
    given[:, 0], given[:, 3] = 40, 43
    music = walker.complete(given, particles=128, seed=0)
    np.testing.assert_array_equal(music["events"], np.tile([[40], [41], [42], [43]], (50, 1, 1)))
    assert np.exp(music["log_given"]).mean() == pytest.approx(1 / 88 / 8, rel=0.1)
    blind = walker.complete(given, particles=1, seed=0)["events"]
    assert 0.5 < np.mean(blind[:, 2, 0] != 42) < 0.95
    given[:, 0] = FREE
    music = walker.complete(given, particles=1024, seed=0)
    assert np.all(np.abs(np.diff(music["events"], axis=1)) == 1)
    assert set(music["events"][:, 0, 0]) == {40, 42, 44, 46}
    assert np.exp(music["log_given"]).mean() == pytest.approx(1 / 88, rel=0.1)
    assert "onsets" not in music


class Compass:
    """A model that remembers its first event: from an even one the first voice goes up, from an odd one down.

    The second voice is a semitone below the first one.
    """

    ending = None

    def __init__(self):
        self.frame = ChainedVoices(2, units=2, reach=1, labelled=True)
        self.frame.build((None, 1))
        for variable in self.frame.trainable_variables:
            variable.assign(0 * variable)
        self.frame.context_kernel.assign([[30.0, -30.0, 0.0, 0.0]])
        self.frame.context_bias.assign([0.0, 0.0, 30.0, 0.0])
        down, up, below, nothing = *np.eye(6)[[0, 2, 3]], np.zeros(6)  # Motion -1, 0, 1, then spacing.
        self.frame.interval_kernel.assign([[up, down], [below, nothing]])
        self.frame.head_bias.assign(np.tile(np.where(np.arange(END + 1) == END, -30.0, 0.0), (2, 1)))

    def start(self, conditions):
        return {"sense": tf.zeros((len(conditions["tonic"]), 1)), "time": tf.zeros((), tf.int32)}

    def step(self, state, features):
        event = tf.argmax(features[:, 88 : 88 + END + 1], -1, tf.int32)
        first = tf.cast(1 - 2 * (event % 2), tf.float32)[:, None]
        sense = tf.where(state["time"] == 1, first, state["sense"])
        return sense, {"sense": sense, "time": state["time"] + 1}

    def select(self, state, rows):
        return {**state, "sense": tf.gather(state["sense"], rows)}


def test_particles_move_with_all_that_they_remember():
    """The lower voice tells in frame 3 where the first event was: what comes after goes on from there."""
    given = np.full((3, 6, 2), FREE)
    given[:, 3, 1] = 49
    nothing = tf.zeros((3, 0, 2), tf.int32), tf.zeros((3, 0, 2), tf.bool)
    events, *_ = constrained.complete(
        Compass(),
        {"tonic": tf.zeros(3, tf.int32), "mode": tf.zeros(3, tf.int32)},
        nothing,
        tf.constant(given, tf.int32),
        tf.zeros(given.shape, tf.bool),
        tf.fill((2, END + 1), True),
        tf.constant(True),
        *(tf.constant(512), tf.constant(1.0), tf.constant(1.0), tf.constant(0)),
    )
    upper = np.arange(53, 47, -1)
    np.testing.assert_array_equal(events, np.tile(np.stack([upper, upper - 1], -1), (3, 1, 1)))


def test_nothing_given_has_probability_one(walker):
    np.testing.assert_array_equal(walker.complete(np.full((2, 5, 1), FREE), ends=True)["log_given"], [0, 0])


def test_each_piece_has_its_own_particles(walker):
    """One that is sure, one that is rare, one that cannot be."""
    given = np.full((3, 3, 1), FREE)
    given[:, 0, 0], given[:, 2, 0] = 40, [FREE, 42, 50]
    music = walker.complete(given, particles=256, seed=1)
    np.testing.assert_array_equal(music["events"][1, :, 0], [40, 41, 42])
    np.testing.assert_array_equal(music["events"][2, [0, 2], 0], [40, 50])
    assert music["log_given"][0] == pytest.approx(-np.log(88), abs=1e-4)
    assert music["log_given"][1] == pytest.approx(-np.log(88 * 4), abs=0.5)
    assert music["log_given"][2] < -30
    assert len(set(music["events"][0, 1:, 0].tolist()) & {39, 41}) == 1


def test_the_same_seed_gives_the_same_music(model):
    given = np.tile(freed((1, 0), (2, 1)), (3, 1, 1))
    first, again, other = (complete(model, given, STROKES, particles=4, seed=seed) for seed in (1, 1, 2))
    assert first.keys() == {"pianoroll", "events", "onsets", "log_given"}
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert np.any(first[name] != other[name])
    assert first["log_given"].dtype == np.float32
    assert np.any(first["events"][0] != first["events"][1:])
    assert complete(model, given[:1], STROKES, particles=4)["events"].shape == (1, 4, 2)


@pytest.mark.parametrize("particles", [1, 4])
def test_a_primer_is_heard(model, particles):
    """log p(rest | primer) = log p(primer, rest) - log p(primer)."""
    primer = {"voices": PIECE[:2], "voice_onsets": STROKES[:2]}
    given = np.tile(PIECE[2:], (2, 1, 1))
    music = complete(model, given, STROKES[2:], primer=primer, ends=True, particles=particles)
    np.testing.assert_array_equal(music["events"], given)
    whole, start = (
        sum(log_probs(model, PIECE[None, :stop], STROKES[None, :stop], ends).values())
        for stop, ends in ((4, True), (2, False))
    )
    np.testing.assert_allclose(music["log_given"], np.tile(whole - start, 2), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"given": PIECE}, r"given is \(count, length, 2\)\. Received: given\.shape=\(4, 2\)"),
        ({"given": np.zeros((1, 4, 3), int)}, r"given\.shape=\(1, 4, 3\)"),
        ({"given": np.zeros((0, 4, 2), int)}, "count=0, length=4"),
        ({"given": np.zeros((1, 0, 2), int)}, "count=1, length=0"),
        ({"given": PIECE[None] + 60}, "0 to 88"),
        ({"given": PIECE[None] - 40}, "0 to 88"),
        ({"given_onsets": np.zeros((1, 3, 2), bool)}, r"given_onsets must have shape \(1, 4, 2\)"),
        ({"allowed": np.ones(88, bool)}, r"allowed must have shape \(2, 89\)\. Received: shape=\(88,\)"),
        ({"particles": 0}, "Received: particles=0"),
        ({"temperature": 0.0}, "Received: temperature=0"),
        ({"top_p": 0.0}, "top_p=0"),
        ({"seed": -1}, "Received: seed=-1"),
        ({"conditions": {"tonik": 1}}, "Received: tonik=1"),
        ({"conditions": {"position": np.arange(3)}}, r"position must have shape \(1, 4\)"),
    ],
)
def test_nonsense_is_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.complete(**{"given": PIECE[None]} | arguments)


def test_a_model_that_cannot_says_so(walker, monkeypatch):
    monkeypatch.setattr(type(walker), "can_complete", False)
    with pytest.raises(ValueError, match="LSTMAttention cannot write around given notes"):
        walker.complete(np.full((1, 2, 1), FREE))
