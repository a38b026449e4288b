"""What every model must do: a table with a row a model, and each contract a test over all rows.

A new model is a new row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras import models
from bachkeras.data.pipeline import from_arrays
from bachkeras.layers.frame.base import END


@dataclasses.dataclass(frozen=True)
class Row:
    """A small model of each kind.

    Attributes:
        make: builds it.
        steps: training steps after which every trainable variable has moved.
    """

    make: Callable[[], keras.Model]
    steps: int = 3


ROWS = {
    "lstm-attention": Row(lambda: models.LSTMAttention(12, attention_heads=2, attention_window=5, dropout=0.1)),
    "lstm-attention, independent": Row(
        lambda: models.LSTMAttention(12, layers=1, attention_heads=3, frame=models.IndependentNotes())
    ),
    "lstm-attention, no attention": Row(lambda: models.LSTMAttention(12, attention_heads=0, l2=0.01)),
    "lstm-attention, two voices": Row(
        lambda: models.LSTMAttention(12, frame_dropout=0.2, frame=models.ChainedVoices(2, units=8, reach=3))
    ),
}


@pytest.fixture(scope="module", params=ROWS, ids=list(ROWS))
def row(request) -> Row:
    return ROWS[request.param]


@pytest.fixture(scope="module")
def model(row) -> keras.Model:
    """A model with random weights; the biases too, so that a lost one shows."""
    keras.utils.set_random_seed(1)
    model = row.make()
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.1))
    return model


@pytest.fixture(scope="module")
def fitting(model, rolls) -> list[np.ndarray]:
    """The rolls, without the notes for which a model has no voice."""
    return [model.frame.pianoroll(model.frame.events(roll)[0]).numpy() > 0.5 for roll in rolls]


@pytest.fixture(scope="module")
def corpus(fitting):
    positions = [np.arange(len(roll)) % 4 for roll in fitting]
    return from_arrays(fitting, tonic=7, mode=1, timestep=(1, 2), position=positions)


@pytest.fixture(scope="module")
def batch(corpus) -> dict[str, tf.Tensor]:
    """Whole pieces of different lengths, padded."""
    return next(iter(corpus.windows(None, shuffle=False).batch(5)))


def test_config_round_trip(row):
    model = row.make()
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    again.build()
    model.build()
    assert [v.path.split("/", 1)[1] for v in again.weights] == [v.path.split("/", 1)[1] for v in model.weights]


def test_every_variable_learns(row, corpus):
    keras.utils.set_random_seed(0)
    model = row.make()
    model.build()
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(corpus.windows(8, transpose=3).batch(4), steps_per_epoch=row.steps, verbose=0, shuffle=False)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.any(keras.ops.convert_to_numpy(variable) != old), variable.path


def test_evaluate_is_the_masked_mean(model, corpus, batch):
    if model.likelihood is None:
        pytest.skip("this model has no likelihood")
    model.compile("adam")
    figures = model.evaluate(corpus.windows(None, shuffle=False).batch(5), return_dict=True, verbose=0)
    total = sum(model.log_prob(b).numpy().sum() for b in corpus.windows(None, shuffle=False).batch(5))
    assert figures["nats_per_frame"] == pytest.approx(-total / corpus.frames, rel=1e-4)


def test_save_and_load_gives_the_same_outputs(model, batch, tmp_path):
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(batch), model(batch), rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing(model, corpus, batch):
    longest = model(batch).numpy()
    for i in range(5):
        alone = next(iter(from_arrays_of(corpus, i).windows(None, shuffle=False).batch(1)))
        frames = len(corpus.pieces[i]["pianoroll"])
        np.testing.assert_allclose(model(alone)[0, :frames], longest[i, :frames], rtol=1e-4, atol=1e-4)


def test_no_frame_sees_the_future(model, batch):
    before = model(batch).numpy()
    changed = dict(batch)
    changed["pianoroll"] = tf.concat(
        [batch["pianoroll"][:, :4], 1 - batch["pianoroll"][:, 4:5], batch["pianoroll"][:, 5:]], 1
    )
    after = model(changed).numpy()
    np.testing.assert_allclose(after[:, :3], before[:, :3], rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(after[:, 3:] - before[:, 3:]).max(1) > 1e-4)


def test_step_by_step_equals_the_whole_sequence(model, batch):
    """Longer than the attention's window, so that the ring goes round."""
    events, _ = model.frame.events(batch["pianoroll"])
    state = model.start({name: batch[name] for name in ("tonic", "mode", "timestep", "position")})
    steps = []
    for t in range(batch["mask"].shape[1]):
        context, state = model.step(state, model.frame.features(events[:, t]))
        log_p = model.frame.log_prob(context, events[:, t + 1], previous=events[:, t])
        steps.append(tf.reduce_sum(log_p, -1))
    np.testing.assert_allclose(tf.stack(steps, 1), model(batch), rtol=1e-4, atol=1e-4)


