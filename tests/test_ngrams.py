"""Counted frames: the trigram on paper, what the samplers draw, and their figures on the benchmark."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from test_style import ranks4  # noqa: F401 - a fixture

from bachkeras.evaluation import novelty, parts, style
from bachkeras.evaluation.ngrams import ChordTrigram, FrameCounts
from bachkeras.evaluation.parts import Parts
from bachkeras.music.pianoroll import KEYS


def piece(*keys):
    """A frame with one key each."""
    roll = np.zeros((len(keys), KEYS), bool)
    roll[np.arange(len(keys)), keys] = True
    return roll


def test_the_trigram_on_paper():
    """Trained on the chords A B A B, so N = 4 frames, D = 2 distinct chords; scored on A B B."""
    trigram = ChordTrigram([piece(40, 41, 40, 41)], weight=3.0)
    off = (0.5 / 5) ** 0  # b: both keys sound in 2 of 4 frames, p = 2.5 / 5; the 86 others p = .5 / 5
    background = 0.5 * 0.5 * (1 - 0.1) ** 86 * off
    p1 = (2 + 2 * background) / (4 + 2)
    after_a = (2 + 3 * 1 * p1) / (2 + 3 * 1)  # B after A: twice of two, one successor
    b_after_b = (0 + 3 * 1 * p1) / (1 + 3 * 1)  # after B came A once
    b_after_ab = (0 + 3 * 1 * b_after_b) / (1 + 3 * 1)  # after A B came A once
    np.testing.assert_allclose(trigram.log_prob(piece(40, 41, 41)), np.log([p1, after_a, b_after_ab]), rtol=1e-9)
    # After B B nothing was ever seen, and after B came A once of once.
    seen = np.exp(trigram.log_prob(piece(40, 41, 41, 40))[3])
    assert seen == pytest.approx((1 + 3 * p1) / (1 + 3))


def test_the_trigram_sums_to_one():
    """Over the two chords it saw and the rest of the Bernoullis' mass."""
    trigram = ChordTrigram([piece(40, 41, 40, 41)])
    p = [math.exp(trigram.log_prob(piece(40, 41, key))[2]) for key in (40, 41)]
    background = 0.5 * 0.5 * 0.9**86
    # Each level gives the background its share 3d / (n + 3d); the first one D / (N + D).
    rest = (1 - 2 * background) * (2 / 6) * (3 / 4) * (3 / 4)
    assert sum(p) + rest == pytest.approx(1)


def drawn(counts, order, lengths=(4000,)):
    return [sample[:, 0].tolist() for sample in counts.sample(lengths, order, seed=0)]


def test_samplers_draw_what_they_counted():
    """From A B A C: A is half of all; after A come B and C alike; after B A comes A's only other follower, C."""
    counts = FrameCounts([np.array([[1], [2], [1], [3]])])
    (unigram,) = drawn(counts, 1)
    shares = np.bincount(unigram) / len(unigram)
    assert shares[1:] == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    (bigram,) = drawn(counts, 2)
    after_a = [b for a, b in itertools.pairwise(bigram) if a == 1]
    assert set(after_a) == {2, 3}
    assert after_a.count(2) / len(after_a) == pytest.approx(0.5, abs=0.05)
    assert {b for a, b in itertools.pairwise(bigram) if a == 2} == {1}
    (trigram,) = drawn(counts, 3)
    triples = list(zip(trigram, trigram[1:], trigram[2:], strict=False))
    assert {c for a, b, c in triples if (a, b) == (2, 1)} == {3}
    assert {c for a, b, c in triples if b == 3} == {1, 2, 3}  # Nothing ever followed C: any frame.


def test_samples_have_their_lengths_and_their_seed():
    counts = FrameCounts([np.arange(12).reshape(3, 4)])
    samples = counts.sample([1, 5], 3, seed=1)
    assert [sample.shape for sample in samples] == [(1, 4), (5, 4)]
    again, other = counts.sample([1, 5], 3, seed=1), counts.sample([20, 20], 1, seed=2)
    np.testing.assert_array_equal(samples[1], again[1])
    assert (other[0] != other[1]).any()
    with pytest.raises(ValueError, match="Received: order=4"):
        counts.sample([1], 4, seed=0)


def test_samplers_on_the_benchmark(ranks4):  # noqa: F811
    """77 samples of 64 chords: chord n-gram divergences, self-BLEU-4, distinct-3 and the longest copy.

    The tolerances are those of other draws. That the bigram beats real Bach here (.0061 .064 .194 .345) is why no
    table is without these rows.
    """
    expected = {
        1: ((0.0037, 0.0984, 0.261, 0.428), 0.295, 0.395, (2, 2)),
        2: ((0.0043, 0.037, 0.149, 0.317), 0.858, 0.338, (5, 9)),
        3: ((0.0072, 0.0445, 0.112, 0.206), 0.908, 0.297, (13, 22)),
    }
    counts = FrameCounts([piece.voices for piece in ranks4["train"]])
    for order, (jsd, bleu, distinct, copies) in expected.items():
        samples = [Parts(voices, Fraction(1), False) for voices in counts.sample([64] * 77, order, seed=0)]
        np.testing.assert_allclose(style.ngram_jsd(samples, ranks4["train"]), jsd, rtol=0.15, atol=0.003)
        sopranos = [np.diff(parts.melody(sample, 0)).tolist() for sample in samples]
        assert novelty.self_bleu(sopranos) == pytest.approx(bleu, abs=0.05)
        assert novelty.distinct(samples, 3) == pytest.approx(distinct, abs=0.03)
        longest = novelty.longest_copies(samples, ranks4["train"])
        assert np.median(longest) == pytest.approx(copies[0], abs=1)
        assert np.percentile(longest, 95) == pytest.approx(copies[1], abs=3)
