"""Novelty and variety on paper, and Bach's own on the benchmark's files."""

from fractions import Fraction

import numpy as np
import pytest
from test_style import labelled, ranked, ranks4, voices16  # noqa: F401 - fixtures

from bachkeras.evaluation import novelty, parts
from bachkeras.music.voices import REST

R = REST
CHORDS = [[55, 50, 47, 31], [57, 52, 48, 33], [59, 54, 50, 31], [60, 55, 52, 36], [59, 55, 50, 31]]


def transposed(frames, semitones):
    return [[n + semitones for n in frame] for frame in frames]


def test_tokens_on_paper():
    piece = labelled([52, R, 40, 24], [54, 45, 42, 26], [54, 45, 42, R], [R, R, R, R], [54, 45, 42, 26])
    assert novelty.tokens(piece) == [
        ((28, R, 16, 0), 0, 1),
        ((28, 19, 16, 0), 2, 1),
        ((R, R, R, R), R, 1),
        None,
        ((28, 19, 16, 0), R, 1),
    ]
    assert novelty.tokens(ranked([52, 40, R, R], [R, R, R, R])) == [((12, 0), 0, 1), None]


def test_silence_is_no_copy():
    silence = [R, R, R, R]
    assert novelty.longest_copies([ranked(*[silence] * 5)], [ranked(*[silence] * 9)]).tolist() == [0]


def test_a_fifth_note_somewhere_else_leaves_a_copy_a_copy():
    five = ranked(*[[*chord, R] for chord in CHORDS], [40, 30, 20, 10, 5])
    assert novelty.longest_copies([five], [ranked(*CHORDS)]).tolist() == [5]


def test_a_copy_is_found_in_any_key():
    """Beats 1 to 4 stand in the training piece five semitones higher; the motion into beat 1 is another one."""
    train = labelled(*transposed(CHORDS, 5))
    copy = labelled([50, 45, 40, 35], *CHORDS[1:])
    other = labelled([50, 45, 40, 35], [50, 45, 40, 35])
    assert novelty.longest_copies([copy, other], [other._replace(voices=other.voices + 1), train]).tolist() == [3, 2]
    assert novelty.longest_copies([labelled(*CHORDS)], [train]).tolist() == [5]
    assert novelty.longest_copies([copy], []).tolist() == [0]
    halves = [piece._replace(timestep=Fraction(2)) for piece in (labelled(*CHORDS), train)]
    assert novelty.longest_copies(halves[:1], halves[1:]).tolist() == [10]


def test_no_copy_runs_over_the_end_of_a_piece():
    train = [labelled(*CHORDS[:2]), labelled(*CHORDS[2:])]
    assert novelty.longest_copies([labelled(*CHORDS)], train).tolist() == [2]


def test_self_bleu_on_paper():
    """a b c d e against a b c d f: 4 of 5 letters, 3 of 4 pairs, 2 of 3 triples, 1 of 2 fours, and the other way."""
    expected = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert novelty.self_bleu(["abcde", "abcdf"]) == pytest.approx(expected)
    assert novelty.self_bleu(["abcde", "abcde"]) == pytest.approx(1)
    assert novelty.self_bleu(["abcd", "efgh"]) == pytest.approx(1e-9)
    # Clipped by the other that has most: 2 of 4 a; 1 of 3 aa; no aaa: 1e-9, no aaaa: 1e-9. The others likewise.
    first = (2 / 4 * 1 / 3 * 1e-18) ** 0.25
    second = (2 / 4 * 1 / 3 * 1e-18) ** 0.25
    assert novelty.self_bleu(["aaaa", "aabc"]) == pytest.approx((first + second) / 2)


def test_self_bleu_needs_two_sequences():
    assert novelty.self_bleu(["abcde", "abc"]) is None
    assert novelty.self_bleu([]) is None
    assert novelty.self_bleu(["abcde", "abc", "abcde"]) == pytest.approx(1)


def test_distinct_on_paper():
    """The chords A B A B A: triples ABA BAB ABA, two of three distinct; in two pieces pooled two of six."""
    a, b = [55, 50, 47, 31], [57, 52, 48, 33]
    piece = labelled(a, b, a, b, a)
    assert novelty.distinct([piece], 3) == pytest.approx(2 / 3)
    assert novelty.distinct([piece, piece], 3) == pytest.approx(2 / 6)
    assert novelty.distinct([piece], 6) is None


def test_bach_copies_himself(voices16, ranks4):  # noqa: F811
    """Median 5 beats, 95% 9, at most 15; by rank 5, 9.4 and 15."""
    copies = novelty.longest_copies(voices16["test"], voices16["train"])
    assert (np.median(copies), np.percentile(copies, 95), copies.max()) == (5, 9, 15)
    copies = novelty.longest_copies(ranks4["test"], ranks4["train"])
    assert (np.median(copies), copies.max()) == (5, 15)
    assert np.percentile(copies, 95) == pytest.approx(9.4)


def test_bach_varies(voices16, ranks4):  # noqa: F811
    """Self-BLEU-4 of soprano .927, bass .862, chords .726; distinct-3 and -4 .338, .554; by rank .902, .348, .562."""
    test, ranks = voices16["test"], ranks4["test"]
    for voice, expected in ((0, 0.927), (3, 0.862)):
        intervals = [np.diff(parts.melody(piece, voice)).tolist() for piece in test]
        assert novelty.self_bleu(intervals) == pytest.approx(expected, abs=6e-4)
    assert novelty.self_bleu([novelty.chord_types(piece) for piece in test]) == pytest.approx(0.726, abs=5e-4)
    assert [novelty.distinct(test, n) for n in (3, 4)] == pytest.approx([0.338, 0.554], abs=5e-4)
    intervals = [np.diff(parts.melody(piece, 0)).tolist() for piece in ranks]
    assert novelty.self_bleu(intervals) == pytest.approx(0.902, abs=5e-4)
    assert [novelty.distinct(ranks, n) for n in (3, 4)] == pytest.approx([0.348, 0.562], abs=5e-4)
