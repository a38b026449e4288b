"""Which pieces are one: copies in another key, tempo and file are found, different pieces are not."""

import dataclasses

import numpy as np
import pytest

from bachkeras.data import duplicates
from bachkeras.music.score import NOTE, Score


def piece(seed, count=200, voices=3):
    """Random lines of eighths and quarters, the top one a walk."""
    random = np.random.default_rng(seed)
    notes = []
    for part in range(voices):
        start = 0
        pitch = 72 - 12 * part
        for _ in range(count):
            length = int(random.choice([240, 480]))
            pitch = int(np.clip(pitch + random.integers(-4, 5), 66 - 12 * part, 78 - 12 * part))
            notes.append((start, start + length, pitch, part))
            start += length
    return Score(np.array(notes, NOTE), parts=("",) * voices)


def longer_and_ornamented(score, seed=0):
    """Every twentieth note of the top part is a turn of three."""
    random = np.random.default_rng(seed)
    rows = []
    for start, end, pitch, part in score.notes.tolist():
        if part == 0 and random.random() < 0.05:
            third = (end - start) // 3
            rows += [(start + i * third, start + (i + 1) * third, pitch + (0, 2, 0)[i], part) for i in range(3)]
        else:
            rows.append((start, end, pitch, part))
    return dataclasses.replace(score, notes=np.array(rows, NOTE))


def one_part(score):
    notes = score.notes.copy()
    notes["part"] = 0
    return dataclasses.replace(score, notes=notes, parts=("all",))


def shortened(score):
    notes = score.notes.copy()
    notes["end"] -= (notes["end"] - notes["start"]) // 5
    return dataclasses.replace(score, notes=notes)


def by_hand(score):
    """Onsets and ends up to 30 of 480 ticks early or late."""
    notes = score.notes.copy()
    random = np.random.default_rng(0)
    notes["start"] = np.maximum(notes["start"] + random.integers(-30, 31, len(notes)), 0)
    notes["end"] += random.integers(-30, 31, len(notes))
    return dataclasses.replace(score, notes=notes)


def top_part(score):
    return dataclasses.replace(score, notes=score.notes[score.notes["part"] == 0])


def excerpt(score):
    return dataclasses.replace(score, notes=score.notes[100:250])


COPIES = {
    "as it is": lambda score: score,
    "in another key": lambda score: score.transpose(-5),
    "in another resolution": lambda score: score.finer(3),
    "in one part": one_part,
    "with shortened notes": shortened,
    "with ornaments": longer_and_ornamented,
    "played by hand to a metronome": by_hand,
    "the top part alone": top_part,
    "an excerpt": excerpt,
    "an excerpt, ornamented, in another key": lambda score: excerpt(longer_and_ornamented(score)).transpose(2),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_one_piece(copy):
    pieces = [piece(0), piece(1), COPIES[copy](piece(0)), piece(2)]
    assert duplicates.families([duplicates.fingerprint(score) for score in pieces]).tolist() == [0, 1, 0, 3]


def test_hundreds_of_different_pieces_are_different():
    fingerprints = [duplicates.fingerprint(piece(seed)) for seed in range(300)]
    assert duplicates.families(fingerprints).tolist() == [*range(300)]


def test_copies_are_found_among_hundreds_and_however_many():
    fingerprints = [duplicates.fingerprint(piece(i % 50).transpose(i % 7)) for i in range(300)]
    assert duplicates.families(fingerprints).tolist() == [i % 50 for i in range(300)]


def test_copies_are_found_beside_medleys():
    """Six other pieces, each with a sixth of it, stand between the two by their numbers."""
    theme = piece(0, voices=1)
    sixth = len(theme.notes) // 6
    medleys = []
    for i in range(6):
        notes = np.concatenate([theme.notes[i * sixth : (i + 1) * sixth], piece(100 + i, count=300, voices=1).notes])
        lengths = notes["end"] - notes["start"]
        notes["end"] = np.cumsum(lengths)
        notes["start"] = notes["end"] - lengths
        medleys.append(dataclasses.replace(theme, notes=notes))
    found = duplicates.families([duplicates.fingerprint(score) for score in (theme, *medleys, theme)])
    assert found[0] == found[-1]


def test_what_is_one_with_a_copy_is_one_with_all():
    """The two halves share nothing, but the whole holds both."""
    whole = piece(0)
    middle = len(whole.notes) // 2
    halves = [dataclasses.replace(whole, notes=part) for part in (whole.notes[:middle], whole.notes[middle:])]
    found = duplicates.families([duplicates.fingerprint(score) for score in (*halves, whole)])
    assert found.tolist() == [0, 0, 0]


def test_scales_and_trills_make_no_family():
    scale = [(480 * i, 480 * i + 480, 60 + i, 0) for i in range(10)]
    pieces = []
    for seed in range(5):
        notes = piece(seed, voices=1).notes
        notes["start"] += 4800
        notes["end"] += 4800
        pieces.append(Score(np.concatenate([np.array(scale, NOTE), notes]), parts=("",)))
    assert duplicates.families([duplicates.fingerprint(score) for score in pieces]).tolist() == [*range(5)]


def test_a_piece_of_one_note_and_none():
    note = Score(np.array([(0, 480, 60, 0)], NOTE), parts=("",))
    few = Score(np.array([(0, 480, 60, 0), (480, 960, 64, 0)], NOTE), parts=("",))
    found = duplicates.families([duplicates.fingerprint(score) for score in (note, few, note, few.transpose(1))])
    assert found.tolist() == [0, 1, 0, 1]
    assert duplicates.families([]).tolist() == []
