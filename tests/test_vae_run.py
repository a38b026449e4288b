"""Runs of VAEs: from a configuration to figures of their latents; killed and gone on with."""

import json

import numpy as np
import pytest
from conftest import small_corpora
from test_resume import FILES, Broken, check_same, copy_killed, history, last_checkpoint

import bachkeras
from bachkeras import cli
from bachkeras.data import catalog
from bachkeras.evaluation import collapse, likelihood
from bachkeras.layers.frame import ChainedVoices
from bachkeras.models import LSTMVAE, HierarchicalVAE
from bachkeras.training import checkpoint, config, run

CONFIG = """
[model]
hidden = 8
layers = 1
latent = 4
bars = 2
frames_per_bar = 4
beta = 0.5
warmup = 6
free_bits = 0.2
batch_norm = 0.5
frame_dropout = 0.2
dropout = 0.1
[frame]
units = 8
reach = 5
dropout = 0.1
[data]
window = 16
batch_size = 4
transpose = 2
overhang = 0.5
[training]
epochs = 3
learning_rate = 1e-2
"""
CORPORA = small_corpora(voices=2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])


@pytest.fixture(scope="module", params=["hierarchical-vae", pytest.param("lstm-vae", marks=pytest.mark.slow)])
def finished(request, tmp_path_factory):
    """A run on the command line, what is left of one that is killed after its first epoch, and all in memory."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(CONFIG)
    out, killed = folder / "first", folder / "killed"
    command = ["train", request.param, "--config", str(folder / "small.toml"), "--out", str(out), "--seed", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: CORPORA[split])
        last = last_checkpoint(patch)
        copy_killed(patch, out, {1: killed})
        assert cli.main(command) == 0
    return out, killed, last


def test_curves_of_a_vae(finished):
    """The best epoch is that of the least loss; with a weight of 1 the KL is in the bound."""
    out, *_ = finished
    assert sorted(path.name for path in out.iterdir()) == FILES
    rows = [{name: float(value) for name, value in row.items()} for row in history(out)]
    assert len(rows) == 3
    validation = likelihood.quoted(CORPORA["validation"])
    windows = sum(-(-len(piece["pianoroll"]) // 8) for piece in validation.pieces)
    for row in rows:
        assert 0 <= row["val_active_units"] <= 4
        kl = row["val_kl_nats"] * windows / validation.frames
        assert row["val_nats_per_frame"] == pytest.approx(row["val_reconstruction_nats"] + kl, rel=1e-4)
        paid = max(row["val_kl_nats"], 0.2) * windows / validation.frames
        assert row["val_loss"] == pytest.approx(row["val_reconstruction_nats"] + 0.5 * paid, rel=1e-4)
    best = min(rows, key=lambda row: row["val_loss"])
    model = bachkeras.load(out)
    model.compile("adam", run_eagerly=True)
    found = model.evaluate(validation.windows(8, shuffle=False).batch(32), return_dict=True, verbose=0)
    assert {f"val_{name}": pytest.approx(value, abs=1e-4) for name, value in found.items()}.items() <= best.items()


def test_figures_of_a_vae(finished):
    out, *_ = finished
    row, *_ = json.loads((out / "evaluation.json").read_text())
    test, model = likelihood.quoted(CORPORA["test"]), bachkeras.load(out)
    assert row["likelihood"] == "bound"
    log_p = np.concatenate([model.log_prob(batch) for batch in test.windows(None, shuffle=False).batch(16)])
    assert row["test_nats_per_frame"] == pytest.approx(-log_p.sum() / test.frames, rel=1e-4)
    (batch,) = test.windows(8, shuffle=False).batch(64)
    posterior = [value.numpy() for value in model.posterior(batch)]
    assert row["kl_nats"] == pytest.approx(collapse.kl(*posterior).mean(), rel=1e-4)
    assert row["active_units"] == collapse.active_units(posterior[0])
    assert row["latent_size"] == 4
    weighted = model.log_prob(batch, samples=likelihood.DRAWS).numpy().sum()
    assert row["importance_weighted_nats_per_frame"] == pytest.approx(-weighted / test.frames, rel=1e-4)
    low, high = row["shuffle_gap_interval"]
    assert low <= row["shuffle_gap_nats"] <= high
    assert 0 <= row["reconstruction_f1"] <= 1


@pytest.mark.slow
def test_killed_after_an_epoch_it_becomes_the_same_run(finished, monkeypatch):
    """Moving averages, the warm-up and every seed go on where they were."""
    out, killed, unbroken = finished
    assert sorted(path.name for path in killed.iterdir()) == [checkpoint.NAME, "config.json", "logs"]
    last = last_checkpoint(monkeypatch)
    run.resume(killed)
    check_same(killed, out)
    assert last.keys() == unbroken.keys()
    for name, value in last.items():
        np.testing.assert_array_equal(value, unbroken[name])


def test_the_loss_chooses_from_the_first_epoch_on_and_after_a_break(tmp_path, monkeypatch):
    chosen = []

    def broken(_model, _config, _corpora, _out, _seed, progress, _jury, **_):
        chosen.append(progress.monitor)
        raise Broken

    monkeypatch.setattr(run, "fit", broken)
    out = tmp_path / "run"
    settings = config.from_dict({"model": {"hidden": 4}, "frame": {"units": 4}})
    with pytest.raises(Broken):
        run.train("lstm-vae", settings, out)
    with pytest.raises(Broken):
        run.resume(out)
    assert chosen == ["val_loss", "val_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LSTMVAE, HierarchicalVAE])
def test_vaes_learn_in_bfloat16(kind):
    options = {"layers": 1, "latent": 4, "bars": 2, "frames_per_bar": 4, "batch_norm": 0.5, "dtype": "mixed_bfloat16"}
    frame = ChainedVoices(2, units=8, labelled=True, onsets=True, held=4, counterpoint=True, dtype="mixed_bfloat16")
    model = kind(8, frame=frame, **options)
    model.compile("adam")
    history = model.fit(CORPORA["train"].windows(16).batch(8), verbose=0, shuffle=False).history
    assert all(np.isfinite(history[name][0]) for name in ("loss", "kl_nats", "nats_per_frame"))
    (batch,) = CORPORA["test"].windows(None, shuffle=False).batch(8)
    for samples in (1, 2):
        assert model.log_prob(batch, samples=samples).dtype == "float32"
        assert np.all(np.isfinite(model.log_prob(batch, samples=samples)))
    assert model.posterior(next(iter(CORPORA["test"].windows(8).batch(4))))[1].dtype == "float32"
    assert model.generate(1, 9, seed=0)["events"].shape == (1, 9, 2)
