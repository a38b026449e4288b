"""Separation: every note finds its voice."""

import itertools
import time

import numpy as np
import pytest

from bachkeras.data import chorales
from bachkeras.music.score import NOTE, Score
from bachkeras.music.separation import separate

SOPRANO, ALTO, TENOR, BASS = range(4)


def score(*notes, parts=("",)):
    """A score of (start, end, pitch) or (start, end, pitch, part), times in quarters."""
    rows = [(round(480 * note[0]), round(480 * note[1]), note[2], *(note[3:] or [0])) for note in notes]
    return Score(np.array(rows, NOTE), parts=parts)


def voices_of(score, voices=4):
    """The voice of each note by start and descending pitch: (pitch, voice)."""
    order = np.lexsort((-score.notes["pitch"], score.notes["start"]))
    return list(zip(score.notes["pitch"][order].tolist(), separate(score, voices)[order].tolist(), strict=True))


def overlap(first, second):
    """Whether two notes overlap by half of the shorter one or more."""
    both = min(first["end"], second["end"]) - max(first["start"], second["start"])
    return both * 2 >= min(first["end"] - first["start"], second["end"] - second["start"])


def quartet(*names, pitches=(72, 65, 60, 48)):
    return score(*((0, 4, pitch, part) for part, pitch in enumerate(pitches)), parts=names)


@pytest.mark.parametrize(
    "names",
    [
        ("Tenor", "Bass", "Soprano", "Alto"),
        ("TENOR", "bass", "Soprano Oboe 1", "alto"),
        ("T.", "B.", "S.", "A."),
        ("Tenor", "Bass", "Sopran", "Alt"),
    ],
)
def test_parts_that_are_named_are_these_voices(names):
    crossed = quartet(*names, pitches=(67, 60, 62, 64))
    assert voices_of(crossed) == [(67, TENOR), (64, ALTO), (62, SOPRANO), (60, BASS)]


@pytest.mark.parametrize("names", [("", "", "", ""), ("Soprano", "Soprano", "Tenor", "Bass"), ("Violin", "", "B", "A")])
def test_other_parts_are_voices_by_mean_pitch(names):
    pitches = dict(enumerate((60, 48, 72, 65)))
    notes = [(0, 4, pitch, part) for part, pitch in pitches.items()]
    # The mean of the highest part is 69 by time and 60 by notes, that of the second one 65.
    notes[2:3] = [(0, 3.5, 72, 2), (3.5, 4, 48, 2)]
    assert voices_of(score(*notes, parts=names))[:4] == [(72, SOPRANO), (65, ALTO), (60, TENOR), (48, BASS)]


def test_parts_without_notes_do_not_count():
    lines = score((0, 1, 48, 1), (0, 1, 60, 2), (0, 1, 65, 4), (0, 1, 72, 5), parts=("",) * 6)
    assert voices_of(lines) == [(72, SOPRANO), (65, ALTO), (60, TENOR), (48, BASS)]


@pytest.mark.parametrize(
    ("pitches", "wanted"),
    [
        ([72], [SOPRANO]),
        ([62], [ALTO]),
        ([40], [BASS]),
        ([72, 48], [SOPRANO, BASS]),
        ([74, 72], [SOPRANO, ALTO]),
        ([72, 66, 50], [SOPRANO, ALTO, BASS]),
    ],
)
def test_fewer_lines_than_voices_are_those_with_the_nearest_homes(pitches, wanted):
    """And stay there, wherever they leap."""
    notes = [(0, 4, pitch, part) for part, pitch in enumerate(pitches)]
    notes += [(4, 4.5, pitch - 12, part) for part, pitch in enumerate(pitches)]
    assert [voice for _, voice in voices_of(score(*notes, parts=("",) * len(pitches)))] == wanted * 2


def test_a_named_line_is_that_voice():
    assert voices_of(score((0, 1, 80), parts=("Bass",))) == [(80, BASS)]


def test_chords_fall_to_the_voices_from_the_highest_down():
    chords = score(*((0, 1, pitch) for pitch in (72, 67, 64, 48)), *((1, 2, pitch) for pitch in (71, 67, 62, 43)))
    assert [voice for _, voice in voices_of(chords)] == [SOPRANO, ALTO, TENOR, BASS] * 2


def test_voices_move_least():
    """A chord of three after one of four: the bass rests, as the others are nearer."""
    chords = score(*((0, 1, pitch) for pitch in (72, 67, 64, 48)), *((1, 2, pitch) for pitch in (74, 67, 62)))
    assert voices_of(chords)[4:] == [(74, SOPRANO), (67, ALTO), (62, TENOR)]


def test_a_voice_that_sounds_on_is_not_crossed():
    """While the soprano holds 67, the note above the alto's last one is still the alto's."""
    held = score((0, 2, 67), (0, 1, 60), (0, 2, 55), (0, 2, 48), (1, 2, 66))
    assert voices_of(held)[-1] == (66, ALTO)


