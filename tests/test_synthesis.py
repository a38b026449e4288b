"""The waveform of a score: how long and loud it is, what sounds in it and when, and that nothing clicks."""

import itertools
import time

import numpy as np
import pytest

from bachkeras.music.score import NOTE, Score, Tempo
from bachkeras.music.synthesis import GAP, PEAK, RATE, TAIL, synthesize

A4 = 69
PROGRAMS = (0, 6, 19, 48, 52, 73)
"""One of each timbre: piano, harpsichord, organ, strings, choir, flute."""


def score(*notes, **values):
    """A score of four parts, a quarter a second."""
    return Score(np.array([*notes], NOTE), parts=("", "", "", ""), **({"tempos": (Tempo(0, 60),)} | values))


def level(sound, first, last):
    """Root mean square between two times in seconds."""
    return np.sqrt(np.mean(sound[round(first * RATE) : round(last * RATE)] ** 2))


def strongest(sound, first, last):
    """The strongest frequency between two times in seconds."""
    part = sound[round(first * RATE) : round(last * RATE)]
    return np.abs(np.fft.rfft(part)).argmax() * RATE / len(part)


def random_score(random, quarters=16):
    """Four voices with rests, repeated notes and unisons."""
    rows = []
    for part in range(4):
        start = 0
        while start < 480 * quarters:
            end = start + 240 * int(random.integers(1, 5))
            if random.random() < 0.8:
                rows.append((start, end, random.integers(48, 64), part))
            start = end
    return score(*rows)


def test_a_sound_is_as_long_as_its_score_and_a_tail():
    sound = synthesize(score((0, 480, 60, 0), end=1440))
    assert sound.dtype == np.float32
    assert sound.shape == (round((3 + TAIL) * RATE),)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("seed", range(3))
def test_the_largest_sample_is_the_peak_and_every_note_is_heard(program, seed):
    piece = random_score(np.random.default_rng(seed))
    sound = synthesize(piece, program)
    assert np.abs(sound).max() == pytest.approx(PEAK, abs=1e-6)
    for start, end in piece.notes[["start", "end"]].tolist():
        assert level(sound, start / 480, end / 480) > 0.03


def test_every_program_sounds():
    for program in range(128):
        assert level(synthesize(score((0, 240, 60, 0)), program), 0, 0.5) > 0.05, program


@pytest.mark.parametrize("pitch", [0, 127])
def test_every_pitch_sounds(pitch):
    sound = synthesize(score((0, 480, pitch, 0)))
    assert strongest(sound, 0, 1) == pytest.approx(440 * 2 ** ((pitch - 69) / 12), abs=1)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("pitch", "hertz"), [(36, 65.41), (60, 261.63), (A4, 440), (81, 880)])
def test_the_strongest_frequency_is_the_pitch(program, pitch, hertz):
    assert strongest(synthesize(score((0, 480, pitch, 0)), program), 0, 1) == pytest.approx(hertz, abs=1)


