"""Runs of VQ-VAEs: two stages, killed in either and gone on with; figures of their codes, and what codes mean."""

import csv
import dataclasses
import json
import tomllib

import numpy as np
import pytest
from conftest import small_corpora
from test_resume import FILES, check_same, copy_killed, history, last_checkpoint

import bachkeras
from bachkeras import cli
from bachkeras.data import catalog
from bachkeras.evaluation import codes, likelihood
from bachkeras.models import VQVAE
from bachkeras.music import midi
from bachkeras.tasks import codebook
from bachkeras.training import config, directory, figures, run
from bachkeras.training.request import Request

CONFIG = """
[model]
hidden = 8
codes = 6
codebooks = 2
size = 4
dropout = 0.1
prior_hidden = 8
prior_layers = 1
[frame]
units = 8
reach = 5
[data]
window = 16
batch_size = 4
transpose = 2
[training]
epochs = 2
learning_rate = 1e-2
[prior]
epochs = 3
learning_rate = 2e-2
"""
CORPORA = small_corpora(voices=2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on the command line, what is left of it if it is killed after some epochs, and all in memory."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(CONFIG)
    out, killed = folder / "first", {epochs: folder / f"killed-{epochs}" for epochs in (1, 2, 4)}
    command = ["train", "vq-vae", "--config", str(folder / "small.toml"), "--out", str(out), "--seed", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])
        last = last_checkpoint(patch)
        copy_killed(patch, out, killed)
        assert cli.main(command) == 0
    return out, killed, last


def test_one_history_of_both_stages(finished):
    out, *_ = finished
    assert sorted(path.name for path in out.iterdir()) == FILES
    rows = history(out)
    assert [(row["epoch"], row["stage"]) for row in rows] == [
        ("0", "1"),
        ("1", "1"),
        ("2", "2"),
        ("3", "2"),
        ("4", "2"),
    ]
    for row in rows:
        always = ("loss", "val_loss", "val_nats_per_frame", "val_reconstruction_nats", "val_prior_nats_per_code")
        assert all(row[name] for name in (*always, "val_codebook_perplexity", "val_codes_used"))
        assert bool(row["reseeded_codes"]) == (row["stage"] == "1")
        assert bool(row["prior_nats_per_code"]) == (row["stage"] == "2")
    assert np.isnan(figures.history(out)["prior_nats_per_code"]).tolist() == [True, True, False, False, False]


def test_the_prior_learns_the_codes_of_the_best_codec(finished):
    """While it does the reconstruction stays that of the codec's best epoch; the best epoch has the least bound."""
    out, *_ = finished
    rows = [{name: float(value or "nan") for name, value in row.items()} for row in history(out)]
    best = min(row["val_reconstruction_nats"] for row in rows[:2])
    assert [row["val_reconstruction_nats"] for row in rows[2:]] == pytest.approx([best] * 3, rel=1e-5)
    model = bachkeras.load(out)
    model.compile("adam", run_eagerly=True)
    validation = likelihood.quoted(CORPORA["validation"]).windows(None, shuffle=False).batch(32)
    found = model.evaluate(validation, return_dict=True, verbose=0)
    least = min(row["val_nats_per_frame"] for row in rows[2:])
    assert found["nats_per_frame"] == pytest.approx(least, abs=1e-4)
    embeddings = [quantizer.embeddings for quantizer in model.quantizers]
    np.testing.assert_array_equal(model.prior.frame.vectors, embeddings)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_killed_in_either_stage_it_becomes_the_same_run(finished, epochs, monkeypatch):
    """Between them too: moving averages, both optimizers and every seed go on where they were."""
    out, killed, unbroken = finished
    last = last_checkpoint(monkeypatch)
    run.resume(killed[epochs])
    check_same(killed[epochs], out)
    assert last.keys() == unbroken.keys()
    for name, value in last.items():
        np.testing.assert_array_equal(value, unbroken[name])


