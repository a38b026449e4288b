"""Every chorale through the events that a model writes and back: each note, repeat and tie where it was."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from bachkeras.data import chorales, parallel
from bachkeras.layers.frame import ChainedVoices
from bachkeras.music import voices

SIXTEENTH = Fraction(1, 4)

OFF_THE_GRID = {"bwv36.4-2": 2, "bwv185.6": 4, "bwv248.64-6": 4, "bwv248.64-s": 4, "bwv432": 4}
"""The exceptions: chorales with notes off the sixteenth grid, and how many notes come back changed or not at all."""


def score(name):
    return chorales.read(name).score


@pytest.mark.slow
def test_every_chorale_comes_back_from_events_with_onsets():
    frame = ChainedVoices(labelled=True, onsets=True)
    signature = {"voices": tf.TensorSpec((1, None, 4), tf.int32), "voice_onsets": tf.TensorSpec((1, None, 4), tf.bool)}
    read = tf.function(frame.read, input_signature=[signature])
    ids = chorales.ids()
    changed, repeats = {}, 0
    for name, before in zip(ids, parallel.ordered_map(score, ids, description="Reading chorales"), strict=True):
        columns, onsets = voices.from_score(before, SIXTEENTH)
        sounding = read({"voices": columns[None], "voice_onsets": onsets[None]})
        after = voices.to_score(sounding.events[0].numpy(), sounding.onsets[0].numpy(), SIXTEENTH)
        lost = set(before.notes.tolist()) - set(after.notes.tolist())
        on_the_grid = not (before.notes["start"] % 120).any() and not (before.notes["end"] % 120).any()
        assert on_the_grid != bool(lost)
        if lost:
            changed[name] = len(lost)
        else:
            assert len(after.notes) == len(before.notes)
            assert after.end == before.end
        columns, onsets = columns[1:], onsets[1:] & (columns[1:] == columns[:-1])
        repeats += int(np.sum(onsets))
    print(
        f"\n{len(ids)} chorales, {len(changed)} with notes off the sixteenth grid: {changed}; {repeats} repeated notes"
    )
    assert changed == OFF_THE_GRID
    assert repeats > 10000
