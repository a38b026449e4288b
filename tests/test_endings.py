"""Where pieces end: the last chord's bass against the tonic."""

import numpy as np
import pytest

from bachkeras.evaluation import endings
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
