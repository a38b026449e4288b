"""Ranges: what is written for a free voice is what that voice sings in the corpus."""

from types import MappingProxyType

import keras
import numpy as np
import pytest

import bachkeras
from bachkeras.data.pipeline import from_arrays
from bachkeras.layers.frame import ChainedVoices
from bachkeras.layers.frame.base import END, multi_hot
from bachkeras.models import LSTMAttention
from bachkeras.music.pianoroll import LOWEST
from bachkeras.music.score import MINOR, NOTE, Meter, Score
from bachkeras.music.voices import SATB
from bachkeras.training import directory, samples, settings
from bachkeras.training.settings import Setting

OLD = {
    "model": "lstm-attention",
    "config": {"data": {"transpose": 1}},
    "data": {"name": "chorales_16th", "version": "1.0.0"},
    "sounding_shift": -2,
    "mean_length": 5.0,
    "settings": [[Setting(2, MINOR, 1, 4, 16, 0)._asdict(), 3]],
}
"""The card of a run that says nothing of ranges."""

RANGES = [[48, 52], [43, 50], [40, 45], [30, 33]]
CARD = OLD | {"ranges": RANGES}


@pytest.fixture(scope="module")
def singer():
    return random_model(labelled=True, onsets=True)


def random_model(**options):
    keras.utils.set_random_seed(0)
    model = LSTMAttention(6, layers=1, attention_heads=0, frame=ChainedVoices(units=5, reach=3, **options))
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.2))
    model.card = MappingProxyType(CARD)
    return model


def chorale():
    """Four parts of two bars, all a fifth above their ranges."""
    rows = [
        (480 * beat, 480 * beat + 480, high + LOWEST - 2 + 7, part)
        for beat in range(8)
        for part, (_, high) in enumerate(RANGES)
    ]
    return Score(np.array(rows, NOTE), parts=SATB, meters=(Meter(0, 4, 4),))


TASKS = {
    "compose": (lambda model: bachkeras.compose(model, length=60, seed=0), None),
    "continue": (lambda model: bachkeras.continue_(chorale(), model, length=60, seed=0), None),
    "harmonize": (
        lambda model: bachkeras.harmonize(chorale(), model, melody_voice="Soprano", particles=2, seed=0),
        {"part": 0},
    ),
    "inpaint": (lambda model: bachkeras.inpaint(chorale(), "2", model, particles=2, seed=0), {"end": 1920}),
}


@pytest.mark.parametrize(("write", "given"), TASKS.values(), ids=TASKS)
def test_no_free_voice_leaves_its_range(singer, monkeypatch, write, given):
    """As the model reads and writes it, two semitones above where it sounds; without ranges they do leave."""

    def outside():
        (found,) = write(singer)
        notes = found.notes
        if given == {"part": 0}:
            notes = notes[notes["part"] > 0]
        elif given:
            notes = notes[notes["start"] >= 1920]
        assert len(notes) > 20
        low, high = np.array(RANGES).T[:, notes["part"]] + LOWEST - 2
        return np.count_nonzero((notes["pitch"] < low) | (notes["pitch"] > high))

    assert outside() == 0
    monkeypatch.setattr(singer, "card", MappingProxyType(OLD))
    assert outside() > 10


def test_what_voices_may_sing():
    allowed = settings.allowed(CARD | {"ranges": [[3, 5], [END, 0], [0, 87]]})
    assert (allowed.shape, allowed.dtype) == ((3, 89), bool)
    assert np.flatnonzero(allowed[0]).tolist() == [3, 4, 5, END]
    assert np.flatnonzero(allowed[1]).tolist() == [END]  # It never sings.
    assert allowed[2].all()
    assert settings.allowed(OLD) is None
    assert settings.allowed(OLD | {"ranges": None}) is None


def test_only_labelled_voices_have_ranges(singer):
    np.testing.assert_array_equal(samples.allowed(singer, CARD), settings.allowed(CARD))
    assert samples.allowed(singer, OLD) is None
    assert samples.allowed(random_model(), CARD) is None


def test_the_ranges_of_a_corpus():
    columns = [np.array([[50, END, 40], [52, END, END]]), np.array([[47, END, 40], [END, END, 43]])]
    rolls = [multi_hot(voices).numpy() > 0.5 for voices in columns]
    assert directory.ranges(from_arrays(rolls, voices=columns)) == [[47, 52], [END, 0], [40, 43]]
    assert directory.ranges(from_arrays(rolls)) is None
