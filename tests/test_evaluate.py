"""`bachkeras evaluate`: its rows, its page, its judge, on small runs; what it refuses; what the samplers are told."""

import json
import math
import re
import shutil
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import small_corpora

import bachkeras
from bachkeras import cli
from bachkeras.data import catalog, sources
from bachkeras.data.pipeline import Corpus, from_arrays
from bachkeras.evaluation import judge, likelihood, rows
from bachkeras.evaluation.comparison import Comparison, grid
from bachkeras.evaluation.judge import Judge
from bachkeras.evaluation.rows import Row
from bachkeras.layers.frame import ChainedVoices
from bachkeras.models import LSTMAttention
from bachkeras.training import config, directory, evaluate, figures, samples, settings
from bachkeras.training.settings import Setting


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: small_corpora(name)[split])


def untrained(out, model, corpus):
    """A run directory with a model that has learned nothing, and no history."""
    model.build()
    out.mkdir(parents=True)
    model.save(out / "model.keras")
    card = directory.describe("lstm-attention", config.read("lstm-attention"), corpus, seed=0)
    (out / "config.json").write_text(json.dumps(card))
    return out


@pytest.fixture(scope="module")
def ranked(tmp_path_factory, corpora):
    model = LSTMAttention(8, attention_heads=2, frame=ChainedVoices(units=8))
    return untrained(tmp_path_factory.mktemp("runs") / "ranked", model, corpora["train"])


@pytest.fixture(scope="module")
def sung(tmp_path_factory, corpora):
    frame = ChainedVoices(units=8, labelled=True, onsets=True)
    model = LSTMAttention(8, attention_heads=0, ending=True, frame=frame)
    return untrained(tmp_path_factory.mktemp("runs") / "sung", model, corpora["train"])


@pytest.fixture(scope="module")
def found(ranked, sung, tmp_path_factory):
    """Both of them, evaluated with the second one as the judge."""
    out = tmp_path_factory.mktemp("evaluation") / "both"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: small_corpora(name)[split])
        evaluate.evaluate([ranked, sung], out, judge=sung, seed=3)
    return out