def test_figures_of_codes(finished):
    out, *_ = finished
    row, *_ = json.loads((out / "evaluation.json").read_text())
    test, model = likelihood.quoted(CORPORA["test"]), bachkeras.load(out)
    assert row["likelihood"] == "bound"
    log_p = np.concatenate([model.log_prob(batch) for batch in test.windows(None, shuffle=False).batch(16)])
    assert row["test_nats_per_frame"] == pytest.approx(-log_p.sum() / test.frames, rel=1e-4)
    bound = row["rate_nats_per_frame"] + row["reconstruction_nats_per_frame"]
    assert row["test_nats_per_frame"] == pytest.approx(bound, rel=1e-4)
    used = np.concatenate(codes.phases(model, test))
    assert row["codebook_perplexity"] == pytest.approx(codes.perplexity(used, (6, 6)).min())
    assert row["codes_used"] == codes.share_used(used, (6, 6)).min()
    train, scored = codes.phases(model, CORPORA["train"]), codes.pieces(model, test)
    assert row["code_unigram_nats_per_code"] == pytest.approx(codes.unigram_nats(train, scored, (6, 6)))
    assert row["code_bigram_nats_per_code"] == pytest.approx(codes.bigram_nats(train, scored, (6, 6)))
    assert row["importance_weighted_nats_per_frame"] is row["active_units"] is None


def test_a_piece_is_continued(finished, tmp_path):
    """On the command line, after a part of a group too."""
    out, *_ = finished
    primer = out / "samples" / "001.mid"
    folder = tmp_path / "out"
    command = ["generate", "--model", str(out), "--primer", str(primer), "--length", "6", "--seed", "3", "--count", "2"]
    assert cli.main([*command, "--out", str(folder)]) == 0
    assert len(midi.read(folder / "002.mid").notes)


