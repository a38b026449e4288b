"""Runs of GANs: judged by their samples, killed and gone on with, broken off where they collapse or diverge."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_corpora
from test_resume import FILES, check_same, copy_killed, history, last_checkpoint

import bachkeras
from bachkeras import cli, models
from bachkeras.data import catalog
from bachkeras.evaluation.judge import nats_per_frame
from bachkeras.evaluation.listening import Listener
from bachkeras.models import LSTMGAN
from bachkeras.training import config, directory, figures, run, samples, settings

CONFIG = """
[model]
hidden = 8
noise = 4
discriminator = "conv"
discriminator_hidden = 6
instance_noise = 0.1
critic_steps = 2
[frame]
units = 8
reach = 5
[data]
window = 8
batch_size = 4
transpose = 2
[training]
epochs = 5
evaluate_every = 2
learning_rate = 1e-2
[discriminator]
learning_rate = 2e-2
"""
CORPORA = small_corpora(voices=2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])


@pytest.fixture(scope="module")
def toml(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(toml, tmp_path_factory):
    """A run on the command line, what is left of it if it is killed after an epoch, and all in memory."""
    folder = tmp_path_factory.mktemp("runs")
    out, killed = folder / "first", folder / "killed"
    command = ["train", "gan", "--generator", "latent", "--config", str(toml), "--out", str(out), "--seed", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])
        last = last_checkpoint(patch)
        copy_killed(patch, out, {3: killed})
        assert cli.main(command) == 0
    return out, killed, last


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "judge"
    small = {"model": {"hidden": 8, "layers": 1}, "frame": {"units": 8, "reach": 5}, "training": {"epochs": 1}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])
        run.train("lstm-attention", config.from_dict(small), out)
    return out


def test_samples_choose_the_epoch(finished, capsys):
    out, *_ = finished
    assert sorted(path.name for path in out.iterdir()) == FILES
    rows = history(out)
    # Every other epoch, and the last one.
    assert [bool(row["val_distance"]) for row in rows] == [False, True, False, True, True]
    assert [bool(row["val_critic_gap"]) for row in rows] == [False, True, False, True, False]
    assert all(row["critic_gap"] and row["generator_gradient_norm"] and row["critic_slope"] for row in rows)
    distances = figures.history(out)["val_distance"]
    best = int(np.nanargmin(distances))
    model = bachkeras.load(out)
    assert (model.objective.name, model.generator_name, model.discriminator_name) == ("minimax", "latent", "conv")
    # The saved model writes the samples by which it was chosen.
    listener = Listener(CORPORA["train"], CORPORA["validation"], labelled=False)
    found = listener.describe(figure_samples(model))
    assert listener.distance(found) == pytest.approx(distances[best], rel=1e-5)
    row, *_ = json.loads((out / "evaluation.json").read_text())
    assert row["likelihood"] is row["test_nats_per_frame"] is None
    assert "a model of this kind has no likelihood" in row["notes"]
    assert 0 <= row["c2st_accuracy"] <= 1


def figure_samples(model):
    """Those of `callbacks.Listen` at seed 1."""
    lengths = [len(piece["pianoroll"]) for piece in CORPORA["validation"].pieces]
    drawn = settings.draw(settings.of_corpus(CORPORA["train"]), len(lengths), 1)
    return samples.compose(model, drawn, lengths, seed=1)


@pytest.mark.slow
def test_killed_it_becomes_the_same_run(finished, monkeypatch):
    """Both optimizers, the average and every seed go on where they were."""
    out, killed, unbroken = finished
    last = last_checkpoint(monkeypatch)
    run.resume(killed)
    check_same(killed, out)
    assert last.keys() == unbroken.keys()
    for name, value in last.items():
        np.testing.assert_array_equal(value, unbroken[name])


def test_its_parts_are_asked_for(finished, toml, tmp_path, capsys):
    out, *_ = finished
    again = ["train", "gan", "--out", str(out), "--resume", "--config", str(toml)]
    assert cli.main([*again, "--generator", "latent", "--discriminator", "conv"]) == 0
    assert cli.main([*again, "--generator", "lstm"]) == 2
    assert "generator='latent'" in capsys.readouterr().err
    for command, problem in (
        (["train", "lstm-vae", "--generator", "lstm"], "gan and wgan have these parts. Received: generator='lstm'"),
        (["train", "gan", "--discriminator", "mlp", "--config", str(toml)], "Received: discriminator='mlp'"),
        (["train", "wgan", "--init", str(out), "--config", str(toml)], "of the model gan, not wgan"),
    ):
        assert cli.main([*command, "--out", str(tmp_path / "new")]) == 2
        assert problem in capsys.readouterr().err
    wrong = config.from_dict({"model": {"objective": "minimax"}})
    with pytest.raises(ValueError, match=r"The objective of wgan is wasserstein\. Received: objective='minimax'"):
        run.train("wgan", wrong, tmp_path / "new")


def test_a_judge_helps_to_choose_the_epoch(toml, judge, tmp_path, monkeypatch, capsys):
    """In the figures too; a run that is gone on with keeps its judge."""
    out, killed = tmp_path / "judged", tmp_path / "killed"
    command = ["train", "gan", "--generator", "latent", "--config", str(toml), "--out", str(out), "--epochs", "3"]
    with monkeypatch.context() as patch:
        copy_killed(patch, out, {1: killed})
        assert cli.main([*command, "--judge", str(judge)]) == 0
    run.resume(killed)
    check_same(killed, out)
    columns, real = figures.history(out), Listener(CORPORA["train"], CORPORA["validation"], False).real
    nats, ratio = np.array(columns["val_judge_nats_per_frame"]), np.array(columns["val_ngram_jsd_2"])
    model = bachkeras.load(judge)
    away = np.abs(nats - nats_per_frame(model, CORPORA["validation"].pieces, CORPORA["validation"].name))
    np.testing.assert_allclose(columns["val_distance"], ratio / real["ngram_jsd_2"] + away, rtol=1e-5)
    row, bach, *_ = json.loads((out / "evaluation.json").read_text())
    assert row["judge"] == bach["judge"] == "judge"
    assert row["judge_nats_per_frame"] > 0
    assert cli.main([*command, "--judge", str(out), "--resume"]) == 2
    assert f"goes on as it was begun, with judge={str(judge)!r}" in capsys.readouterr().err
    strokes = tmp_path / "strokes"
    monkeypatch.setattr(
        directory, "load", lambda path: models.LSTMAttention(8, frame=models.ChainedVoices(onsets=True))
    )
    for wrong, problem in ((tmp_path, "is no run directory"), (judge, "it reads labelled voices or onsets")):
        assert cli.main([*command[:-4], "--out", str(strokes), "--judge", str(wrong)]) == 2
        assert problem in capsys.readouterr().err
    assert not strokes.exists()


def test_new_music_from_noise_and_after_a_primer(finished, tmp_path):
    out, *_ = finished
    command = ["generate", "--model", str(out), "--count", "2", "--length", "9", "--seed", "3", "--out"]
    assert cli.main([*command, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "002.mid").is_file()
    primer = ["--primer", str(out / "samples" / "001.mid")]
    assert cli.main(["generate", "--model", str(out), *primer, "--out", str(tmp_path / "more")]) == 0
    assert (tmp_path / "more" / "001.mid").is_file()


@pytest.mark.slow
def test_a_language_model_goes_on_as_a_gan(toml, tmp_path, capsys):
    """Its weights are where the GAN begins; with no step made it writes and scores as before."""
    language = {"model": {"hidden": 8, "layers": 1, "attention_heads": 2}, "frame": {"units": 8, "reach": 5}}
    sections = {**language, "data": {"window": 8, "transpose": 2}, "training": {"epochs": 1}}
    run.train("lstm-attention", config.from_dict(sections), tmp_path / "language", seed=1)
    still = tmp_path / "still.toml"
    still.write_text(CONFIG.replace("learning_rate = 1e-2", "learning_rate = 0.0"))
    command = ["train", "wgan", "--config", str(still), "--init", str(tmp_path / "language"), "--seed", "1"]
    assert cli.main([*command, "--out", str(tmp_path / "gan"), "--epochs", "1"]) == 0
    before, after = (json.loads((tmp_path / name / "evaluation.json").read_text())[0] for name in ("language", "gan"))
    assert after["likelihood"] == "exact"
    for name in ("test_nats_per_frame", "ngram_jsd", "self_bleu_4_soprano"):
        assert after[name] == pytest.approx(before[name], rel=1e-5), name
    card = directory.card(tmp_path / "gan")
    assert card["config"]["model"]["generator"] == "autoregressive"
    assert card["config"]["frame"] == directory.card(tmp_path / "language")["config"]["frame"]
    assert card["init"]["run"] == str(tmp_path / "language")
    assert cli.main([*command, "--out", str(tmp_path / "gan"), "--resume"]) == 0
    assert cli.main([*command, "--generator", "lstm", "--out", str(tmp_path / "other")]) == 2
    assert "is an autoregressive generator. Received: generator='lstm'" in capsys.readouterr().err


def test_a_run_that_collapses_stops_and_keeps_its_best(toml, tmp_path, monkeypatch, capsys):
    """Two evaluations on end; one alone is none."""
    answers = iter([False, True, False, True, True, True])
    monkeypatch.setattr(Listener, "collapsed", lambda self, found: next(answers))
    distances = iter([3.0, 2.0, 4.0, 5.0, 1.0, 6.0])
    monkeypatch.setattr(Listener, "distance", lambda self, found: next(distances))
    sections = config.read("gan", toml).to_dict()
    sections["training"] |= {"evaluate_every": 1, "epochs": 6}
    run.train("gan", config.from_dict(sections), tmp_path / "run")
    rows = history(tmp_path / "run")
    assert [float(row["collapsed"]) for row in rows] == [0, 1, 0, 1, 2]
    said = capsys.readouterr().out
    assert "Epoch 5: the samples are all alike" in said
    assert "Training stops; the best epoch is kept." in said
    assert "Best epoch 5" in said
    assert (tmp_path / "run" / "evaluation.json").is_file()


@pytest.mark.parametrize("epochs", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_diverges_stops_and_keeps_its_best(epochs, toml, tmp_path, monkeypatch, capsys):
    """In the first epoch there is nothing to keep."""
    sections = config.read("gan", toml).to_dict()
    sections["training"] |= {"evaluate_every": 1, "epochs": 3}
    steps = epochs * int(run._batches(config.from_dict(sections), CORPORA, 0).cardinality())
    loss = LSTMGAN._critic_loss

    def diverging(self, *arguments, training=False):
        value, found = loss(self, *arguments, training=training)
        return value + tf.where(training & (self.optimizer.iterations >= steps), np.nan, 0.0), found

    monkeypatch.setattr(LSTMGAN, "_critic_loss", diverging)
    if not epochs:
        with pytest.raises(RuntimeError, match="diverged in its first epoch"):
            run.train("gan", config.from_dict(sections), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    run.train("gan", config.from_dict(sections), tmp_path / "run")
    assert len(history(tmp_path / "run")) == 2
    said = capsys.readouterr().out
    assert "Epoch 2: " in said
    assert "not finite. Training stops; the best epoch is kept." in said
    assert np.all(np.isfinite(np.concatenate([w.ravel() for w in bachkeras.load(tmp_path / "run").get_weights()])))


@pytest.mark.slow
def test_a_time_limit_ends_a_run(toml, tmp_path, capsys):
    sections = config.read("gan", toml).to_dict()
    sections["training"] |= {"evaluate_every": 3, "epochs": 9, "minutes": 1e-4}
    run.train("gan", config.from_dict(sections), tmp_path / "run")
    (row,) = history(tmp_path / "run")
    assert float(row["val_distance"]) > 0  # The last epoch is evaluated.
    small = {"model": {"hidden": 8}, "frame": {"units": 8, "reach": 5}, "training": sections["training"]}
    with pytest.raises(run.Untrained, match=r"lower \[training\] evaluate_every"):  # Not by likelihood.
        run.train("lstm-attention", config.from_dict(small), tmp_path / "other")


def test_the_discriminator_is_configured_where_there_is_one(tmp_path):
    both = config.from_dict(
        {"training": {"learning_rate": 0.1, "beta_1": 0.5}, "discriminator": {"learning_rate": 0.2}}
    )
    assert (both.discriminator.learning_rate, both.discriminator.beta_1) == (0.2, 0.5)
    assert both.every_stage(epochs=7).discriminator.epochs == 7
    assert config.from_dict(both.to_dict()) == both
    with pytest.raises(ValueError, match=r"leave \[discriminator\] out"):
        run.train("lstm-attention", config.from_dict({"model": {"hidden": 4}, "discriminator": {}}), tmp_path / "x")
    with pytest.raises(ValueError, match=r"schedule is cosine or constant\. Received: schedule='linear'"):
        config.from_dict({"training": {"schedule": "linear"}})


def test_a_constant_learning_rate():
    constant, cosine = (
        run._optimizer(config.Training(learning_rate=0.5, warmup=0.1, schedule=name), 100)
        for name in config.SCHEDULES[::-1]
    )
    rates = [[float(one._learning_rate(step)) for step in (5, 10, 60, 100)] for one in (constant, cosine)]
    assert rates[0] == pytest.approx([0.25, 0.5, 0.5, 0.5])
    assert rates[1][1] == pytest.approx(0.5)
    assert rates[1][3] == pytest.approx(0.0, abs=1e-6)
