"""Likelihood: what a quoted figure may know, and the trigram's on the benchmark."""

import numpy as np
import pytest

from bachkeras.data import sources
from bachkeras.data.pipeline import Corpus, from_arrays
from bachkeras.evaluation import likelihood
from bachkeras.evaluation.ngrams import ChordTrigram
from bachkeras.layers.frame import ChainedVoices


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
    train, test = (Corpus(examples[split], "jsb_quarter") for split in ("train", "test"))
    log_p = likelihood.chord_trigram(train, test)
    clean = likelihood.clean_pieces(test)
    assert (test.frames, len(clean)) == (4725, 49)
    assert likelihood.nats_per_frame(log_p, test) == pytest.approx(6.102, abs=5e-4)
    assert likelihood.nats_per_frame(log_p, test, clean) == pytest.approx(6.424, abs=5e-4)
    trigram = ChordTrigram([example["pianoroll"] for example in train.pieces])
    frames = [trigram.log_prob(example["pianoroll"]) for example in test.pieces]
    assert -np.concatenate([f[1:] for f in frames]).mean() == pytest.approx(6.116, abs=5e-4)
