"""Samples of an epoch beside held-out pieces: how far, and whether they have collapsed."""

import math

import numpy as np
import pytest
from conftest import small_corpora

from bachkeras import models
from bachkeras.evaluation import judge, novelty, parts, style
from bachkeras.evaluation.judge import Judge
from bachkeras.evaluation.listening import Listener
from bachkeras.evaluation.ngrams import ChordTrigram

CORPORA = small_corpora()


@pytest.fixture(scope="module")
def listener():
    return Listener(CORPORA["train"], CORPORA["validation"], labelled=False)


def like(rolls):
    return [{"pianoroll": np.asarray(roll), "timestep": (1, 2)} for roll in rolls]


def test_figures_are_those_of_an_evaluation(listener):
    pieces = CORPORA["test"].pieces
    found = listener.describe(pieces)
    heard, train = ([parts.of(p, False) for p in CORPORA[split].pieces] for split in ("test", "train"))
    assert [found[f"ngram_jsd_{n}"] for n in style.NGRAMS] == style.ngram_jsd(heard, train)
    assert found["distinct_3"] == novelty.distinct(heard, 3)
    trigram = ChordTrigram([piece["pianoroll"] for piece in CORPORA["train"].pieces])
    log_p = sum(trigram.log_prob(piece["pianoroll"]).sum() for piece in pieces)
    assert found["trigram_nats_per_frame"] == pytest.approx(-log_p / CORPORA["test"].frames)


def test_the_validation_pieces_are_at_distance_one(listener):
    assert listener.distance(listener.real) == pytest.approx(1)
    other = listener.real | {"ngram_jsd_2": 3 * listener.real["ngram_jsd_2"]}
    assert listener.distance(other) == pytest.approx(3)
    for difference in (-2, 2):  # Samples that say the probable alone are far away, too.
        nats = listener.real["trigram_nats_per_frame"] + difference
        assert listener.distance(other | {"trigram_nats_per_frame": nats}) == pytest.approx(5)


def test_a_judge_stands_for_the_trigram():
    model = models.LSTMAttention(8, frame=models.ChainedVoices(units=8, reach=3))
    heard = Listener(CORPORA["train"], CORPORA["validation"], False, Judge("it", model, {}))
    nats = judge.nats_per_frame(model, CORPORA["validation"].pieces, CORPORA["validation"].name)
    assert heard.real["judge_nats_per_frame"] == pytest.approx(nats)
    assert heard.distance(heard.real | {"judge_nats_per_frame": nats - 2}) == pytest.approx(3)
    assert heard.distance(heard.real | {"trigram_nats_per_frame": 0.0}) == pytest.approx(1)
    full = heard.describe(like([np.ones((9, 88), bool)]))  # More notes than the judge has voices.
    assert math.isnan(full["judge_nats_per_frame"])


def test_collapse_is_one_piece_over_and_over_or_no_chords(listener):
    assert not listener.collapsed(listener.real)
    roll = CORPORA["test"].pieces[0]["pianoroll"]
    assert listener.collapsed(listener.describe(like([roll] * 6)))
    held = np.zeros((20, 88), bool)
    held[:, [30, 40]] = True
    found = listener.describe(like([held] * 6))
    assert math.isnan(found["self_bleu_4_soprano"])
    assert listener.collapsed(found)
    silent = listener.describe(like([np.zeros((20, 88), bool)] * 6))
    assert math.isnan(listener.distance(silent))
    assert listener.collapsed(silent)
