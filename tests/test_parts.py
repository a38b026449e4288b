"""A piece as its voices: by label, by rank, and what runs and melodies make of repeats and rests."""

from fractions import Fraction

import numpy as np

from bachkeras.evaluation import parts
from bachkeras.evaluation.parts import Parts
from bachkeras.music.voices import REST


def test_ranks_count_from_the_top_and_rests_come_last():
    roll = np.zeros((3, 88), bool)
    roll[0, [40, 52, 30]] = True
    roll[2, [10, 20, 30, 40, 50]] = True
    found = parts.by_rank(roll)
    assert found.tolist() == [[52, 40, 30, REST, REST], [REST] * 5, [50, 40, 30, 20, 10]]
    assert parts.by_rank(roll[:1]).shape == (1, parts.LEAST_VOICES)
    assert parts.by_rank(roll[:0]).shape == (0, parts.LEAST_VOICES)


def test_beats_are_quarters():
    voices = np.arange(10)[:, None] + np.zeros(4, int)
    sixteenths = Parts(voices, Fraction(1, 4), True)
    assert sixteenths.beats == 2.5
    assert sixteenths.on_beats[:, 0].tolist() == [0, 4, 8]
    assert Parts(voices, Fraction(1), True).on_beats[:, 0].tolist() == list(range(10))
    halves = Parts(voices, Fraction(2), True)
    assert (halves.beats, len(halves.on_beats)) == (20, 10)
    thirds = Parts(voices, Fraction(2, 3), True)  # Beats 0, 1, 2, ... are in frames 0, 1.5, 3, 4.5, ...
    assert thirds.on_beats[:, 0].tolist() == [0, 1, 3, 4, 6, 7, 9]


def test_a_piece_of_a_corpus_is_heard_both_ways():
    roll = np.zeros((2, 88), bool)
    roll[:, [30, 40]] = True
    piece = {"pianoroll": roll, "voices": np.array([[30, 40], [30, 40]]), "timestep": np.array([1, 2])}
    labelled, ranked = parts.of(piece, True), parts.of(piece, False)
    assert labelled.voices.tolist() == [[30, 40], [30, 40]]
    assert ranked.voices[:, :2].tolist() == [[40, 30], [40, 30]]
    assert labelled.timestep == ranked.timestep == Fraction(1, 2)


def test_repeats_go_on_and_rests_part():
    """Labelled, C C rest C D is C, C, D: after a rest a voice begins anew. By rank nothing rested: C, D."""
    column = np.array([40, 40, REST, 40, 42])
    pitches, lengths = parts.runs(column)
    assert (pitches.tolist(), lengths.tolist()) == ([40, REST, 40, 42], [2, 1, 1, 1])
    assert parts.melody(Parts(column[:, None], Fraction(1), True), 0).tolist() == [40, 40, 42]
    assert parts.melody(Parts(column[:, None], Fraction(1), False), 0).tolist() == [40, 42]
    assert parts.runs(column[:0])[0].size == 0