def test_codes_are_shown(finished, tmp_path, capsys):
    out, *_ = finished
    folder = tmp_path / "new" / "codes"
    assert cli.main(["codes", str(out), "--out", str(folder)]) == 0
    with open(folder / "codes.csv") as file:
        rows = list(csv.DictReader(file))
    model, train = bachkeras.load(out), CORPORA["train"]
    used = np.concatenate(codes.pieces(model, train))
    for book in (0, 1):
        counts = np.bincount(used[:, book], minlength=6)
        mine = [row for row in rows if row["codebook"] == str(book + 1)]
        assert [int(row["count"]) for row in mine] == sorted(counts[counts > 0], reverse=True)
        assert all(counts[int(row["code"])] == int(row["count"]) for row in mine)
    files = sorted(path.name for path in folder.glob("*.mid"))
    assert files == sorted(f"codebook{row['codebook']}-code{int(row['code']):03}.mid" for row in rows)
    first = midi.read(folder / f"codebook1-code{int(rows[0]['code']):03}.mid")
    pitches = {int(pitch) for frame in rows[0]["typical"].split("|") for pitch in frame.split()}
    assert set(first.notes["pitch"].tolist()) == pitches
    assert (folder / "codes.png").read_bytes().startswith(b"\x89PNG")
    assert f"{len(rows)} codes" in capsys.readouterr().out
    assert cli.main(["codes", str(out), "--out", str(folder)]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_a_code_is_what_its_groups_are():
    """Groups of two frames, in C: notes 3 semitones lower than they sound in D sharp; the nearest to the mean."""

    class Model:
        group_size = 2
        code_sizes = (3,)

        def codes(self, batch):
            return np.asarray(batch["mask"])[:, ::2, None].astype(np.int32)

    roll = np.zeros((7, 88), bool)
    roll[[0, 1, 2, 3, 4], [40, 41, 40, 41, 40]] = True
    piece = {"pianoroll": roll, "tonic": 3}
    corpus = small_corpora()["train"].__class__([piece])
    (meaning,) = codebook.meanings(Model(), corpus)
    assert (meaning.codebook, meaning.code, meaning.count) == (0, 1, 4)
    assert meaning.share[0, 37] == 3 / 4
    assert meaning.share[1, 38] == 2 / 4
    assert meaning.share.sum() == 5 / 4
    assert [np.flatnonzero(frame).tolist() for frame in meaning.typical] == [[37], [38]]


@pytest.mark.slow
def test_only_models_with_codes_have_codes(tmp_path, capsys):
    settings = config.from_dict({"model": {"hidden": 4, "layers": 1}, "training": {"epochs": 1}})
    run.train("lstm-vae", settings, tmp_path / "vae")
    assert cli.main(["codes", str(tmp_path / "vae"), "--out", str(tmp_path / "codes")]) == 2
    assert "needs a model with codes, vq-vae. Received: model='lstm-vae'" in capsys.readouterr().err
    assert not (tmp_path / "codes").exists()


def test_a_prior_of_a_run_is_asked_for(finished):
    """Going on asks for the run's own epochs."""
    out, *_ = finished
    card = json.loads((out / "config.json").read_text())
    config_file = out.parent / "small.toml"
    Request("vq-vae", config=str(config_file)).check(card)
    shorter = card | {"config": config.from_dict(card["config"]).every_stage(epochs=1).to_dict()}
    Request("vq-vae", config=str(config_file)).check(shorter)
    with pytest.raises(ValueError, match=r"\[prior\] epochs=1.*Received: .*\[prior\] epochs=2"):
        Request("vq-vae", config=str(config_file), epochs=2).check(shorter)


@pytest.mark.slow
def test_a_run_is_trained_further(finished, tmp_path):
    """Its own model, the new configuration's epochs, of the prior too."""
    out, *_ = finished
    config_file = out.parent / "small.toml"
    settings = dataclasses.replace(config.read("vq-vae", config_file).every_stage(epochs=1), model={"hidden": 99})
    run.train("vq-vae", settings, tmp_path / "further", init=out)
    assert [row["stage"] for row in history(tmp_path / "further")] == ["1", "2"]
    assert bachkeras.load(tmp_path / "further").core.hidden == 8


def test_a_run_is_trained_further_in_its_precision(finished, monkeypatch):
    """The prior's too: what config.json says can be read again."""
    content = json.loads((finished[0] / "config.json").read_text()) | {"trained_on": []}
    content["config"] = config.from_dict(content["config"]).every_stage(precision="mixed_bfloat16").to_dict()
    monkeypatch.setattr(directory, "card", lambda path: content)
    settings, _ = run._like(finished[0], "vq-vae", config.read("vq-vae"))
    assert config.from_dict(settings.to_dict()).prior.precision == "mixed_bfloat16"
    card = content | {"init": {}, "config": settings.to_dict()}
    Request("vq-vae", config="default").check(card)


@pytest.mark.slow
def test_a_prior_that_diverges_leaves_the_codec(tmp_path, monkeypatch, capsys):
    settings = config.from_dict(tomllib.loads(CONFIG))
    step = VQVAE._prior_loss
    monkeypatch.setattr(VQVAE, "_prior_loss", lambda self, *a, **k: tuple(np.nan * x for x in step(self, *a, **k)))
    with pytest.raises(RuntimeError, match=r"lower \[prior\] learning_rate. Received: learning_rate=0.02"):
        run.train("vq-vae", settings, tmp_path / "run")
    assert "its prior not trained yet" in capsys.readouterr().out
    assert bachkeras.load(tmp_path / "run").codes


def test_a_prior_is_configured_where_there_is_one(tmp_path):
    settings = config.from_dict({"model": {"hidden": 4}, "prior": {"epochs": 1}})
    with pytest.raises(ValueError, match=r"leave \[prior\] out"):
        run.train("lstm-vae", settings, tmp_path / "vae")
    assert not (tmp_path / "vae").exists()
    both = config.from_dict({"training": {"epochs": 5}, "prior": {"epochs": 6}})
    assert config.from_dict(both.to_dict()) == both
    assert [stage.epochs for stage in (both.every_stage(epochs=2).training, both.every_stage(epochs=2).prior)] == [2, 2]
    assert config.from_dict({}).every_stage(epochs=2).prior is None
    assert "prior" not in config.from_dict({}).to_dict()
    half = {"training": {"precision": "mixed_bfloat16"}, "prior": {}}
    assert config.from_dict(half).prior.precision == "mixed_bfloat16"
    with pytest.raises(ValueError, match="Received: precision='float32'"):
        config.from_dict(half | {"prior": {"precision": "float32"}})
