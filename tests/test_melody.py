"""The melody of a score: what is a line, what is a chord, which notes are on top."""

import numpy as np
import pytest

from bachkeras.music import melody
from bachkeras.music.score import MAJOR, NOTE, Key, Meter, Score, Tempo


def score(*notes, **values):
    """A score of (start, end, pitch, part) in ticks; the part is 0 where it is left out."""
    rows = [(*note, 0)[:4] for note in notes]
    parts = tuple(f"Part {i + 1}" for i in range(max((row[3] for row in rows), default=0) + 1))
    return Score(np.array(rows, NOTE), **({"parts": parts} | values))


def line(score, voice=None):
    """The notes of a melody, without their part."""
    notes = melody.of(score, voice).notes
    assert (notes["part"] == 0).all()
    assert (np.diff(notes["start"]) > 0).all()
    return notes[["start", "end", "pitch"]].tolist()


def reason(score, voice=None):
    with pytest.raises(ValueError, match=r"Received: \w+=") as caught:
        melody.of(score, voice)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SATB = score(
    (0, 480, 72, 0), (480, 960, 74, 0), (0, 960, 67, 1), (0, 960, 64, 2), (0, 480, 48, 3), (480, 960, 50, 3),
    parts=("Soprano", "Alto", "Tenor", "Bass"),
)  # fmt: skip
CHOICES = """choose "top" (the highest notes) or a part: 1 'Soprano', 2 'Alto', 3 'Tenor', 4 'Bass'."""


def test_a_line_is_kept_to_the_tick_and_so_is_all_else():
    values = {
        "ticks_per_quarter": 1000,
        "end": 5000,
        "meters": (Meter(0, 3, 4),),
        "keys": (Key(0, 2, MAJOR),),
        "tempos": (Tempo(7, 71.5),),
        "upbeat": 250,
        "title": "A tune",
    }
    found = melody.of(score((3, 251, 60), (251, 999, 60), (1500, 1501, 62), **values))
    assert found.notes.tolist() == [(3, 251, 60, 0), (251, 999, 60, 0), (1500, 1501, 62, 0)]
    assert {name: getattr(found, name) for name in values} == values
    assert found.parts == ("Soprano",)


def test_parts_that_never_sound_together_are_a_line():
    assert line(score((0, 10, 60, 1), (10, 20, 62, 0), (20, 30, 64, 1))) == [(0, 10, 60), (10, 20, 62), (20, 30, 64)]


@pytest.mark.parametrize(
    ("second", "is_line"),
    [
        ((100, 200, 62), True),
        ((51, 200, 62), True),  # 49 of 100 ticks.
        ((50, 200, 62), False),
        ((90, 110, 62), False),  # 10 of 20.
        ((90, 111, 62), True),  # 10 of 21: the half is 10.5.
        ((0, 100, 62), False),
        ((0, 1000, 62), False),
        ((99, 100, 62), False),  # Inside the first one.
        ((51, 200, 60), True),  # The same pitch, in another part.
    ],
)
def test_an_overlap_of_half_of_the_shorter_note_is_a_chord(second, is_line):
    notes = score((0, 100, 60), (*second, 1))
    if is_line:
        assert line(notes) == [(0, 100, 60), second]
    else:
        assert "has chords" in reason(notes)


def test_neighbours_tell_of_all_pairs():
    random = np.random.default_rng(0)
    lines = 0
    for _ in range(1000):
        starts = random.integers(0, 60, 4)
        notes = [(int(start), int(start + random.integers(1, 30)), 60) for start in sorted(starts)]
        pairs = [(a, b) for i, a in enumerate(notes) for b in notes[i + 1 :]]
        chord = any(2 * (min(a[1], b[1]) - b[0]) >= min(a[1] - a[0], b[1] - b[0]) for a, b in pairs)
        lines += not chord
        if chord:
            reason(score(*notes))
        else:
            assert line(score(*notes)) == notes
    assert lines > 50


def test_several_parts_and_chords_need_a_choice():
    problem = f"The melody has chords or several parts: {CHOICES} Received: melody_voice=None"
    assert reason(SATB) == problem
    chords = score((0, 480, 60), (0, 480, 64), parts=("",))
    assert "a part: 1 ''. Received: melody_voice=None" in reason(chords)


def test_top_is_the_highest_line():
    assert line(SATB, "top") == [(0, 480, 72), (480, 960, 74)]
    assert line(SATB, "TOP") == [(0, 480, 72), (480, 960, 74)]


