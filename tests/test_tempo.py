"""When a tick sounds, against mido's own clock of the file that `midi.write` makes."""

import mido
import numpy as np
import pytest

from bachkeras.music import midi
from bachkeras.music.score import NOTE, Score, Tempo
from bachkeras.music.tempo import seconds


def score(*tempos, ticks_per_quarter=480, end=4800):
    notes = np.array([(0, end, 60, 0)], NOTE)
    return Score(notes, ticks_per_quarter, parts=("",), tempos=tuple(Tempo(*tempo) for tempo in tempos))


def test_without_tempos_there_are_80_quarters_a_minute():
    assert seconds(score(), np.array([0, 480, 960])).tolist() == [0, 0.75, 1.5]


def test_a_tempo_holds_until_the_next():
    changing = score((0, 60), (960, 120), (1440, 30))
    np.testing.assert_allclose(seconds(changing, [0, 480, 960, 1200, 1440, 1680]), [0, 1, 2, 2.25, 2.5, 3.5])


def test_of_two_tempos_at_one_tick_the_last_counts():
    assert seconds(score((0, 30), (0, 60)), 480) == 1


def test_a_tick_is_as_long_as_the_score_says():
    assert seconds(score((0, 60), ticks_per_quarter=96), 96) == 1


def test_ticks_of_any_shape():
    assert seconds(score((0, 60)), np.array([[0, 480], [960, 1440]])).tolist() == [[0, 1], [2, 3]]
    assert seconds(score((0, 60)), 240).shape == ()
    assert seconds(score((0, 60)), np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("tempos", [(), ((0, 72.5),), ((0, 60), (1000, 100), (1001, 37)), ((960, 60),)])
def test_it_is_the_time_of_the_midi_file(tempos, tmp_path):
    midi.write(tmp_path / "piece.mid", score(*tempos))
    assert seconds(score(*tempos), 4800) == pytest.approx(mido.MidiFile(tmp_path / "piece.mid").length, abs=1e-5)


@pytest.mark.parametrize("quarters", [0, -60, float("nan")])
def test_a_tempo_is_positive(quarters):
    with pytest.raises(ValueError, match=r"^A tempo must be positive\. Received: tempos="):
        seconds(score((0, quarters)), 480)
