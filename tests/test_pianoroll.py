"""Pianoroll: the timestep rule, the grid and what it loses, the way back, cleaning, transposition."""

from fractions import Fraction

import numpy as np
import pytest

from bachkeras.music import midi
from bachkeras.music.pianoroll import (
    KEYS,
    LOWEST,
    Losses,
    Pianoroll,
    frame_ranges,
    from_score,
    kept_frames,
    losses,
    to_score,
    transpose,
)
from bachkeras.music.score import NOTE, TICKS_PER_QUARTER, Key, Meter, Score, Tempo
from bachkeras.music.timesteps import TIMESTEPS, most_common

QUARTER = Fraction(1)
C4 = 60 - LOWEST


def score(*notes, ticks_per_quarter=480, end=0):
    """A score of notes (start, end, pitch) or (start, end, pitch, part)."""
    rows = np.array([(*note, 0)[:4] for note in notes], NOTE)
    return Score(rows, ticks_per_quarter, end, parts=("",) * (1 + int(rows["part"].max(initial=0))))


def sequence(sounding, gap, count=8, ticks_per_quarter=480):
    """`count` notes that sound `sounding` ticks each, `gap` ticks from onset to onset."""
    return score(*((i * gap, i * gap + sounding, 60) for i in range(count)), ticks_per_quarter=ticks_per_quarter)


def roll(*frames, onsets=None, timestep=QUARTER):
    """A pianoroll from a tuple of pitch indices a frame."""

    def multi_hot(rows):
        array = np.zeros((len(rows), KEYS), bool)
        for time, keys in enumerate(rows):
            array[time, list(keys)] = True
        return array

    return Pianoroll(multi_hot(frames), timestep, None if onsets is None else multi_hot(onsets))


def random_roll(seed, timestep=QUARTER, with_onsets=True):
    """Up to 40 frames, from empty to dense, with repeated notes and the outermost keys."""
    rng = np.random.default_rng(seed)
    time = int(rng.integers(0, 40))
    frames = np.repeat(rng.random((time, KEYS)) < rng.choice([0, 0.02, 0.3]), 2, axis=0)
    frames[: int(rng.integers(0, 4))] = False
    frames[len(frames) - int(rng.integers(0, 4)) :] = False
    return Pianoroll(frames, timestep, frames & (rng.random(frames.shape) < 0.5) if with_onsets else None)


def keys_of(frames):
    return [tuple(np.flatnonzero(frame).tolist()) for frame in frames]


# The timestep rule.


@pytest.mark.parametrize("value", TIMESTEPS)
def test_exact_note_values_are_the_timestep(value):
    length = int(value * TICKS_PER_QUARTER)
    assert most_common(sequence(length, length)) == value


@pytest.mark.parametrize(("sounding", "gap"), [(119, 120), (96, 120), (60 + 30, 120), (118, 120), (122, 240)])
def test_a_shortened_sixteenth_is_a_sixteenth(sounding, gap):
    # 96 of 120 ticks, .2 of a quarter, is nothing itself; 122 is a sixteenth before a rest.
    assert most_common(sequence(sounding, gap)) == Fraction(1, 4)


def test_a_dotted_note_does_not_vote():
    # Five dotted quarters and two eighths.
    starts = [0, 720, 1440, 2160, 2880, 3600, 3840]
    notes = [(start, end, 60) for start, end in zip(starts, [*starts[1:], 4080], strict=True)]
    assert most_common(score(*notes)) == Fraction(1, 2)


def test_equally_common_values_go_to_the_shorter():
    assert most_common(score((0, 480, 60), (480, 960, 62), (960, 1200, 64), (1200, 1440, 65))) == Fraction(1, 2)


def test_the_gap_is_measured_within_a_part_and_past_the_notes_of_a_chord():
    # Three shortened half-note chords in one part, above them one off-beat note in another.
    chords = [(960 * i, 960 * i + 800, pitch, 0) for i in range(4) for pitch in (60, 64, 67)]
    assert most_common(score(*chords, (1200, 1250, 80, 1))) == 2


def test_a_gap_shorter_than_the_note_does_not_count():
    # Notes of 1.25 quarters that overlap, an eighth from onset to onset; only the last is a quarter.
    overlapping = [(240 * i, 240 * i + 600, 60 + i) for i in range(6)]
    assert most_common(score(*overlapping, (1440, 1920, 72))) == 1


def test_where_no_note_votes_the_nearest_value_to_the_median_length():
    # Notes of .7 quarter, .9 quarter apart.
    assert most_common(sequence(336, 432)) == Fraction(2, 3)


def test_the_rule_does_not_depend_on_the_resolution():
    assert most_common(sequence(20, 24, ticks_per_quarter=96)) == Fraction(1, 4)


def test_a_score_without_notes_has_no_timestep():
    with pytest.raises(ValueError, match="name one"):
        most_common(score())
    with pytest.raises(ValueError, match="name one"):
        from_score(score())