@pytest.mark.parametrize(
    ("notes", "top"),
    [
        # Lower notes under a long one.
        ([(0, 400, 72), (100, 200, 67), (200, 400, 65), (400, 500, 71)], [(0, 400, 72), (400, 500, 71)]),
        # A low one that begins alone, and sounds on under higher ones.
        ([(0, 400, 48), (100, 200, 60), (200, 300, 59)], [(0, 400, 48), (100, 200, 60), (200, 300, 59)]),
        # Legato, down and up.
        ([(0, 110, 72), (100, 210, 71), (200, 300, 72)], [(0, 110, 72), (100, 210, 71), (200, 300, 72)]),
        # Half of the lower one is under the higher one; and a tick less.
        ([(0, 150, 72), (100, 200, 71)], [(0, 150, 72)]),
        ([(0, 149, 72), (100, 200, 71)], [(0, 149, 72), (100, 200, 71)]),
        # It ends where the next one begins.
        ([(0, 100, 72), (100, 200, 60)], [(0, 100, 72), (100, 200, 60)]),
        # A unison is one note, the longest.
        ([(0, 100, 72, 0), (0, 200, 72, 1), (100, 200, 60, 0)], [(0, 200, 72)]),
        # Of parts that cross, the higher one.
        ([(0, 100, 72, 0), (0, 100, 60, 1), (100, 200, 62, 0), (100, 200, 65, 1)], [(0, 100, 72), (100, 200, 65)]),
        # The same pitch struck again.
        ([(0, 100, 72), (50, 200, 72)], [(0, 100, 72), (50, 200, 72)]),
    ],
)
def test_top_is_what_begins_under_no_higher_note(notes, top):
    assert line(score(*notes), "top") == top


@pytest.mark.parametrize("voice", ["Alto", "aLTO", " alto ", "2", 2])
def test_a_part_by_name_and_number(voice):
    assert line(SATB, voice) == [(0, 960, 67)]


def test_a_name_counts_before_a_number():
    assert line(score((0, 1, 60, 0), (0, 1, 62, 1), parts=("2", "1")), "1") == [(0, 1, 62)]


@pytest.mark.parametrize("voice", ["Violin", "0", "5", "-1", "", "1.0"])
def test_an_unknown_part(voice):
    assert reason(SATB, voice) == f"There is no such part: {CHOICES} Received: melody_voice={voice!r}"


def test_a_name_of_several_parts():
    organ = score((0, 1, 60, 0), (0, 1, 62, 1), parts=("Organ", "organ"))
    assert reason(organ, "Organ") == (
        """Several parts have this name: choose "top" (the highest notes) or a part: 1 'Organ', 2 'organ'. """
        "Received: melody_voice='Organ'"
    )
    assert line(organ, "2") == [(0, 1, 62)]


def test_a_part_of_chords_is_no_line():
    piano = score((0, 1, 60, 0), (0, 1, 62, 1), (0, 1, 64, 1), parts=("Voice", "Piano"))
    assert reason(piano, "piano") == (
        """Part 2 has chords: choose "top" (the highest notes) or a part: 1 'Voice', 2 'Piano'. """
        "Received: melody_voice='piano'"
    )


def test_no_notes():
    problem = "There are no notes to take a melody from. Received: parts={}, melody_voice={!r}"
    for voice in (None, "top"):
        assert reason(Score(np.array([], NOTE)), voice) == problem.format((), voice)
    silent = score((0, 1, 60, 0), parts=("Flute", "Drums"))
    assert reason(silent, "drums") == problem.format(("Flute", "Drums"), "drums")
    assert line(silent) == [(0, 1, 60)]


def test_notes_of_no_length_are_none():
    assert line(score((0, 0, 72), (0, 10, 60), (10, 10, 60), (10, 20, 62))) == [(0, 10, 60), (10, 20, 62)]
    assert "no notes" in reason(score((0, 0, 60)))


@pytest.mark.parametrize("pitch", [20, 109])
def test_a_note_that_is_no_key_of_a_piano(pitch):
    assert line(score((0, 1, 21), (1, 2, 108))) == [(0, 1, 21), (1, 2, 108)]
    assert reason(score((0, 1, 60), (5, 6, pitch))) == (
        f"A melody is in MIDI pitches 21..108: transpose it. Received: pitch={pitch} at tick=5"
    )
    assert line(score((0, 1, 60, 0), (0, 1, pitch, 1)), "1") == [(0, 1, 60)]
