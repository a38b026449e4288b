"""Keys: the one that is found, and which one a model is told and a score says."""

import dataclasses

import numpy as np
import pytest

from bachkeras.music import keys
from bachkeras.music.score import MAJOR, MINOR, NOTE, Key, Score
from bachkeras.tasks import hearing
from bachkeras.training import settings
from bachkeras.training.settings import Setting

MAJOR_SCALE = (60, 62, 64, 65, 67, 69, 71, 72)
MINOR_SCALE = (69, 71, 72, 74, 76, 77, 80, 81)  # With its leading note.
WHITE = (69, 71, 60, 62, 64, 65, 67)  # Alone they would be minor.


def tune(*pitches, signs=(), length=480):
    """Notes on end, of equal length."""
    rows = [(length * i, length * (i + 1), pitch, 0) for i, pitch in enumerate(pitches)]
    return Score(np.array(rows, NOTE), parts=("Voice",), keys=signs)


@pytest.mark.parametrize("semitones", range(12))
@pytest.mark.parametrize(("scale", "chord", "key"), [(MAJOR_SCALE, (60, 64, 67), 0), (MINOR_SCALE, (69, 72, 76), 9)])
def test_scales_in_every_key(scale, chord, key, semitones):
    """The start of a piece is in the key of its scale and its chord, whatever it has come to."""
    expected = Key(0, (key + semitones) % 12, MAJOR if key == 0 else MINOR)
    assert keys.find(tune(*scale).transpose(semitones)) == expected
    for start in (tune(*chord, *scale), tune(*chord, *scale, chord[1])):
        assert keys.find(start.transpose(semitones), ends=False) == expected


def test_the_last_note_tells_minor_from_its_relative_major():
    """Of a whole piece; the lowest of the notes that sound last."""
    assert keys.find(tune(*WHITE, 60)) == Key(0, 0, MAJOR)
    assert keys.find(tune(*WHITE, 69)) == Key(0, 9, MINOR)
    assert keys.find(tune(*WHITE, 60), ends=False) == Key(0, 9, MINOR)
    over = tune(*WHITE)
    for bass, found in ((48, Key(0, 0, MAJOR)), (57, Key(0, 9, MINOR))):
        chord = [(over.end, over.end + 480, pitch, 0) for pitch in (72, bass, 64)]
        notes = np.concatenate([over.notes, np.array(chord, NOTE)])
        assert keys.find(dataclasses.replace(over, notes=notes)) == found


def test_long_notes_weigh_more():
    """A D major chord for long, with a short scale of C around it."""
    rows = [(480 * i, 480 * (i + 1), pitch, 0) for i, pitch in enumerate(MAJOR_SCALE)]
    notes = np.array([*rows, *[(0, 48000, pitch, 0) for pitch in (50, 54, 57)]], NOTE)
    assert keys.find(Score(notes, parts=("Organ",)), ends=False) == Key(0, 2, MAJOR)


@pytest.mark.parametrize(
    ("sign", "pitches", "found"),
    [
        (Key(0, 0, MAJOR), MAJOR_SCALE, (0, MAJOR)),
        (Key(0, 0, MAJOR), MINOR_SCALE, (9, MINOR)),
        (Key(0, 9, MINOR), MINOR_SCALE, (9, MINOR)),
        (Key(0, 9, MINOR), MAJOR_SCALE, (0, MAJOR)),
        (Key(0, 7, MAJOR), MAJOR_SCALE, (7, MAJOR)),  # Neither G major nor E minor: the nearer one.
        (Key(0, 5, MAJOR), (62, 65, 69, 62), (2, MINOR)),
    ],
)
def test_a_signature_leaves_two_keys(sign, pitches, found):
    assert keys.find(tune(*pitches, signs=(sign, Key(960, 6, MAJOR)))) == Key(0, *found)


@pytest.mark.parametrize("pitch", [60, 66, 71])
def test_one_note_is_the_tonic_of_a_whole_piece(pitch):
    found = keys.find(tune(pitch))
    assert found.tonic == pitch % 12
    assert found.mode in (MAJOR, MINOR)


def test_where_all_pitch_classes_sound_alike_the_last_note_decides():
    assert keys.find(tune(*range(60, 72))) == Key(0, 11, MAJOR)
    assert keys.find(tune(*range(60, 72)), ends=False) == Key(0, 0, MAJOR)
    assert keys.find(tune(*range(60, 72), signs=(Key(0, 4, MAJOR),))) == Key(0, 4, MAJOR)


CARD = {
    "config": {"data": {"transpose": 1}},
    "sounding_shift": 0,
    "settings": [[Setting(9, MINOR, 1, 4, 16, 0)._asdict(), 3]],
}
"""A minor, and a semitone up and down."""

A_MINOR, B_MINOR = tune(*MINOR_SCALE), tune(*MINOR_SCALE).transpose(2)
C_SIGN = (Key(0, 0, MAJOR),)


@pytest.mark.parametrize(
    ("name", "piece", "told", "written"),
    [
        (None, A_MINOR, Key(0, 9, MINOR), (Key(0, 9, MINOR),)),
        (None, dataclasses.replace(A_MINOR, keys=C_SIGN), Key(0, 9, MINOR), C_SIGN),
        (None, B_MINOR, None, ()),
        (None, dataclasses.replace(B_MINOR, keys=C_SIGN), Key(0, 9, MINOR), C_SIGN),
        (None, dataclasses.replace(B_MINOR, keys=(Key(0, 2, MAJOR),)), None, (Key(0, 2, MAJOR),)),
        ("Bb minor", A_MINOR, Key(0, 10, MINOR), (Key(0, 10, MINOR),)),
        ("Ab major", dataclasses.replace(B_MINOR, keys=C_SIGN), Key(0, 8, MAJOR), (Key(0, 8, MAJOR),)),
    ],
)
def test_which_key_is_told_and_which_is_written(name, piece, told, written):
    assert hearing.key(name, piece, CARD) == told
    assert hearing.signatures(name, piece, told) == written


def test_a_key_that_is_named_has_to_be_one_and_known():
    with pytest.raises(ValueError, match=r"trained in A alone\. Received: key='B'"):
        hearing.key("B minor", A_MINOR, CARD)
    with pytest.raises(ValueError, match="Received: key='H'"):
        hearing.key("H", A_MINOR, CARD)


def test_the_start_of_a_piece_does_not_end_on_its_tonic():
    start = tune(*WHITE, 60)
    assert hearing.key(None, start, CARD) is None  # C major.
    assert hearing.key(None, start, CARD, ends=False) == Key(0, 9, MINOR)


def test_keys_that_a_model_knows():
    assert [tonic for tonic in range(12) if settings.knows(CARD, (tonic, MINOR))] == [8, 9, 10]
    assert settings.knows(CARD, (8, MAJOR))  # A mode that it has not heard of is left out.
    lower = CARD | {"sounding_shift": -7}
    assert [tonic for tonic in range(12) if settings.knows(lower, (tonic, MINOR))] == [1, 2, 3]
    unknown = CARD | {"settings": [[Setting(12, 2, 1, 4, 16, 0)._asdict(), 3]]}
    assert not any(settings.knows(unknown, (tonic, MAJOR)) for tonic in range(12))
