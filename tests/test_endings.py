"""Where pieces end: the last chord's bass against the tonic, and what the model sees of it."""

import numpy as np
import pytest

from bachkeras.evaluation import endings
from bachkeras.layers import ending
from bachkeras.music.pianoroll import LOWEST


def roll(*chords):
    """Frames with these MIDI pitches."""
    frames = np.zeros((len(chords), 88), bool)
    for frame, chord in zip(frames, chords, strict=True):
        frame[np.array(chord, int) - LOWEST] = True
    return frames


def test_the_last_chord_counts_and_its_lowest_note():
    rolls = [
        roll([48, 60], [50, 60]),  # ends on D
        roll([50, 62], [48, 64, 67], [], []),  # on C, then silence
        roll([52, 60, 67]),  # C major over E
        roll([], []),
    ]
    assert endings.on_tonic(rolls, [2, 0, 0, 0]) == pytest.approx(0.5)
    assert endings.on_tonic(rolls, [2, 12, 12, 12]) == 1.0
    assert endings.on_tonic(rolls[:1], [12]) is None


def test_degrees_are_counted_from_the_tonic():
    """A first inversion of D major over F#, in D; the same in C; the tonic unknown; silence."""
    chord = roll([54, 62, 69])[0]
    seen = ending.degrees(np.stack([chord, chord, chord, 0 * chord]), np.array([2, 0, 12, 2])).numpy()
    assert np.flatnonzero(seen[0]).tolist() == [0, 4, 7, 12 + 4]
    assert np.flatnonzero(seen[1]).tolist() == [2, 6, 9, 12 + 6]
    assert not seen[2:].any()
    one = ending.degrees(np.stack([chord, chord])[None], np.array([[2, 0]])).numpy()
    np.testing.assert_array_equal(one[0], seen[:2])


def test_the_ending_is_a_bernoulli():
    odds = np.array([-2.0, 0.0, 3.0], np.float32)
    ends, goes_on = (np.exp(ending.log_prob(odds, np.full(3, last))) for last in (True, False))
    np.testing.assert_allclose(ends + goes_on, 1, rtol=1e-6)
    np.testing.assert_allclose(ends, 1 / (1 + np.exp(-odds)), rtol=1e-6)