def test_nothing_sounds_below_a_high_note():
    sound = synthesize(score((0, 480, 120, 0)), program=6)
    spectrum = np.abs(np.fft.rfft(sound[: RATE // 2]))  # 2 Hz a bin
    assert spectrum[:4000].max() < 0.01 * spectrum.max()


def test_the_pitch_stays_exact_in_a_long_note():
    sound = synthesize(score((0, 480 * 60, A4, 0)), program=19)
    assert strongest(sound, 50, 60) == pytest.approx(440, abs=0.1)


@pytest.mark.parametrize("program", PROGRAMS)
def test_low_and_high_notes_are_as_loud_within_a_factor_of_two(program):
    middle = 60
    for pitch in (40, 50, 70, 80):
        sound = synthesize(score((0, 480, middle, 0), (960, 1440, pitch, 0)), program)
        assert 0.5 < level(sound, 2, 3) / level(sound, 0, 1) < 2, pitch


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_rest_is_silent_once_the_release_is_over(program):
    sound = synthesize(score((0, 480, 60, 0), (960, 1440, 60, 0)), program)
    assert level(sound, 1, 1.05) > 0.001
    assert not sound[round(1.2 * RATE) + 1 : 2 * RATE].any()
    assert not sound[round(3.2 * RATE) + 1 :].any()


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_clicks(program):
    """Where notes begin, end and are struck again, the steps between samples are those of a held A3."""
    edges = (0, 117, 480, 511, 960)
    moving = synthesize(score(*((start, end, 57, 0) for start, end in itertools.pairwise(edges))), program)
    held = synthesize(score((0, 960, 57, 0)), program)
    assert np.abs(np.diff(moving)).max() <= np.abs(np.diff(held)).max() * 1.1
    assert np.abs(np.diff(held)).max() < 0.2
    assert abs(moving[0]) < 0.01


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_repeated_note_is_struck_again(program):
    held = synthesize(score((0, 960, A4, 0)), program)
    repeated = synthesize(score((0, 480, A4, 0), (480, 960, A4, 0)), program)
    assert level(held, 0.998, 1) > 0.05
    assert level(repeated, 0.998, 1) < 0.1 * level(repeated, 1 - 2 * GAP, 1 - GAP)
    assert level(repeated, 1.05, 1.1) > 0.9 * level(repeated, 0.05, 0.1)


def test_a_pitch_struck_while_it_sounds_in_its_part_ends_the_note_before():
    overlapping = synthesize(score((0, 960, A4, 0), (480, 960, A4, 0)), program=19)
    np.testing.assert_array_equal(overlapping, synthesize(score((0, 480, A4, 0), (480, 960, A4, 0)), program=19))


def test_of_two_notes_that_begin_as_one_the_longer_sounds():
    double = synthesize(score((0, 240, A4, 0), (0, 480, A4, 0)))
    np.testing.assert_array_equal(double, synthesize(score((0, 480, A4, 0))))


def test_a_held_note_sounds_on_where_another_part_strikes_its_pitch():
    sound = synthesize(score((0, 960, A4, 0), (0, 480, A4, 1), (480, 960, A4, 1)), program=19)
    assert level(sound, 0.998, 1) > 0.4 * level(sound, 0.5, 0.6)


def test_struck_strings_die_away_and_pipes_do_not():
    long = score((0, 1920, A4, 0))
    piano, organ = synthesize(long, 0), synthesize(long, 19)
    assert level(piano, 3, 4) < 0.2 * level(piano, 0, 1)
    assert level(organ, 3, 4) == pytest.approx(level(organ, 0, 1), rel=0.05)


@pytest.mark.parametrize(("program", "attack"), [(0, 0.004), (19, 0.02), (48, 0.06)])
def test_a_note_rises_in_its_attack(program, attack):
    sound = synthesize(score((0, 480, A4, 0)), program)
    assert level(sound, 0, attack / 4) < 0.2 * level(sound, attack, 2 * attack)
    assert level(sound, attack, 2 * attack) > 0.9 * level(sound, 0, 0.2)


def test_a_tempo_that_changes_is_heard():
    tempos = (Tempo(0, 60), Tempo(480, 120), Tempo(960, 30))
    notes = [(0, 480, 57, 0), (480, 960, 69, 0), (960, 1440, 81, 0)]
    sound = synthesize(score(*notes, tempos=tempos), program=19)
    assert len(sound) == round((1 + 0.5 + 2 + TAIL) * RATE)
    for first, last, hertz in [(0, 1, 220), (1.15, 1.5, 440), (1.65, 3.5, 880)]:
        assert strongest(sound, first, last) == pytest.approx(hertz, abs=2)


def test_without_tempos_a_quarter_lasts_three_quarters_of_a_second():
    assert len(synthesize(score((0, 480, A4, 0), tempos=()))) == round((0.75 + TAIL) * RATE)


def test_the_same_score_is_the_same_sound():
    piece = random_score(np.random.default_rng(0))
    np.testing.assert_array_equal(synthesize(piece), synthesize(piece))


def test_a_minute_of_four_voices_takes_a_few_seconds_at_most():
    piece = random_score(np.random.default_rng(0), quarters=60)
    begin = time.process_time()
    synthesize(piece)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("notes", [[], [(480, 480, 60, 0)]])
def test_a_score_without_notes_is_an_error(notes):
    with pytest.raises(ValueError, match=r"^Nothing sounds in a score without notes\. Received: score.end=960, "):
        synthesize(score(*notes, end=960))


@pytest.mark.parametrize("program", [-1, 128])
def test_there_are_128_programs(program):
    with pytest.raises(ValueError, match=rf"^A program of General MIDI is a number 0..127\. Received: {program=}$"):
        synthesize(score((0, 480, 60, 0)), program)
