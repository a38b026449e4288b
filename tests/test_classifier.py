"""The classifier as a judge: blind where there is nothing to tell, right where there is."""

from fractions import Fraction

import numpy as np
import pytest

from bachkeras.evaluation import classifier
from bachkeras.evaluation.parts import Parts
from bachkeras.music.voices import REST


def pieces(random, count, step, frames=48):
    """Four voices that go up and down by `step` semitones."""
    found = []
    for _ in range(count):
        walk = np.cumsum(random.choice([-step, 0, step], (frames, 4)), 0)
        found.append(Parts((np.array([60, 50, 40, 30]) + np.clip(walk, -4, 4)).astype(np.int32), Fraction(1), False))
    return found


def test_the_same_music_cannot_be_told_apart():
    random = np.random.default_rng(0)
    shares = [classifier.accuracy(pieces(random, 30, 2), pieces(random, 60, 2), seed) for seed in range(5)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_other_music_can():
    random = np.random.default_rng(0)
    samples, real = pieces(random, 30, 1), pieces(random, 60, 2)
    assert classifier.accuracy(samples, real) > 0.95
    assert classifier.accuracy(samples, real) == classifier.accuracy(samples, real)


def test_both_kinds_weigh_the_same():
    """One kind has four times as many passages: to call all the same is no help."""
    random = np.random.default_rng(0)
    real = pieces(random, 40, 2, frames=64)
    samples = [piece._replace(voices=piece.voices[-16:]) for piece in pieces(random, 40, 2, frames=64)]
    shares = [classifier.accuracy(samples, real, seed) for seed in range(5)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.1)


def test_one_piece_is_no_sample():
    random = np.random.default_rng(0)
    assert classifier.accuracy(pieces(random, 1, 2), pieces(random, 5, 2)) is None


def test_features_by_hand():
    """Two frames of three notes; the two upper ones both move a fifth apart, the bass stays."""
    voices = np.array([[57, 50, 40, REST], [59, 52, 40, REST]], np.int32)
    found = classifier.features(Parts(voices, Fraction(1), False))
    classes, above, notes, soprano, bass, pairs, stays = np.split(found, np.cumsum([12, 12, 5, 25, 25, 144]))
    assert classes[57 % 12] == classes[50 % 12] == classes[59 % 12] == 0.5
    assert classes[40 % 12] == 1.5  # E in the bass, and in the second alto.
    assert above[0] == 1.5  # The alto of the second frame is an octave above the bass.
    assert above[5] == above[10] == above[7] == 0.5
    np.testing.assert_array_equal(np.flatnonzero(notes), [3])
    np.testing.assert_array_equal(np.flatnonzero(soprano), [14])
    np.testing.assert_array_equal(np.flatnonzero(bass), [12])
    np.testing.assert_array_equal(np.flatnonzero(pairs), [12 * 7 + 7])
    np.testing.assert_array_equal(stays, [0, 0, 1, 0])


def test_silence_has_features():
    silent = Parts(np.full((3, 4), REST, np.int32), Fraction(1), False)
    assert np.all(np.isfinite(classifier.features(silent)))
    assert len(classifier.features(silent._replace(voices=silent.voices[:1]))) == len(classifier.features(silent))