def read(folder):
    return json.loads((folder / "evaluation.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_row_for_each_model_and_each_reference(found):
    everything = read(found)
    references = ["real bach", "chord trigram", "chord bigram sampler", "chord unigram sampler"]
    assert [row["model"] for row in everything] == ["ranked", *references, "sung", *references]
    assert [row["voices"] for row in everything] == ["by rank"] * 5 + ["labelled"] * 5
    for row in everything:
        assert tuple(row) == rows.KEYS
        assert (row["data"], row["grid"], row["samples"], row["contaminated"]) == ("chorales", "1/2", 4, False)
        assert row["sample_frames"] == small_corpora()["test"].frames
        assert len(row["ngram_jsd"]) == 4


def test_every_figure_that_is_missing_has_its_reason(found):
    for row in read(found):
        named = {key for note in row["notes"].split("; ") for key in note.split(": ")[0].split(", ")}
        missing = {key for key, value in row.items() if value is None}
        assert missing <= named, row["model"]
        remarks = {"test_nats_per_frame"} if row["model"] == "chord trigram" else set()
        assert named - missing == remarks, row["model"]


def test_the_judge_judges_what_it_can(found, sung):
    ranked, _, own, real = [row for row in read(found) if row["model"] in ("sung", "real bach", "ranked")]
    assert "the judge reads voices and voice_onsets, which these pieces have not" in ranked["notes"]
    assert own["judge"] == real["judge"] == "sung"
    test = likelihood.quoted(small_corpora()["test"])
    expected = -likelihood.log_probs(bachkeras.load(sung), test)["frame"].sum() / test.frames
    assert real["judge_nats_per_frame"] == own["test_nats_per_frame"] == pytest.approx(expected)


@pytest.mark.slow
def test_the_same_call_gives_the_same_figures(ranked, tmp_path):
    first, second = (evaluate.evaluate([ranked], tmp_path / str(i), count=5, seed=4) for i in range(2))
    assert first == second == read(tmp_path / "1")
    assert (tmp_path / "0" / "report.html").read_bytes() == (tmp_path / "1" / "report.html").read_bytes()
    assert first[0]["samples"] == 5
    frames = [len(piece["pianoroll"]) for piece in small_corpora()["test"].pieces]
    assert first[0]["sample_frames"] == sum(frames) + frames[0]


def test_the_page_shows_what_was_measured(found):
    page = (found / "report.html").read_text()
    for text in ("ranked", "sung", "Bach, chorales, by rank", "Bach, chorales, labelled", "real bach"):
        assert text in page


def test_on_the_command_line(ranked, tmp_path, monkeypatch, capsys):
    """One run is evaluated into itself, a damaged evaluation.json there is replaced; several go to ./evaluation."""
    own = shutil.copytree(ranked, tmp_path / "own")
    (own / "evaluation.json").write_text("[{")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "own"]) == 0
    shown = capsys.readouterr().out
    assert "real bach" in shown
    assert "The page: own/report.html" in shown
    assert read(own)[0]["model"] == "own"
    given = {}
    monkeypatch.setattr(evaluate, "evaluate", lambda *runs, **others: given.update(others, runs=runs) or [])
    assert cli.main(["evaluate", "own", "b", "--samples", "2", "--judge", "own"]) == 0
    assert given.pop("runs") == (["own", "b"], Path("evaluation"))
    assert given == {"data": None, "count": 2, "seed": 0, "judge": "own", "manual_dir": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no preset and no run directory of that name"),
        (["RUN", "nothing"], "no preset and no run directory of that name"),
        (["RUN", "--judge", "nothing"], "no preset and no run directory of that name"),
        (["OTHER"], "has format 99"),
        (["RUN", "DAMAGED"], "is no run directory"),
        (["RUN", "EMPTY"], "holds no model yet"),
        (["RUN", "--samples", "0"], "a whole number of at least 1"),
        (["RUN", "--data", "jsb_quarter", "--out", "file"], "This is no folder that can be written to"),
    ],
)
def test_bad_input_is_one_line(ranked, tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    content = json.loads((ranked / "config.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(content | {"format": 99}))
    for name, card in (("empty", content), ("damaged", content | {"config": {"data": 3}})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(card))
    before = sorted(path for folder in (tmp_path, ranked) for path in folder.rglob("*"))
    command = ["evaluate", *(str(ranked) if a == "RUN" else a.lower() for a in arguments)]
    with pytest.raises(SystemExit, match=r"^2$"):  # Of argparse itself, or here of a command that returns its status.
        sys.exit(cli.main(command))
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert sorted(path for folder in (tmp_path, ranked) for path in folder.rglob("*")) == before


def test_voices_that_the_corpus_has_not(sung, rolls, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: Corpus(from_arrays(rolls).pieces, name))
    with pytest.raises(ValueError, match="writes 4 labelled voices, and the corpus has none"):
        evaluate.evaluate([sung], tmp_path / "out", data="jsb_quarter")
    with pytest.raises(ValueError, match="Received: samples=0"):
        evaluate.evaluate([sung], tmp_path / "out", count=0)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_may_know_the_tunes_get_no_figure(ranked, tmp_path):
    run = shutil.copytree(ranked, tmp_path / "run")
    card = json.loads((run / "config.json").read_text())
    card["data"]["name"] = "jsb_quarter"
    (run / "config.json").write_text(json.dumps(card))
    row, *_ = evaluate.evaluate([run], tmp_path / "out", data="chorales")
    assert row["contaminated"] is True
    assert row["likelihood"] is row["test_nats_per_frame"] is None
    assert "test_nats_per_frame" in row["notes"]
    assert "the weights have seen jsb_quarter" in row["notes"]
    assert row["parallels_per_100_beats"] is not None


def test_samples_shorter_than_the_ngrams_have_no_figure_and_a_reason():
    """Test pieces of two beats, and of no sounding frame."""
    short = [dict(piece, pianoroll=piece["pianoroll"][:4]) for piece in small_corpora()["test"].pieces]
    corpora = small_corpora() | {"test": Corpus(short, "chorales")}
    comparison = Comparison(corpora, labelled=False)
    for pieces in (short, [dict(piece, pianoroll=np.zeros((4, 88), bool)) for piece in short]):
        row = comparison.row("x")
        comparison.add_samples(row, pieces)
        row = row.to_dict()
        assert row["ngram_jsd"] is row["distinct_3"] is row["self_bleu_4_soprano"] is None
        assert "ngram_jsd: no sample has four beats with chords on end" in row["notes"]
        assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())


def test_a_row_takes_no_figure_that_is_none():
    row = Row(model="x")
    row.add({"hold_ratio": math.nan, "distinct_3": 0.5, "distinct_4": None}, "why")
    row.leave_out(["self_bleu_4_soprano"], "why")
    with pytest.raises(KeyError, match="no such key"):
        row.add({"beauty": 1.0}, "why")
    found = row.to_dict()
    assert (found["model"], found["hold_ratio"], found["distinct_3"]) == ("x", None, 0.5)
    assert found["notes"] == "hold_ratio, distinct_4, self_bleu_4_soprano: why"


def test_what_can_be_scored(rolls):
    pieces = from_arrays(rolls).pieces
    narrow = LSTMAttention(8, attention_heads=2, frame=ChainedVoices(voices=1))
    assert judge.objection(narrow, pieces) == "notes of these pieces do not fit the judge's voices"
    strokes = LSTMAttention(8, attention_heads=2, frame=ChainedVoices(onsets=True))
    assert judge.objection(strokes, pieces) == "the judge reads onsets, which these pieces have not"
    wide = LSTMAttention(8, attention_heads=2, frame=ChainedVoices())
    assert judge.objection(wide, pieces) is None
    wide.likelihood = "bound"
    assert judge.objection(wide, pieces) == "the judge's own likelihood is not exact"


def test_a_judge_knows_neither_the_test_pieces_nor_another_grid(ranked, corpora):
    model, card, test = directory.load(ranked), directory.card(ranked), corpora["test"]
    assert Judge("it", model, card).objection(test.pieces, test) is None
    heard = Judge("it", model, card | {"trained_on": ["jsb_quarter", "chorales"]})
    assert heard.objection(test.pieces, test).startswith("of the judge, the weights have seen jsb_quarter")
    quarters = [piece | {"timestep": np.array([1, 1])} for piece in test.pieces]
    assert Judge("it", model, card).objection(quarters, test) == "the judge was trained on another grid"


def test_a_run_of_another_version_of_its_corpus_has_no_likelihood(ranked, corpora):
    card, test = directory.card(ranked), corpora["test"]
    old = card | {"data": {"name": "chorales", "version": "0.9.0"}}
    assert likelihood.objection(card, test) is None
    assert "trained on version 0.9.0 of its corpus" in likelihood.objection(old, test)


def test_each_sample_has_the_length_and_the_timestep_of_its_test_piece(ranked, corpora):
    """Half of the test pieces in sixteenths."""
    pieces = [piece | {"timestep": np.array([1, 2 + 2 * (i % 2)])} for i, piece in enumerate(corpora["test"].pieces)]
    comparison = Comparison(corpora | {"test": Corpus(pieces, "chorales")}, labelled=False)
    _, written = figures.evaluate(directory.load(ranked), "x", directory.card(ranked), comparison, count=6)
    for sample, piece in zip(written, [*pieces, *pieces], strict=False):
        assert len(sample["pianoroll"]) == len(piece["pianoroll"])
        assert sample["timestep"].tolist() == piece["timestep"].tolist()


def test_settings_drawn_beside_others_have_their_timesteps():
    quarter, eighth = Setting(0, 0, 1, 1, 4, 0), Setting(2, 1, 1, 2, 8, 0)
    steps = [Fraction(1, 2), Fraction(1), Fraction(1, 2), Fraction(2)]
    drawn = settings.draw_beside([(quarter, 3), (eighth, 1)], steps, seed=0)
    assert [s.timestep for s in drawn] == steps
    assert drawn[:3] == [eighth, quarter, eighth]
    assert (drawn[3].frames_per_bar, drawn[3].first) == (0, -1)


def test_names_tell_runs_from_each_other_and_from_the_references():
    runs = [Path("/a/x"), Path("/b/x"), Path("/b/y"), Path("/b/real bach")]
    found = evaluate._names([*runs, runs[2]])
    assert [found[run] for run in runs] == ["/a/x", "/b/x", "y", "/b/real bach"]


def test_weights_that_are_not_finite_have_no_likelihood(ranked, corpora):
    model = directory.load(ranked)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    row, _ = figures.evaluate(model, "x", directory.card(ranked), Comparison(corpora, labelled=False))
    assert row["test_nats_per_frame"] is None
    assert "test_nats_per_frame: the model's probabilities are not finite" in row["notes"]


def test_only_pieces_that_the_model_ended_are_endings(sung, corpora, monkeypatch):
    """Of four pieces two are cut; the others end on D and on C, told D."""
    roll = np.zeros((6, 88), bool)
    roll[:, 5] = roll[1, 3] = True  # D, and once C below it.
    lengths = iter((6, 6, 4, 2))

    def compose(model, settings, most, *, until_end=False, seed):
        cut = [next(lengths) if until_end else n for n in most]
        rolls = [np.resize(roll, (n, 88)) for n in cut]
        return [{"pianoroll": r, "voices": np.full((len(r), 4), 5), "tonic": 2, "mode": 1} for r in rolls]

    monkeypatch.setattr(samples, "compose", compose)
    monkeypatch.setattr(settings, "longest", lambda card: 6)
    row, _ = figures.evaluate(directory.load(sung), "x", directory.card(sung), Comparison(corpora, labelled=True))
    assert (row["cut_share"], row["end_on_tonic"], row["mean_frames_to_end"]) == (0.5, 0.5, 3)


def test_a_latent_models_verbs_fill_its_row(ranked, corpora):
    """One dimension that says how long a piece is, and one that says nothing; the decoder knows each piece by heart."""
    model = directory.load(ranked)

    def posterior(batch):
        frames = np.sum(batch["mask"], axis=1, dtype=np.float32)
        return np.stack([frames, 0 * frames], 1), np.full((len(frames), 2), -8.0, np.float32)

    model.posterior = posterior
    model.reconstruct = lambda batch, latent=None: np.asarray(batch["pianoroll"])[:, 1:] > 0.5
    model.reconstruction_log_prob = lambda batch, z=None: -np.abs(np.asarray(z)[:, 0] - np.sum(batch["mask"], axis=1))
    model.log_prob = lambda batch, samples=1, seed=0: -samples * np.sum(batch["mask"], axis=1)
    model.likelihood = "bound"
    row, _ = figures.evaluate(model, "x", directory.card(ranked), Comparison(corpora, labelled=False))
    assert (row["likelihood"], row["latent_size"], row["active_units"], row["latent_examples"]) == ("bound", 2, 1, 4)
    assert row["mutual_information_nats"] == pytest.approx(math.log(4), abs=0.01)
    assert row["importance_weighted_nats_per_frame"] == 64
    assert row["reconstruction_f1"] == 1
    assert row["shuffle_gap_nats"] > 0
    assert row["shuffle_gap_interval"][0] <= row["shuffle_gap_nats"] <= row["shuffle_gap_interval"][1]
    assert row["codebook_perplexity"] is None
    assert re.search(
        r"codebook_perplexity, codes_used, .*code_bigram_nats_per_code: the model has no codes", row["notes"]
    )


def test_a_model_without_likelihood_has_a_row(ranked, corpora):
    model = directory.load(ranked)
    model.likelihood = None
    row, _ = figures.evaluate(model, "x", directory.card(ranked), Comparison(corpora, labelled=False))
    assert row["likelihood"] is row["test_nats_per_frame"] is None
    assert "a model of this kind has no likelihood" in row["notes"]
    assert row["self_bleu_4_soprano"] is not None


def test_a_run_in_training_is_told(ranked, tmp_path):
    going = shutil.copytree(ranked, tmp_path / "going")
    (going / "checkpoint.npz").touch()
    row, *_ = evaluate.evaluate([going], tmp_path / "out")
    assert "train_minutes: the training is not finished" in row["notes"]


def test_the_judge_is_told_no_key_that_was_analysed(corpora):
    """A piece is as probable with its tonic as without; but on the benchmark the tonic is told."""
    model = LSTMAttention(8, attention_heads=2)
    pieces = corpora["test"].pieces
    hidden = [{name: value for name, value in piece.items() if name not in ("tonic", "mode")} for piece in pieces]
    assert judge.nats_per_frame(model, pieces, "chorales") == judge.nats_per_frame(model, hidden, "chorales")
    assert judge.nats_per_frame(model, pieces, "jsb_quarter") != judge.nats_per_frame(model, hidden, "jsb_quarter")


def test_samplers_write_what_a_judge_can_read(corpora):
    """Their voices, their pianoroll, and the place in the bar of the test pieces."""
    model = LSTMAttention(8, attention_heads=2, frame=ChainedVoices(labelled=True))
    known = [[setting._asdict(), n] for setting, n in settings.of_corpus(corpora["train"])]
    card = {"trained_on": ["chorales"], "data": {"name": "", "version": ""}, "settings": known}
    comparison = Comparison(corpora, labelled=True, judge=Judge("it", model, card))
    drawn = comparison._drawn(2, count=6, seed=0)
    for piece, like in zip(drawn, comparison.beside(6), strict=True):
        assert len(piece["voices"]) == len(like["voices"])
        np.testing.assert_array_equal(piece["position"], like["position"])
        assert piece["pianoroll"].sum() == sum(len({*frame} - {88}) for frame in piece["voices"].tolist())
    row = comparison.references(6, seed=0)[2]
    assert row["judge_nats_per_frame"] == pytest.approx(judge.nats_per_frame(model, drawn, "chorales"))


def test_grids():
    corpus = small_corpora()["test"]
    assert grid(corpus) == "1/2"
    assert grid(from_arrays([corpus.pieces[0]["pianoroll"]])) == "1"
    mixed = [dict(corpus.pieces[0], timestep=np.array([1, n])) for n in (1, 4)]
    assert grid(Corpus(mixed)) == "per piece"


def test_a_piece_that_a_model_wrote_is_a_piece_of_a_corpus(sung, corpora):
    """What `compose` gives has the settings that were drawn, and is scored and written as any other."""
    model, card = directory.load(sung), directory.card(sung)
    drawn = settings.draw(settings.known(card), 3, seed=0)
    pieces = samples.compose(model, drawn, [5, 9, 2], seed=1)
    assert [len(piece["voices"]) for piece in pieces] == [5, 9, 2]
    assert [settings.of_piece(piece) for piece in pieces] == drawn
    for piece in pieces:
        assert piece.keys() >= {"pianoroll", "voices", "voice_onsets"}
    assert settings.of_corpus(corpora["train"]) == settings.known(card)


def test_minutes_are_those_of_the_history(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,seconds,loss\n0,30.5,2\n1,90,1\n")
    assert figures.minutes(tmp_path) == 1.5
    assert figures.history(tmp_path) == {"epoch": [0, 1], "seconds": [30.5, 90], "loss": [2, 1]}
    for damaged in ("epoch,seconds\n0\n", "", "epoch,seconds\n0,x\n"):
        (tmp_path / "history.csv").write_text(damaged)
        assert figures.minutes(tmp_path) is figures.history(tmp_path) is None


@pytest.mark.slow
def test_the_benchmark_is_evaluated_in_time(jsb_dir, tmp_path, monkeypatch):
    """An untrained network of full size: 77 samples, the figures, the references, the page, in two minutes."""
    examples = sources.jsb_quarter_examples((jsb_dir / "jsb-chorales-quarter.json").read_text())
    corpora = {split: Corpus(pieces, "jsb_quarter", -12) for split, pieces in examples.items()}
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    full = untrained(tmp_path / "full", LSTMAttention(), corpora["train"])
    began = time.monotonic()
    row, real, trigram, *_ = evaluate.evaluate([full], tmp_path / "out", judge=full)
    assert time.monotonic() - began < 120
    assert (row["samples"], row["sample_frames"], row["train_minutes"]) == (77, 4725, None)
    assert trigram["test_nats_per_frame"] == pytest.approx(6.102, abs=5e-4)
    assert real["judge_nats_per_frame"] == pytest.approx(row["test_nats_per_frame"])
