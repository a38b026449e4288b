"""Real files: the timestep rule on sequenced music, and what is told from a performance."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from bachkeras.music import midi
from bachkeras.music.pianoroll import losses
from bachkeras.music.score import NOTE, Key, Meter, Score, Tempo
from bachkeras.music.timesteps import TIMESTEPS, is_performance, most_common, rounded


def line(starts, ticks_per_quarter=480, length=100):
    notes = [(int(start), int(start) + length, 60 + i % 7, 0) for i, start in enumerate(starts)]
    return Score(np.array(notes, NOTE), ticks_per_quarter, parts=("",))


RANDOM = np.random.default_rng(0)
SIXTEENTHS = 120 * np.arange(200)
WRITTEN = {
    "sixteenths": SIXTEENTHS,
    "sixteenths, a twelfth of one late": SIXTEENTHS + 10,
    "sixteenths by hand to a metronome": SIXTEENTHS + RANDOM.integers(-30, 31, 200) + 30,
    "triplets": 160 * np.arange(200),
    "sixteenths and triplets": np.concatenate([SIXTEENTHS[:100], SIXTEENTHS[100] + 160 * np.arange(100)]),
    "sixteenths with trills": np.sort(np.concatenate([SIXTEENTHS, 480 * 7 + 37 * np.arange(60)])),
    "32nds": 60 * np.arange(200),
    "syncopes": 480 * np.arange(200) + 240,
}


def test_written_music_is_no_performance():
    assert [name for name, starts in WRITTEN.items() if is_performance(line(starts))] == []
    assert not is_performance(line(5 * np.arange(50), ticks_per_quarter=5))  # Too few ticks to tell.
    assert not is_performance(Score(np.zeros(0, NOTE)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("resolution", [24, 96, 384, 480])
def test_rubato_is_a_performance(resolution, seed):
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.uniform(0.18, 0.32, 300)) * resolution
    assert is_performance(line(starts, resolution, length=3))


def test_rounded_times_are_on_all_grids_and_move_little():
    score = line([0, 119, 241, 362, 600, 641], length=118)
    score = dataclasses.replace(
        score, meters=(Meter(0, 4, 4), Meter(479, 3, 4)), keys=(Key(479, 2, 0),), tempos=(Tempo(961, 90.0),), upbeat=241
    )
    after = rounded(score)
    assert after.ticks_per_quarter == 24
    assert after.notes["start"].tolist() == [0, 6, 12, 18, 30, 32]
    assert after.notes["end"].tolist() == [6, 12, 18, 24, 36, 38]
    assert (after.upbeat, after.meters[1].tick, after.keys[0].tick, after.tempos[0].tick) == (12, 24, 24, 48)
    assert all((Fraction(24) * step).denominator == 1 for step in TIMESTEPS)


def test_rounded_notes_keep_a_length():
    assert rounded(line([0, 480], length=1)).notes[["start", "end"]].tolist() == [(0, 1), (24, 25)]


def raw(score):
    """The poster's rule to the letter: the most common sounding length in ticks."""
    return Fraction(int(np.bincount(score.notes["end"] - score.notes["start"]).argmax()), score.ticks_per_quarter)


def on_grid(score, step):
    """The share of onsets on a grid."""
    ticks = step * score.ticks_per_quarter
    return float(np.mean(score.notes["start"] * ticks.denominator % ticks.numerator == 0))


def sequenced(score, share):
    """The same with note-offs as a sequencer writes them."""
    notes = score.notes.copy()
    notes["end"] = np.maximum(notes["start"] + 1, notes["start"] + share * (notes["end"] - notes["start"]))
    return dataclasses.replace(score, notes=notes)


def test_shares_of_onsets_on_the_grid_of_real_files(jsb_dir):
    """Figures by `pytest tests/test_timesteps.py -k real -s -n 0`."""
    files = sorted((jsb_dir / "midi").glob("*.mid"))
    assert files
    print("\nfile, rule, raw rule; with notes of 80%: rule, raw rule; moved or lost by the rule")
    for path in files:
        score = midi.read(path)
        short = sequenced(score, 0.8)
        shares = [on_grid(each, rule(each)) for each in (score, short) for rule in (most_common, raw)]
        lost = losses(rounded(score), most_common(score))
        print(path.stem, *(f"{share:.2f}" for share in shares), f"{(lost.moved + lost.vanished) / lost.notes:.2f}")
        assert not is_performance(score)
        assert shares[0] >= shares[1]
        assert shares[2] == shares[0] > shares[3]
