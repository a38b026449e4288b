"""The grading function: each feature on paper, what it must not see, and whom it prefers on the benchmark."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from bachkeras.data import sources
from bachkeras.evaluation import bach_or_mock
from bachkeras.evaluation.bach_or_mock import Grader
from bachkeras.evaluation.ngrams import FrameCounts
from bachkeras.evaluation.parts import Parts
from bachkeras.evaluation.parts import of as parts_of
from bachkeras.music.pianoroll import LOWEST
from bachkeras.music.score import MAJOR, MINOR
from bachkeras.music.voices import REST


def piece(*voices, labelled=True):
    """Voices from the top in sixteenths: lists of (MIDI pitch or None, frames)."""
    columns = [[REST if pitch is None else pitch - LOWEST for pitch, n in voice for _ in range(n)] for voice in voices]
    return Parts(np.array(columns, np.int32).T, Fraction(1, 4), labelled)


def held(*pitches, frames=4):
    """Voices that hold one note each."""
    return [[(pitch, frames)] for pitch in pitches]


C_MAJOR = (72, 67, 64, 48)


def features(sample, *chorales):
    return Grader(chorales).features(sample)


def test_note():
    """Bach: half C, a quarter E and G each. The piece: a quarter C, E, G, and B, which stands fourth.

    Cumulated 1/2, 3/4, 1, 1 against 1/4, 1/2, 3/4, 1.
    """
    distances = features(piece(*held(71, 67, 64, 48)), piece(*held(*C_MAJOR)))
    assert distances["note"] == pytest.approx(3 / 4)
    assert distances["rhythm"] == distances["soprano_intervals"] == distances["repeated_sequence"] == 0


def test_lengths_weigh_notes_and_rests_are_notes():
    """Bach: C 12 frames, E 4; the piece: C 8, E 4, and 4 of rest behind them. Cumulated 3/4, 1, 1 and 1/2, 3/4, 1."""
    sample = piece(*held(72, 60, 64), [(None, 4)])
    assert features(sample, piece(*held(72, 60, 64, 48)))["note"] == pytest.approx(1 / 2)


def test_rhythm():
    """Bach: four quarters, eight eighths; the piece: four quarters, four halves. Places eighth, quarter, half.

    Cumulated 2/3, 1, 1 against 0, 1/2, 1.
    """
    bach = piece(*([(pitch, 4), (pitch + 1, 2), (pitch, 2)] for pitch in C_MAJOR))
    sample = piece(*([(pitch, 4), (pitch + 1, 8)] for pitch in C_MAJOR))
    assert features(sample, bach)["rhythm"] == pytest.approx(2 / 3 + 1 / 2)


def test_a_repeated_note_is_one():
    repeated = piece(*([(pitch, 2), (pitch, 2)] for pitch in C_MAJOR))
    assert Grader([piece(*held(*C_MAJOR))]).grade(repeated) == 0


def test_parallel_errors():
    """Bach: S and B in octaves, A and B in fifths, 2 errors in 7 notes. The piece: the octaves only, 1 in 6.

    Half its errors are where Bach's are: 1/2 times (1/6) / (2/7). Bach's mix costs nothing, nor does none at all.
    """
    soprano, alto, tenor, bass = [(72, 4), (74, 4)], [(67, 4), (69, 4)], [(64, 8)], [(48, 4), (50, 4)]
    bach, sample = piece(soprano, alto, tenor, bass), piece(soprano, [(67, 8)], tenor, bass)
    assert features(sample, bach)["parallel_errors"] == pytest.approx(1 / 2 * (1 / 6) / (2 / 7))
    assert features(bach, bach)["parallel_errors"] == 0
    assert features(piece(*held(*C_MAJOR)), bach)["parallel_errors"] == 0
    # Chorales without errors count as if they had one in all their notes, and no error is theirs.
    assert features(sample, piece(*held(*C_MAJOR)))["parallel_errors"] == pytest.approx(1 * (1 / 6) / (1 / 4))


def test_what_is_no_parallel():
    bach = piece(*([(pitch, 4), (pitch + 2, 4)] for pitch in (72, 67, 60, 53)))

    def errors(*voices, labelled=True):
        return features(piece(*voices, labelled=labelled), bach)["parallel_errors"]

    soprano, bass = [(72, 4), (74, 4)], [(48, 4), (50, 4)]
    assert errors(soprano, bass) > 0
    assert errors([(None, 4), (72, 4)], [(49, 4), (48, 4)]) == 0  # Out of a rest.
    assert errors([(72, 4), (74, 2), (74, 2)], [(48, 2), (50, 6)]) == 0  # One after the other.
    assert errors([(60, 4), (62, 4)], [(65, 4), (67, 4)]) == 0  # Fourths, as the voices cross.
    assert errors(soprano, bass, [(None, 4), (43, 4)]) > 0
    assert errors(soprano, bass, [(None, 4), (43, 4)], labelled=False) == 0  # By rank, from two notes to three.


def test_harmonic_quality():
    """Bach: C major, A minor, F major. The piece: G major over B, and a chord that has no name, behind Bach's two.

    Cumulated 2/3, 1, 1 against 1/2, 1/2, 1.
    """
    bach = piece(
        *([(pitch, 4) for pitch in voice] for voice in ((72, 72, 72), (67, 64, 69), (64, 60, 65), (48, 45, 53)))
    )
    sample = piece(*([(pitch, 4) for pitch in voice] for voice in ((74, 62), (67, 61), (62, 60), (47, 59))))
    assert features(sample, bach)["harmonic_quality"] == pytest.approx(1 / 6 + 1 / 2)


def test_silence_is_no_chord():
    bach = piece(*held(*C_MAJOR))
    assert features(piece(*([(None, 4), (pitch, 4)] for pitch in C_MAJOR)), bach)["harmonic_quality"] == 0


@pytest.mark.parametrize("voice", range(4))
def test_intervals(voice):
    """Bach: 2, 2 and -4. The piece: -1, which Bach has not, and 2, the rest between not heard across.

    Cumulated 2/3, 1, 1 against 1/2, 1/2, 1. The other voices have no intervals; one more would be behind nothing.
    """
    bach, sample, other = (held(*C_MAJOR, frames=20) for _ in range(3))
    bach[voice] = [(60, 5), (62, 5), (64, 5), (60, 5)]
    sample[voice] = [(60, 4), (59, 4), (None, 4), (64, 4), (66, 4)]
    other[voice - 1] = [(60, 10), (62, 10)]
    expected = dict.fromkeys(bach_or_mock.INTERVALS, 0.0) | {bach_or_mock.INTERVALS[voice]: 1 / 6 + 1 / 2}
    distances = features(piece(*sample), piece(*bach))
    assert {name: distances[name] for name in expected} == pytest.approx(expected)
    assert features(piece(*other), piece(*bach))[bach_or_mock.INTERVALS[voice - 1]] == 1


def test_what_bach_has_not_follows_the_most_common_last():
    """Bach: a 2. The piece: once -1, in the second place, and twice 5, in the third."""
    hold = held(67, 64, 48, frames=20)
    sample = piece([(60, 5), (59, 5), (64, 5), (69, 5)], *hold)
    assert features(sample, piece([(60, 10), (62, 10)], *hold))["soprano_intervals"] == pytest.approx(1 / 3 + 2 * 2 / 3)


def test_repeated_sequence():
    """Bach repeats two quarters, 8 sixteenths. The piece three, or nothing: 4 and 8 sixteenths away."""
    hold = held(67, 64, 48, frames=32)
    bach = piece([(pitch, 4) for pitch in (72, 74, 76, 72, 74, 77, 79, 81)], *hold)
    sample = piece([(pitch, 4) for pitch in (72, 74, 76, 79, 72, 74, 76, 81)], *hold)
    assert features(sample, bach)["repeated_sequence"] == pytest.approx(4)
    assert features(piece(*held(72, 67, 64, 48, frames=32)), bach)["repeated_sequence"] == pytest.approx(8)


def test_the_grid_does_not_matter():
    random = np.random.default_rng(0)
    voices = random.integers(30, 50, (6, 4))[random.integers(0, 6, 40)].astype(np.int32)
    quarters, sixteenths = Parts(voices, Fraction(1), True), Parts(np.repeat(voices, 4, axis=0), Fraction(1, 4), True)
    assert Grader([quarters]).grade(sixteenths) == pytest.approx(0)


def test_what_comes_back():
    def repeats(*runs):
        return bach_or_mock.repeats(*np.array(runs).T)

    a, b, c, x = (60, 4), (62, 2), (64, 4), (65, 1)
    assert repeats(a, b, c, x, a, b, c) == {10: 2}  # What lies in it comes back no more often.
    assert repeats(a, b, c, x, a, b, c, (65, 9), b, c) == {11: 2, 6: 3}  # It stops inside the second x.
    assert repeats(a, b, a, b, a) == {10: 2}  # The two share the a in the middle.
    assert repeats(a, b, a, (62, 8)) == {6: 2}
    assert repeats(a, x, a, b, a) == {}  # One note is no sequence.


def every_sequence(pitches, lengths):
    """Each sequence of sixteenths that is repeated, by its definition: what `repeats` must find, slowly."""
    frames = "".join(chr(pitch) + "_" * (length - 1) for pitch, length in zip(pitches, lengths, strict=True))
    slices = (frames[i:j] for i in range(len(frames)) for j in range(i + 1, len(frames) + 1))
    often = Counter(s for s in slices if s[0] != "_" and s[1:].strip("_"))
    often = {s: n for s, n in often.items() if n > 1}
    counts = Counter()
    for s, n in often.items():
        if not any(m == n and s in longer and s != longer for longer, m in often.items()):
            counts[len(s)] += n
    return counts


def test_what_comes_back_in_any_voice():
    random = np.random.default_rng(0)
    for _ in range(30):
        pitches = np.cumsum(random.integers(1, 3, 14)) % 3 + 60  # No pitch twice in a row.
        lengths = random.integers(1, 3, 14)
        assert bach_or_mock.repeats(pitches, lengths) == every_sequence(pitches, lengths)


def test_each_mode_has_its_own_chorales():
    major, minor = (piece(*held(72, 67, third, 48)) for third in (64, 63))
    grader = Grader([major, minor])
    assert grader.grade(major) == grader.grade(minor) == 0
    assert features(minor, major)["harmonic_quality"] == 1


@pytest.mark.parametrize(("mode", "scale"), [(MAJOR, (0, 2, 4, 5, 7, 9, 11)), (MINOR, (0, 2, 3, 5, 7, 8, 11))])
def test_keys(mode, scale):
    """A scale with its tonic triad once more, in all keys."""
    notes = np.bincount([*scale, scale[0], scale[2], scale[4]], minlength=12)
    assert [bach_or_mock.key(np.roll(notes, tonic)) for tonic in range(12)] == [(tonic, mode) for tonic in range(12)]


def test_transposition_changes_nothing(parts):
    chorales = [Parts(columns.astype(np.int32), Fraction(1, 4), True) for columns, _ in parts]
    grader = Grader(chorales[4:])
    for chorale in chorales[:4]:
        shifted = (np.where(chorale.voices == REST, REST, chorale.voices + n) for n in range(-6, 7))
        grades = [grader.grade(chorale._replace(voices=voices)) for voices in shifted]
        assert grades == pytest.approx([grades[0]] * 13)


@pytest.mark.parametrize("shape", [(0, 4), (0, 0), (1, 4), (7, 4), (3, 2), (3, 6)])
def test_silence_has_a_grade(shape):
    silent = Parts(np.full(shape, REST, np.int32), Fraction(1, 4), True)
    chorale = piece(*([(pitch, 4), (pitch + 1, 4)] for pitch in C_MAJOR))
    for grader in (Grader([chorale]), Grader([silent])):
        for sample in (silent, silent._replace(voices=np.full(shape, 40, np.int32)), chorale):
            assert list(grader.features(sample)) == list(bach_or_mock.FEATURES)
            assert 0 <= grader.grade(sample) < np.inf
    assert Grader([chorale]).grade(silent) > Grader([chorale]).grade(chorale) == 0


def test_median():
    chorale = piece(*held(*C_MAJOR))
    grader = Grader([chorale])
    mocks = [chorale, piece(*held(71, 67, 64, 48)), piece(*held(66, 61, 59, 48))]
    assert grader.median(mocks) == sorted(map(grader.grade, mocks))[1] > 0
    assert grader.median([]) is None
    with pytest.raises(ValueError, match="needs chorales"):
        Grader([])


@pytest.mark.slow
def test_bach_before_n_grams_before_shuffled_notes_on_the_benchmark(jsb_dir):
    """Medians over 77 pieces against the 229 training pieces; the paper has 4.91 for Bach.

    Shuffled chorales: each test piece with its notes in any place and voice. With whole frames shuffled, so that
    chords, key and ranges stay, a piece is still nearer to Bach than one whose frames come from all pieces and keys.
    """
    examples = sources.jsb_16th_examples((jsb_dir / "Jsb16thSeparated.json").read_text())
    train, test = ([parts_of(example, True) for example in examples[split]] for split in ("train", "test"))
    counts, lengths = FrameCounts([p.voices for p in train]), [len(p.voices) for p in test]
    random = np.random.default_rng(0)
    grader = Grader(train)
    trigram, unigram = (
        [Parts(voices, Fraction(1, 4), True) for voices in counts.sample(lengths, order, seed=0)] for order in (3, 1)
    )
    frames = [p._replace(voices=random.permutation(p.voices)) for p in test]
    notes = [p._replace(voices=random.permuted(p.voices.ravel()).reshape(p.voices.shape)) for p in test]
    bach, *mocks = (grader.median(pieces) for pieces in (test, trigram, unigram, notes))
    assert bach < mocks[0] < mocks[1] < mocks[2]
    assert bach == pytest.approx(6.50, abs=0.01)
    assert mocks == pytest.approx([13.0, 36.5, 84.6], abs=0.1)
    assert grader.median(frames) == pytest.approx(30.7, abs=0.1)