def test_attention_can_be_looked_at(model, batch):
    if not hasattr(model, "attention"):
        pytest.skip("this model has no attention")
    if not model.core.attention_heads:
        with pytest.raises(ValueError, match="attention_heads=0"):
            model.attention(batch)
        return
    weights = model.attention(batch)
    time = batch["mask"].shape[1]
    assert weights.shape == (5, model.core.attention_heads, time, time)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), tf.ones(weights.shape[:3]), rtol=1e-5)


def test_same_seed_same_music(model):
    first = model.generate(2, 9, seed=3)
    again = model.generate(2, 9, seed=3)
    other = model.generate(2, 9, seed=4)
    assert first["pianoroll"].shape == (2, 9, 88)
    assert first["pianoroll"].dtype == bool
    assert first["events"].shape == (2, 9, model.frame.voices)
    assert first["events"].dtype == np.int32
    np.testing.assert_array_equal(first["events"], again["events"])
    assert np.any(first["events"] != other["events"])
    assert np.any(first["events"][0] != first["events"][1])


def test_a_primer_is_continued_and_left_out(model, fitting):
    if not model.can_continue:
        with pytest.raises(ValueError, match="cannot continue"):
            model.generate(1, 4, primer=fitting[0])
        return
    whole = model.generate(1, 6, primer=fitting[0], seed=0, top_p=1e-6)
    assert whole["pianoroll"].shape == (1, 6, 88)
    # At its likeliest, music goes on from a longer primer as it did from the shorter one.
    longer = np.concatenate([fitting[0], whole["pianoroll"][0, :3]])
    rest = model.generate(1, 3, primer=longer, seed=0, top_p=1e-6)
    np.testing.assert_array_equal(rest["events"], whole["events"][:, 3:])
    first, other = (model.generate(4, 16, primer=primer, seed=0)["events"] for primer in fitting[:2])
    assert np.any(first != other)


def test_given_events_are_kept(model):
    voices = model.frame.voices
    given = np.full((5, voices), -1)
    given[1, 0] = 3
    given[3] = END
    free = model.generate(2, 5, seed=0)["events"]
    assert np.any(free[:, 1, 0] != 3)
    kept = model.generate(2, 5, given=given, seed=0)["events"]
    np.testing.assert_array_equal(kept[:, 0], free[:, 0])
    assert np.all(kept[:, 1, 0] == 3)
    assert np.all(kept[:, 3] == END)


def test_conditions_are_heard(model):
    free = model.generate(4, 8, seed=0)["events"]
    for name, value in (("tonic", 5), ("mode", 1), ("timestep", 3), ("position", np.arange(8))):
        assert np.any(model.generate(4, 8, seed=0, conditions={name: value})["events"] != free), name


def test_what_does_not_fit_has_no_likelihood(model):
    voices = model.frame.voices
    if voices == 88:
        pytest.skip("every chord fits")
    roll = np.zeros((6, 88), bool)
    roll[2, 30 : 30 + voices + 2] = True
    batch = next(iter(from_arrays([roll]).windows(None).batch(1)))
    with pytest.raises(ValueError, match=f"2 notes do not fit the model's {voices} voices"):
        model.log_prob(batch)
    with pytest.raises(ValueError, match="2 notes do not fit"):
        model.generate(1, 2, primer=roll)
    model.compile("adam")
    figures = model.evaluate(from_arrays([roll]).windows(None).batch(1), return_dict=True, verbose=0)
    assert figures["dropped_notes"] == 2


def test_generation_refuses_nonsense(model):
    for arguments in ({"conditions": {"tonik": 3}}, {"seed": 2**40}, {"temperature": np.nan}):
        with pytest.raises(ValueError, match="Received"):
            model.generate(1, 4, **arguments)
    for arguments in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"primer": np.zeros((3, 5), bool)}):
        with pytest.raises(ValueError, match="Received"):
            model.generate(1, 4, **arguments)
    with pytest.raises(ValueError, match="Received"):
        model.generate(0, 4)
    with pytest.raises(ValueError, match=r"tonic must have shape \(2,\)"):
        model.generate(2, 4, conditions={"tonic": [1, 2, 3]})


def from_arrays_of(corpus, i):
    """A corpus of one piece of another."""
    return dataclasses.replace(corpus, pieces=[corpus.pieces[i]])
