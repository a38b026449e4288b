"""Likelihood: the trigram on paper and on the benchmark, what a quoted figure may know."""

import math

import numpy as np
import pytest

from bachkeras.data import sources
from bachkeras.data.pipeline import Corpus, from_arrays
from bachkeras.evaluation import likelihood
from bachkeras.layers.frame import ChainedVoices
from bachkeras.music.pianoroll import KEYS


def piece(*keys):
    """A frame with one key each."""
    roll = np.zeros((len(keys), KEYS), bool)
    roll[np.arange(len(keys)), keys] = True
    return roll


def test_the_trigram_on_paper():
    """Trained on the chords A B A B, so N = 4 frames, D = 2 distinct chords; scored on A B B."""
    trigram = likelihood.ChordTrigram([piece(40, 41, 40, 41)], weight=3.0)
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
    trigram = likelihood.ChordTrigram([piece(40, 41, 40, 41)])
    p = [math.exp(trigram.log_prob(piece(40, 41, key))[2]) for key in (40, 41)]
    background = 0.5 * 0.5 * 0.9**86
    # Each level gives the background its share 3d / (n + 3d); the first one D / (N + D).
    rest = (1 - 2 * background) * (2 / 6) * (3 / 4) * (3 / 4)
    assert sum(p) + rest == pytest.approx(1)


def test_quoted_figures_know_no_key_that_was_analysed(rolls):
    corpus = from_arrays(rolls, tonic=3, mode=1, timestep=(1, 1))
    hidden = likelihood.quoted(corpus).pieces[0]
    assert "tonic" not in hidden
    assert "mode" not in hidden
    assert hidden["timestep"] == (1, 1)
    benchmark = Corpus(corpus.pieces, "jsb_quarter")
    assert likelihood.quoted(benchmark) is benchmark


def test_micro_average(rolls):
    corpus = from_arrays(rolls)
    assert likelihood.nats_per_frame(np.full(12, -2.0), corpus) == pytest.approx(24 / corpus.frames)
    assert likelihood.nats_per_frame(np.full(12, -2.0), corpus, [0, 1]) == pytest.approx(
        4 / len(np.concatenate(rolls[:2]))
    )
    assert likelihood.nats_per_frame(np.full(12, -2.0), corpus, []) is None
    assert likelihood.clean_pieces(corpus) is None


def test_every_figure_says_what_it_is_of():
    quarter, sixteenth, chorales = (Corpus([], name) for name in ("jsb_quarter", "jsb_16th", "chorales"))
    sets, voices = ChainedVoices(), ChainedVoices(labelled=True)
    assert likelihood.protocol(quarter) == likelihood.protocol(quarter, sets) == "Q88"
    assert likelihood.protocol(sixteenth, voices) == "S16"
    assert likelihood.protocol(sixteenth, sets) == "jsb_16th, sets"
    assert likelihood.protocol(sixteenth, ChainedVoices(labelled=True, onsets=True)) == "jsb_16th, voices with onsets"
    assert likelihood.protocol(quarter, ChainedVoices(onsets=True)) == "jsb_quarter, sets with onsets"
    assert likelihood.protocol(chorales, voices) == "chorales, voices"


def test_the_trigram_on_the_benchmark(jsb_dir):
    """6.102 on all test pieces, 6.424 on the clean ones, 6.116 without each piece's first frame."""
    examples = sources.jsb_quarter_examples((jsb_dir / "jsb-chorales-quarter.json").read_text())
    trigram = likelihood.ChordTrigram([example["pianoroll"] for example in examples["train"]])
    test = Corpus(examples["test"], "jsb_quarter")
    frames = [trigram.log_prob(example["pianoroll"]) for example in test.pieces]
    log_p = np.array([f.sum() for f in frames])
    clean = likelihood.clean_pieces(test)
    assert (test.frames, len(clean)) == (4725, 49)
    assert likelihood.nats_per_frame(log_p, test) == pytest.approx(6.102, abs=5e-4)
    assert likelihood.nats_per_frame(log_p, test, clean) == pytest.approx(6.424, abs=5e-4)
    assert -np.concatenate([f[1:] for f in frames]).mean() == pytest.approx(6.116, abs=5e-4)