# The grid.


def test_a_frame_holds_what_sounds_at_its_beginning():
    # Two quarters, a passing eighth between them, and a half note below.
    piece = score((0, 480, 60), (720, 960, 62), (960, 1440, 64), (0, 960, 48))
    pianoroll = from_score(piece, QUARTER)
    assert keys_of(pianoroll.frames) == [(27, 39), (27,), (43,)]
    assert keys_of(pianoroll.onsets) == [(27, 39), (), (43,)]
    assert pianoroll.timestep == 1


def test_frame_ranges_round_up_exactly():
    # Triplet eighths at 1000 ticks a quarter: a grid point falls between two ticks.
    first, stop = frame_ranges(
        score((0, 333, 60), (333, 667, 62), (667, 1000, 64), ticks_per_quarter=1000), Fraction(1, 3)
    )
    assert first.tolist() == [0, 1, 3]
    assert stop.tolist() == [1, 3, 3]


def test_silence_at_the_end_counts_and_rounds_up():
    assert len(from_score(score((0, 480, 60), end=961), QUARTER).frames) == 3
    assert len(from_score(score(), QUARTER).frames) == 0
    assert keys_of(from_score(score(end=960), QUARTER).frames) == [(), ()]


def test_the_outermost_keys_are_A0_and_C8():
    piece = score((0, 480, 20), (0, 480, 21), (0, 480, 108), (0, 480, 109))
    assert keys_of(from_score(piece, QUARTER).frames) == [(0, 87)]
    assert losses(piece, QUARTER).outside == 2


def test_a_note_struck_again_is_an_onset():
    piece = score((0, 480, 60), (480, 960, 60))
    assert keys_of(from_score(piece, QUARTER).onsets) == [(C4,), (C4,)]
    assert keys_of(from_score(score((0, 960, 60)), QUARTER).onsets) == [(C4,), ()]


def test_losses_by_hand():
    piece = score(
        (0, 480, 60, 0),  # remains
        (0, 480, 60, 1),  # merges with it
        (500, 900, 62, 0),  # vanishes
        (720, 1440, 64, 1),  # moves from 1.5 to 2
        (0, 480, 120, 1),  # outside
    )
    assert losses(piece, QUARTER) == Losses(notes=5, outside=1, vanished=1, merged=1, moved=1)
    assert keys_of(from_score(piece, QUARTER).onsets) == [(C4,), (), (C4 + 4,)]


def test_losses_account_for_every_note():
    rng = np.random.default_rng(1)
    start = rng.integers(0, 4000, 500)
    notes = zip(
        start, start + rng.integers(1, 1500, 500), rng.integers(0, 128, 500), rng.integers(0, 4, 500), strict=True
    )
    piece = score(*notes)
    for step in TIMESTEPS:
        lost = losses(piece, step)
        assert lost.notes == 500
        assert from_score(piece, step).onsets.sum() == lost.notes - lost.outside - lost.vanished - lost.merged


# The way back.


def test_equal_pitches_on_end_are_held_unless_struck():
    frames = [(C4,), (C4,), (C4,), (), (C4,)]
    held = to_score(roll(*frames))
    struck = to_score(roll(*frames, onsets=[(C4,), (), (C4,), (), (C4,)]))
    assert held.notes.tolist() == [(0, 1440, 60, 0), (1920, 2400, 60, 0)]
    assert struck.notes.tolist() == [(0, 960, 60, 0), (960, 1440, 60, 0), (1920, 2400, 60, 0)]


def test_a_score_knows_what_it_is_told():
    piece = to_score(
        roll((C4,)), part="Flute", tempo=96, meters=[Meter(0, 3, 4)], keys=[Key(0, 7, 0)], upbeat=480, title="Air"
    )
    assert (piece.parts, piece.title, piece.upbeat) == (("Flute",), "Air", 480)
    assert (piece.tempos, piece.meters, piece.keys) == ((Tempo(0, 96),), (Meter(0, 3, 4),), (Key(0, 7, 0),))
    assert to_score(roll((C4,))).tempos == ()


@pytest.mark.parametrize("step", [*TIMESTEPS, Fraction(1, 64), Fraction(1, 7)])
def test_pianoroll_to_midi_file_to_pianoroll_is_the_identity(step, tmp_path):
    for seed in range(6):
        before = random_roll(seed, step, with_onsets=seed % 3 > 0)
        midi.write(tmp_path / "piece.mid", to_score(before))
        after = from_score(midi.read(tmp_path / "piece.mid"), step)
        np.testing.assert_array_equal(after.frames, before.frames)
        if before.onsets is not None:
            np.testing.assert_array_equal(after.onsets, before.onsets)


