"""Style: each figure on music whose figure is computed on paper, and Bach's own on the benchmark's files."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from bachkeras.data import sources
from bachkeras.evaluation import parts, style
from bachkeras.evaluation.parts import Parts
from bachkeras.music.voices import REST

R = REST


def labelled(*frames, timestep=Fraction(1)):
    """Parts of frames S A T B."""
    return Parts(np.array(frames, np.int32).reshape(len(frames), -1), timestep, True)


def ranked(*frames, timestep=Fraction(1)):
    return labelled(*frames, timestep=timestep)._replace(labelled=False)


def test_parallels_on_paper():
    """Frame 0 to 1: soprano and alto a fifth apart, both up 2; tenor and bass an octave apart, both up 1.

    All four move, so 6 pairs do. 1 to 2: soprano alone moves. 2 to 3: a held octave in tenor and bass is none.
    """
    piece = labelled([57, 50, 32, 20], [59, 52, 33, 21], [60, 52, 33, 21], [60, 53, 33, 21])
    found = style.voice_leading([piece])
    assert found["parallel_fifths_per_1000_moves"] == pytest.approx(1000 / 6)
    assert found["parallel_octaves_per_1000_moves"] == pytest.approx(1000 / 6)
    assert found["parallels_per_100_beats"] == pytest.approx(100 * 2 / 4)
    assert found["pieces_without_parallels"] == 0
    assert style.voice_leading([piece, labelled([50, 45, 40, 35])])["pieces_without_parallels"] == 0.5


def test_what_is_no_parallel():
    rest = labelled([57, 50, R, R], [R, R, R, R], [59, 52, R, R])  # A rest in between.
    crossed = labelled([50, 57, R, R], [52, 59, R, R])  # The alto a fifth above the soprano.
    into = labelled([58, 50, R, R], [59, 52, R, R])  # A sixth into a fifth.
    assert style.voice_leading([rest, crossed, into])["parallels_per_100_beats"] == 0
    unisons = labelled([50, 50, R, R], [52, 52, R, R])
    twelfth = labelled([57, 38, R, R], [59, 40, R, R])
    assert style.voice_leading([unisons])["parallel_octaves_per_1000_moves"] == 1000
    assert style.voice_leading([twelfth])["parallel_fifths_per_1000_moves"] == 1000


def test_by_rank_only_equally_many_notes_are_compared():
    """The upper two go in parallel fifths; a third note comes in below, then goes on with them."""
    piece = ranked([57, 50, R, R], [59, 52, 39, R], [60, 53, 40, R])
    found = style.voice_leading([piece])
    assert found["parallel_fifths_per_1000_moves"] == pytest.approx(1000 / 3)
    assert style.voice_leading([piece._replace(labelled=True)])["parallel_fifths_per_1000_moves"] == pytest.approx(
        1000 * 2 / 4
    )


def test_a_fifth_note_is_no_fifth_voice():
    """By rank the hold ratio is of four voices: 2 frames, 5 notes in the first, 4 of them held: 1 - 5 / 8."""
    piece = ranked([60, 55, 50, 45, 40], [60, 55, 50, 45, R])
    assert style.lines([piece])["hold_ratio"] == pytest.approx(1 - 5 / 8)


def test_crossed_voices_make_octaves_too():
    assert style.voice_leading([labelled([40, 52, R, R], [42, 54, R, R])])["parallel_octaves_per_1000_moves"] == 1000


def test_crossings_and_spacings_on_paper():
    """Two frames: the tenor under the bass once, of 12 pair-frames; S-A 13 apart once, of 4 neighbours."""
    found = style.voice_leading([labelled([60, 47, 40, 30], [60, 48, 29, 30])])
    assert found["crossings"] == pytest.approx(1 / 12)
    assert found["wide_spacings"] == pytest.approx((1 + 1) / 4)  # And A-T 19 in frame 1.


def test_intervals_and_durations_on_paper():
    """Sixteenths: C C D, a rest, A, and C below; 5 notes of 2, 1, 1 and 1, 2 frames in one voice, 8 frames long."""
    voice = np.array([40, 40, 42, R, 49, 40, 41, 41])
    found = style.lines([Parts(voice[:, None], Fraction(1, 4), True)])
    assert found["steps"] == pytest.approx(2 / 3)  # +2, then across the rest nothing, -9, +1
    assert found["leaps"] == pytest.approx(1 / 3)
    assert found["mean_interval"] == pytest.approx((2 + 9 + 1) / 3)
    assert (found["sixteenths"], found["eighths"], found["quarters"]) == (3 / 5, 2 / 5, 0)
    assert found["hold_ratio"] == pytest.approx(1 - 5 / 8)
    wide = Parts(np.array([[10], [40]]), Fraction(1, 4), True)
    assert style.lines([wide])["mean_interval"] == style.WIDEST


def test_counts_that_are_compared():
    piece = labelled([52, 45, 40, 24], [52, 45, 40, 24], [54, R, R, R], [54, 45, 42, 26], timestep=Fraction(1, 2))
    assert style.melodic_intervals([piece], 0) == Counter({2: 1})
    assert style.melodic_intervals([piece], 1) == Counter({0: 1})  # Across the rest.
    assert style.durations([piece]) == Counter({1.0: 5, 0.5: 3})
    assert style.outer_intervals([piece]) == Counter({4: 1.5})  # Three eighths.
    long = Parts(np.full((50, 1), 40), Fraction(1, 2), True)
    assert style.durations([long]) == Counter({16.0: 1})


def test_chord_types_on_the_beats():
    """Eighths: beats are frames 0, 2 and 4. C major over E by its bass; labelled, a chord with a rest is none."""
    six_four = [52, 48, 43, 28]
    frames = [six_four, [1, 1, 1, 1], [55, R, 50, 43], [2, 2, 2, 2], [43, 50, 45, 57]]
    piece = labelled(*frames, timestep=Fraction(1, 2))
    first = frozenset({0, 8, 3})
    assert style.chord_types(piece) == [first, frozenset({10, 5, 0})]  # Above the bass, though it is the highest here.
    ranks = style.chord_types(piece._replace(labelled=False))
    assert ranks == [first, frozenset({0, 7}), frozenset({0, 7, 2})]
    assert style.chord_ngrams([piece._replace(labelled=False)], 2) == Counter(
        {(ranks[0], ranks[1]): 1, tuple(ranks[1:]): 1}
    )
    silent = ranked([R, R, R, R], [R, R, R, R])
    assert style.chord_types(silent) == []


def test_the_divergence_on_paper():
    """p = (1/2, 1/2), q = (1, 0): m = (3/4, 1/4); half of log(2/3) / 2 + log(2) / 2, and half of log(4/3)."""
    expected = 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2)) + 0.5 * math.log(4 / 3)
    assert style.jensen_shannon(Counter("ab"), Counter("aaa")) == pytest.approx(expected)
    assert style.jensen_shannon(Counter("ab"), Counter("abab")) == pytest.approx(0, abs=1e-12)
    assert style.jensen_shannon(Counter("a"), Counter("b")) == pytest.approx(math.log(2))
    assert style.jensen_shannon(Counter(), Counter("b")) is None


def test_nothing_has_no_figures():
    empty = Parts(np.zeros((0, 4), np.int32), Fraction(1, 4), True)
    for figures in (style.voice_leading([]), style.lines([]), style.voice_leading([empty]), style.lines([empty])):
        assert all(value is None for name, value in figures.items() if name != "pieces_without_parallels")
    two = ranked([50, 45, 40, 35], [52, 45, 40, 35])
    assert style.ngram_jsd([two], [two]) is None
    four = ranked(*[[50, 45, 40, 35]] * 4)
    assert style.ngram_jsd([four], [four]) == pytest.approx([0] * 4)
    assert style.floors([four], 1)["duration"] == {"mean": None, "max": None}


@pytest.fixture(scope="module")
def voices16(jsb_dir):
    examples = sources.jsb_16th_examples((jsb_dir / "Jsb16thSeparated.json").read_text())
    return {split: [parts.of(piece, True) for piece in pieces] for split, pieces in examples.items()}


@pytest.fixture(scope="module")
def ranks4(jsb_dir):
    examples = sources.jsb_quarter_examples((jsb_dir / "jsb-chorales-quarter.json").read_text())
    return {split: [parts.of(piece, False) for piece in pieces] for split, pieces in examples.items()}


def test_bach_leads_his_voices(voices16):
    """Parallels per 1000 moves 1.52 / 0.97 and 2.06 / 0.48, per 100 beats .85 and .89; none in 66% and 61%."""
    for split, expected in {"train": (1.52, 0.97, 0.85, 0.66), "test": (2.06, 0.48, 0.89, 0.61)}.items():
        found = list(style.voice_leading(voices16[split]).values())
        np.testing.assert_allclose(found[:4], expected, atol=0.0051)
    assert style.voice_leading(voices16["train"])["crossings"] == pytest.approx(0.0040, abs=5e-5)
    assert style.voice_leading(voices16["train"])["wide_spacings"] == pytest.approx(0.0066, abs=5e-5)
    assert style.voice_leading(voices16["test"])["crossings"] == pytest.approx(0.0034, abs=5e-5)
    assert style.voice_leading(voices16["test"])["wide_spacings"] == pytest.approx(0.0080, abs=5e-5)


def test_bach_moves_by_steps(voices16):
    expected = {
        "train": (0.742, 0.026, 2.60, 0.024, 0.350, 0.411, 0.107, 0.777),
        "test": (0.760, 0.024, 2.53, 0.033, 0.359, 0.401, 0.104, 0.768),
    }
    for split, values in expected.items():
        found = [
            round(value, 2 if name == "mean_interval" else 3) for name, value in style.lines(voices16[split]).items()
        ]
        assert tuple(found) == values


def test_how_far_bach_is_from_bach(voices16):
    found = style.distances(voices16["test"], voices16["train"])
    expected = (0.0015, 0.0018, 0.0011, 0.0019, 0.0011, 0.0001, 0.0049)
    np.testing.assert_allclose(list(found.values()), expected, atol=5.1e-5)
    floor = style.floors(voices16["train"], 77)
    assert found["chord_type"] < floor["chord_type"]["max"]
    assert floor["chord_type"]["max"] == pytest.approx(0.0079, abs=0.002)  # Other draws.


def test_bach_by_rank(ranks4):
    """Parallels per 100 beats 1.95, 2.59 and 2.26, none in 44% and 36%; chord n-grams .0061 .064 .194 .345."""
    found = {split: style.voice_leading(pieces) for split, pieces in ranks4.items()}
    by_split = [found[split]["parallels_per_100_beats"] for split in ("test", "train", "validation")]
    np.testing.assert_allclose(by_split, [1.95, 2.59, 2.26], atol=0.005)
    none = [found[split]["pieces_without_parallels"] for split in ("test", "train")]
    np.testing.assert_allclose(none, [0.44, 0.36], atol=0.005)
    expected = (0.0061, 0.064, 0.194, 0.345)
    np.testing.assert_allclose(style.ngram_jsd(ranks4["test"], ranks4["train"]), expected, atol=5e-4)
    holds = [style.lines(ranks4[split])["hold_ratio"] for split in ("test", "train")]
    np.testing.assert_allclose(holds, [0.3228, 0.3349], atol=5e-5)
    short = [piece._replace(voices=piece.voices[:64]) for piece in ranks4["test"]]
    np.testing.assert_allclose(style.ngram_jsd(short, ranks4["train"]), (0.0062, 0.0646, 0.196, 0.347), atol=5e-4)
