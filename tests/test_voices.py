"""Voices: a column a part, exact both ways."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from bachkeras.music import midi, pianoroll, voices
from bachkeras.music.score import NOTE, Key, Meter, Score, Tempo
from bachkeras.music.voices import REST

QUARTER = Fraction(1)


def random_voices(seed, time=30, count=4):
    """Notes and rests of one to three frames in each voice, of few pitches, so that they repeat, meet and cross."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.choice([30, 31, 32, REST], (time, count)), rng.integers(1, 4), axis=0).astype(np.int32)
    return values, (values != REST) & (rng.random(values.shape) < 0.5)


def struck(values, onsets):
    """The onsets with those that follow from the pitches alone."""
    before = np.vstack([np.full((1, values.shape[1]), REST), values[:-1]])
    return onsets | ((values != REST) & (values != before))


def test_a_column_a_part_with_unisons_and_crossings():
    # The soprano holds C5 for two quarters; the alto sings it too, then leaps over; the bass enters late.
    notes = [(0, 960, 72, 0), (0, 480, 72, 1), (480, 960, 76, 1), (480, 960, 48, 2)]
    values, onsets = voices.from_score(Score(np.array(notes, NOTE), parts=("S", "A", "B")), QUARTER)
    assert values.dtype == np.int32
    assert values.tolist() == [[51, 51, REST], [51, 55, 27]]
    assert onsets.tolist() == [[True, True, False], [False, True, True]]


def test_voices_and_pianoroll_are_sampled_alike():
    rng = np.random.default_rng(3)
    notes = []
    for part in range(4):
        edges = np.sort(rng.choice(5000, 40, replace=False))
        notes += [(start, end, rng.integers(15, 115), part) for start, end in itertools.pairwise(edges)]
    score = Score(np.array(notes, NOTE), end=5100, parts=("",) * 4)
    for step in (Fraction(1, 4), Fraction(1, 3), QUARTER):
        values, onsets = voices.from_score(score, step)
        expected = pianoroll.from_score(score, step)
        keys = np.arange(pianoroll.KEYS)
        np.testing.assert_array_equal((values[:, :, None] == keys).any(axis=1), expected.frames)
        np.testing.assert_array_equal(((values[:, :, None] == keys) & onsets[:, :, None]).any(axis=1), expected.onsets)


@pytest.mark.parametrize("seed", range(10))
def test_voices_to_midi_file_to_voices_is_the_identity(seed, tmp_path):
    values, onsets = random_voices(seed)
    values[:, 0] = 40  # MIDI keeps the parts that have notes.
    values[0] = 41
    score = voices.to_score(values, onsets | (values == 40), Fraction(1, 4))
    for piece in score, round_trip(score, tmp_path):
        after, after_onsets = voices.from_score(piece, Fraction(1, 4))
        assert piece.parts == ("Soprano", "Alto", "Tenor", "Bass")
        np.testing.assert_array_equal(after, values)
        np.testing.assert_array_equal(after_onsets, struck(values, onsets | (values == 40)))


def round_trip(score, folder):
    midi.write(folder / "piece.mid", score)
    return midi.read(folder / "piece.mid")


def test_held_and_struck_notes():
    values = np.array([[39], [39], [39], [REST], [39], [40]], np.int32)
    onsets = np.array([[1], [0], [1], [0], [1], [1]], bool)
    held = voices.to_score(values, None, QUARTER, parts=("Bass",))
    again = voices.to_score(values, onsets, QUARTER, parts=("Bass",))
    assert held.notes[["start", "end"]].tolist() == [(0, 1440), (1920, 2400), (2400, 2880)]
    assert again.notes[["start", "end"]].tolist() == [(0, 960), (960, 1440), (1920, 2400), (2400, 2880)]


def test_rests_at_both_ends_and_silent_parts_survive():
    values = np.full((4, 2), REST, np.int32)
    values[1, 0] = 39
    after, onsets = voices.from_score(voices.to_score(values, None, QUARTER, parts=("A", "B")), QUARTER)
    np.testing.assert_array_equal(after, values)
    assert onsets.sum() == 1


def test_no_voices_and_no_frames():
    for shape in (0, 0), (0, 2), (3, 0):
        score = voices.to_score(np.zeros(shape, np.int32), None, QUARTER, parts=("",) * shape[1])
        assert voices.from_score(score, QUARTER)[0].shape == shape


def test_a_score_knows_what_it_is_told():
    values = np.full((4, 4), REST)
    score = voices.to_score(
        values, None, QUARTER, tempo=72, meters=[Meter(0, 4, 4)], keys=[Key(0, 2, 1)], upbeat=480, title="Choral"
    )
    assert (score.title, score.upbeat, score.end) == ("Choral", 480, 4 * 480)
    assert (score.tempos, score.meters, score.keys) == ((Tempo(0, 72),), (Meter(0, 4, 4),), (Key(0, 2, 1),))


def test_a_voice_has_one_note_at_a_time():
    chord = Score(np.array([(0, 960, 60, 0), (480, 960, 64, 0)], NOTE), parts=("Piano",))
    with pytest.raises(ValueError, match="Received: two in frame 1 of part 0 'Piano'"):
        voices.from_score(chord, QUARTER)


def test_notes_outside_the_keys_are_rests():
    values, _ = voices.from_score(Score(np.array([(0, 480, 110, 0)], NOTE), parts=("",)), QUARTER)
    assert values.tolist() == [[REST]]


@pytest.mark.parametrize(
    ("values", "onsets", "message"),
    [
        (np.zeros(4, int), None, r"Received: voices.shape=\(4,\)"),
        (np.zeros((1, 4)), None, "voices.dtype=dtype..float64"),
        (np.zeros((1, 3), int), None, r"name. Received: voices.shape=\(1, 3\)"),
        (np.full((1, 4), 89), None, "0..88. Received: values 89..89"),
        (np.zeros((1, 4), int), np.zeros((1, 4), int), "Onsets must be bool"),
        (np.full((1, 4), REST), np.ones((1, 4), bool), "Received: an onset at time=0, voice=0"),
    ],
)
def test_wrong_voices_say_what_is_wrong(values, onsets, message):
    with pytest.raises(ValueError, match=message):
        voices.to_score(values, onsets, QUARTER)