@pytest.mark.parametrize("seed", range(20))
def test_pianoroll_to_score_to_pianoroll_is_the_identity(seed):
    before = random_roll(seed, Fraction(1, 6))
    after = from_score(to_score(before), before.timestep)
    np.testing.assert_array_equal(after.frames, before.frames)
    np.testing.assert_array_equal(after.onsets, before.onsets)


@pytest.mark.parametrize("frames", [[], [()], [(), ()], [(), (C4,), ()]])
def test_empty_pianorolls_survive_a_midi_file(frames, tmp_path):
    midi.write(tmp_path / "piece.mid", to_score(roll(*frames)))
    assert keys_of(from_score(midi.read(tmp_path / "piece.mid"), QUARTER).frames) == frames


# Cleaning.


def test_long_pauses_and_repetitions_are_cut():
    frames = [()] * 3 + [(1,)] * 5 + [()] * 4 + [(1, 2)] * 2 + [(2,)] * 3 + [()] * 2
    pianoroll = roll(*frames)
    kept = pianoroll.take(kept_frames(pianoroll, max_silence=2, max_repeat=3))
    assert keys_of(kept.frames) == [(1,)] * 3 + [()] * 2 + [(1, 2)] * 2 + [(2,)] * 3


def test_a_repetition_is_long_whether_held_or_struck():
    struck = roll(*[(1,)] * 6, onsets=[(1,)] * 6)
    held = roll(*[(1,)] * 6, onsets=[(1,), *[()] * 5])
    for pianoroll in struck, held:
        assert kept_frames(pianoroll, max_repeat=4).tolist() == [True] * 4 + [False] * 2


def test_a_held_note_stays_held_over_a_cut():
    # A long chord, of which the lower note is held on.
    frames, onsets = [(1, 5)] * 6 + [(1,)], [(1, 5), *[()] * 6]
    pianoroll = roll(*frames, onsets=onsets)
    kept = pianoroll.take(kept_frames(pianoroll, max_repeat=2))
    assert keys_of(kept.frames) == [(1, 5), (1, 5), (1,)]
    assert keys_of(kept.onsets) == [(1, 5), (), ()]


def test_cleaning_twice_is_cleaning_once():
    for seed in range(10):
        pianoroll = random_roll(seed)
        once = pianoroll.take(kept_frames(pianoroll, max_silence=1, max_repeat=1))
        assert kept_frames(once, max_silence=1, max_repeat=1).all()


def test_of_silence_nothing_is_kept():
    assert not kept_frames(roll((), (), ())).any()
    assert kept_frames(roll()).shape == (0,)


@pytest.mark.parametrize("limits", [{"max_silence": 0}, {"max_repeat": 0}])
def test_a_limit_is_at_least_a_frame(limits):
    with pytest.raises(ValueError, match=f"Received: .*{next(iter(limits))}=0"):
        kept_frames(roll(()), **limits)


# Transposition and errors.


def test_transposition_moves_frames_and_onsets():
    higher = transpose(roll((0, 4), (4,), onsets=[(0, 4), ()]), 83)
    assert keys_of(higher.frames) == [(83, 87), (87,)]
    assert keys_of(higher.onsets) == [(83, 87), ()]
    assert keys_of(transpose(higher, -83).frames) == [(0, 4), (4,)]


@pytest.mark.parametrize("semitones", [-1, 84, 200])
def test_transposition_is_never_clipped(semitones):
    with pytest.raises(ValueError, match=rf"Received: semitones={semitones} for pitch indices 0\.\.4"):
        transpose(roll((0, 4)), semitones)


def test_silence_can_be_transposed_anywhere():
    assert not transpose(roll(()), 100).frames.any()


def test_a_note_begins_where_its_key_did_not_sound_before():
    assert keys_of(roll((1,), (), (1, 2), onsets=[(), (), ()]).onsets) == [(1,), (), (1, 2)]


EMPTY = np.zeros((2, KEYS), bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 87), bool), QUARTER), r"\(time, 88\). Received: frames.shape=\(2, 87\)"),
        ((np.zeros((2, KEYS)), QUARTER), "bool.*Received: frames.dtype=float64"),
        ((EMPTY, 0), "positive Fraction.*Received: timestep=0"),
        ((EMPTY, 0.25), "positive Fraction.*Received: timestep=0.25"),
        ((EMPTY, QUARTER, np.zeros((3, KEYS), bool)), r"\(2, 88\). Received: onsets.shape=\(3, 88\)"),
        ((EMPTY, QUARTER, ~EMPTY), "Received: an onset at time=0, key=0"),
    ],
)
def test_a_wrong_pianoroll_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pianoroll(*arguments)


def test_a_mask_has_a_value_a_frame():
    with pytest.raises(ValueError, match=r"Received: kept.shape=\(3,\)"):
        roll((), ()).take(np.ones(3, bool))
    with pytest.raises(ValueError, match=r"Received: kept\.dtype=int64"):
        roll((), ()).take(np.array([0, 1]))