def test_a_voice_crosses_before_a_note_is_lost():
    """Only the alto is free, and leaps over the soprano."""
    held = score((0, 2, 67), (0, 1, 60), (0, 2, 55), (0, 2, 48), (1, 2, 70))
    assert voices_of(held)[-1] == (70, ALTO)


def test_of_too_many_notes_the_outer_and_the_nearest_ones_are_kept():
    chords = score(
        *((0, 1, pitch) for pitch in (72, 67, 64, 48)), *((1, 2, pitch) for pitch in (84, 76, 66, 63, 52, 36))
    )
    assert voices_of(chords)[4:] == [(84, SOPRANO), (76, -1), (66, ALTO), (63, TENOR), (52, -1), (36, BASS)]


def test_a_unison_is_two_voices_or_one():
    chord = [(0, 1, 72), (0, 1, 64), (0, 1, 64), (0, 1, 48)]
    assert voices_of(score(*chord)) == [(72, SOPRANO), (64, ALTO), (64, TENOR), (48, BASS)]
    doubled = score(*chord, (0, 1, 72))
    assert voices_of(doubled) == [(72, SOPRANO), (72, -1), (64, ALTO), (64, TENOR), (48, BASS)]


def test_small_overlaps_are_legato_and_a_played_chord_is_one():
    """Four voices that begin out of order, up to 20 ticks apart, and end 30 late."""
    notes = [
        (480 * beat + late, 480 * beat + 510, pitch + 2 * (beat % 3), 0)
        for beat in range(8)
        for pitch, late in ((72, 20), (67, 0), (60, 12), (48, 5))
    ]
    played = Score(np.array(notes, NOTE), parts=("Piano",))
    assert voices_of(played) == [
        (pitch + 2 * (beat % 3), voice)
        for beat in range(8)
        for pitch, voice in ((67, ALTO), (48, BASS), (60, TENOR), (72, SOPRANO))
    ]


def test_a_line_of_small_overlaps_is_one_voice():
    line = score(*((beat, beat + 1.4, 60 + beat % 5) for beat in range(20)))
    assert set(separate(line).tolist()) == {ALTO}


def test_other_numbers_of_voices():
    chord = score(*((0, 1, pitch) for pitch in (76, 72, 60, 40)))
    assert voices_of(chord, 2) == [(76, 0), (72, -1), (60, -1), (40, 1)]
    assert voices_of(chord, 5) == [(76, 0), (72, 1), (60, 2), (40, 4)]
    # One voice has no place for both the highest and the lowest: the nearer one is kept.
    assert sorted(voices_of(chord, 1)) == [(40, -1), (60, -1), (72, -1), (76, 0)]
    with pytest.raises(ValueError, match=r"Notes need a voice to sing them\. Received: voices=0"):
        separate(chord, 0)


def test_notes_of_no_length_have_no_voice():
    assert voices_of(score((0, 1, 60), (0.5, 0.5, 62), (1, 2, 64))) == [(60, ALTO), (62, -1), (64, ALTO)]
    assert separate(score((1, 1, 60))).tolist() == [-1]


def test_nothing():
    found = separate(Score(np.array([], NOTE)))
    assert (found.shape, found.dtype) == ((0,), np.int64)


@pytest.mark.parametrize("voices", [1, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_voice_is_a_line_and_a_note_is_left_out_only_where_every_voice_sings(seed, voices):
    rng = np.random.default_rng(seed)
    notes = np.zeros(150, NOTE)
    notes["start"] = rng.integers(0, 20000, len(notes))
    notes["end"] = notes["start"] + rng.choice([60, 240, 480, 1000], len(notes))
    notes["pitch"] = rng.integers(40, 80, len(notes))
    piece = Score(notes, parts=("",))
    found = separate(piece, voices)
    lines = [piece.notes[found == voice] for voice in range(voices)]
    assert not any(overlap(*pair) for line in lines for pair in itertools.combinations(line, 2))
    left_out = piece.notes[found < 0]
    assert len(left_out)
    assert all(any(overlap(note, other) for other in line) for note in left_out for line in lines)


@pytest.mark.parametrize(("name", "least"), [("bwv272", 1.0), ("bwv245.14", 0.98), ("bwv304", 0.978)])
def test_a_chorale_in_one_part_finds_its_voices_again(name, least):
    real = chorales.read(name).score
    order = np.lexsort((-real.notes["pitch"], real.notes["start"]))
    merged = real.notes[order]
    merged["part"] = 0
    found = separate(Score(merged, parts=("Organ",)))
    assert (found == real.notes["part"][order]).mean() >= least
    assert found.min() == 0
    np.testing.assert_array_equal(separate(real), real.notes["part"])


def test_a_long_piece_is_quick():
    rng = np.random.default_rng(0)
    chords = [(beat, beat + 1, pitch) for beat in range(1000) for pitch in rng.choice(np.arange(36, 84), 5, False)]
    piece = score(*chords)
    start = time.perf_counter()
    found = separate(piece)
    assert time.perf_counter() - start < 2
    assert np.bincount(found + 1).tolist() == [1000] * 5
