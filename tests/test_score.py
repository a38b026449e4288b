"""The Score contract: sorted notes, an end that covers them, transposition."""

from fractions import Fraction

import numpy as np
import pytest

from bachkeras.music.score import MAJOR, MINOR, NOTE, Key, Meter, Score, Tempo


def test_notes_are_sorted_by_start_part_and_descending_pitch():
    notes = [(480, 960, 60, 0), (0, 480, 60, 1), (0, 480, 60, 0), (0, 480, 64, 0)]
    score = Score(np.array(notes, NOTE), parts=("Soprano", "Alto"))
    assert score.notes.tolist() == [(0, 480, 64, 0), (0, 480, 60, 0), (0, 480, 60, 1), (480, 960, 60, 0)]


def test_a_score_lasts_at_least_as_long_as_its_notes():
    notes = np.array([(0, 480, 60, 0)], NOTE)
    assert Score(notes, end=100, parts=("",)).end == 480
    assert Score(notes, end=960, parts=("",)).end == 960
    assert Score(notes[:0]).end == 0


def test_transposition_moves_notes_and_keys_and_nothing_else():
    score = Score(np.array([(0, 480, 60, 0)], NOTE), keys=(Key(0, 11, MAJOR), Key(480, 0, MINOR)), parts=("Bass",))
    higher = score.transpose(2)
    assert higher.notes.tolist() == [(0, 480, 62, 0)]
    assert higher.keys == (Key(0, 1, MAJOR), Key(480, 2, MINOR))
    assert higher.parts == ("Bass",)
    assert score.notes["pitch"].tolist() == [60]


def test_a_finer_score_is_the_same_music():
    score = Score(
        np.array([(3, 7, 60, 0)], NOTE), 10, end=20, parts=("a",), meters=(Meter(5, 3, 4),), keys=(Key(6, 2, MINOR),),
        tempos=(Tempo(7, 66.0),), upbeat=4, title="T",
    )  # fmt: skip
    finer = score.finer(3)
    assert finer.notes.tolist() == [(9, 21, 60, 0)]
    assert (finer.ticks_per_quarter, finer.end, finer.upbeat) == (30, 60, 12)
    assert (finer.meters, finer.keys, finer.tempos) == ((Meter(15, 3, 4),), (Key(18, 2, MINOR),), (Tempo(21, 66.0),))
    assert (finer.parts, finer.title) == (("a",), "T")
    assert score.notes.tolist() == [(3, 7, 60, 0)]


@pytest.mark.parametrize("semitones", [-61, 68])
def test_transposition_never_leaves_midi(semitones):
    with pytest.raises(ValueError, match=f"Received: semitones={semitones}"):
        Score(np.array([(0, 480, 60, 0)], NOTE), parts=("",)).transpose(semitones)


@pytest.mark.parametrize(("part", "parts"), [(0, ()), (2, ("Soprano", "Alto")), (-1, ("Soprano", "Alto"))])
def test_every_note_is_in_a_part(part, parts):
    with pytest.raises(ValueError, match=f"Received: part={part} with parts="):
        Score(np.array([(0, 480, 60, part)], NOTE), parts=parts)


def test_a_bar_is_as_long_as_its_meter_says():
    assert Meter(0, 3, 4).quarters == 3
    assert Meter(0, 6, 8).quarters == 3
    assert Meter(0, 3, 8).quarters == Fraction(3, 2)
