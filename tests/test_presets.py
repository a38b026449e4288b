"""The released models: their cards, their weights, what a damaged one says; how one is made."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import presets as releasing  # tuning/presets.py
import pytest

import bachkeras
from bachkeras import _presets, cli
from bachkeras.data import catalog
from bachkeras.evaluation import likelihood
from bachkeras.models import LSTMAttention
from bachkeras.training import config, directory, run
from bachkeras.training.run import MODELS

MEBIBYTE = 2**20


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A folder of presets in which something can be damaged, with q88."""
    shutil.copytree(_presets.FOLDER / "q88", tmp_path / "presets" / "q88")
    monkeypatch.setattr(_presets, "FOLDER", tmp_path / "presets")
    return tmp_path / "presets" / "q88"


def test_every_card_says_what_its_preset_is():
    cards = bachkeras.presets()
    assert set(cards) >= {"q88", "chorales", "lstm-vae", "hierarchical-vae", "vq-vae", "wgan"}
    for name, card in cards.items():
        assert card["model"] in MODELS
        assert card["about"]
        assert card["licence"]
        assert card["minutes"] > 0
        assert card["command"].startswith(f"bachkeras train {card['model']}")
        assert card["command"].endswith(f" --seed {card['seed']}")
        assert card["data"]["name"] == ("chorales_16th" if name == "chorales" else "jsb_quarter")
        assert str(card["seed"]) in card["seeds"]
        assert card["figures"]["model"] == name
        assert card["figures"]["contaminated"] is False
        assert config.from_dict(card["recipe"])
    assert len(cards["q88"]["seeds"]) == 3


def test_a_presets_command_trains_what_it_holds():
    """The configuration that the command names is the one that the preset was trained with."""
    for card in bachkeras.presets().values():
        words = card["command"].split()
        named = words[words.index("--config") + 1] if "--config" in words else "default"
        assert config.read(card["model"], named).to_dict() == card["recipe"]


def test_the_table_of_releases_names_them_all():
    assert set(releasing.table()) == set(_presets.names())


def test_all_presets_together_are_small():
    assert sum(path.stat().st_size for path in _presets.FOLDER.rglob("*")) <= 40 * MEBIBYTE


def test_cards_are_read_without_tensorflow():
    code = "import sys, bachkeras; assert bachkeras.presets(); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_weights_have_half_the_precision_and_no_optimizer():
    for name in _presets.names():
        with zipfile.ZipFile(_presets.FOLDER / name / "model.keras") as file:
            weights = h5py.File(io.BytesIO(file.read(releasing.WEIGHTS)))
            assert not json.loads(file.read("config.json")).get("compile_config")
        kinds = set()
        weights.visititems(lambda _, item, kinds=kinds: kinds.add(getattr(item, "dtype", None)))
        assert np.dtype(np.float16) in kinds
        assert np.dtype(np.float32) not in kinds
        assert "optimizer" not in weights


def test_q88_has_its_figure_from_the_weights_that_are_shipped(jsb_dir):
    card = bachkeras.presets()["q88"]
    test = likelihood.quoted(catalog.load("jsb_quarter", "test", manual_dir=jsb_dir))
    model = LSTMAttention.from_preset("q88")
    nats = likelihood.nats_per_frame(likelihood.log_probs(model, test)["frame"], test)
    assert nats == pytest.approx(card["figures"]["test_nats_per_frame"], abs=1e-4)
    assert nats <= 4.7


@pytest.mark.slow
@pytest.mark.parametrize("name", _presets.names())
def test_every_preset_writes_music(name):
    model = bachkeras.load(name)
    assert isinstance(model, MODELS[model.card["model"]])
    assert model.generate(2, 16, seed=1)["pianoroll"].sum((1, 2)).min() > 16


def test_without_a_model_the_best_to_listen_to_writes(tmp_path, capsys):
    assert cli.main(["generate", "--count", "2", "--seed", "1", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "002.mid").exists()
    score = bachkeras.compose(seed=1)[0]
    assert score.parts == ("Soprano", "Alto", "Tenor", "Bass")


def test_a_preset_is_found_by_its_class():
    with pytest.raises(ValueError, match=r"That preset is of LSTMVAE, not LSTMAttention. Received: name='lstm-vae'"):
        LSTMAttention.from_preset("lstm-vae")
    with pytest.raises(ValueError, match=r"The presets are chorales, hierarchical-vae, .* Received: name='q89'"):
        LSTMAttention.from_preset("q89")


def test_a_bare_name_is_a_preset_before_it_is_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("q88", "mine"):
        (tmp_path / name).mkdir()
    assert _presets.place("q88") == _presets.FOLDER / "q88"
    assert _presets.place("./q88") == Path("q88")
    assert _presets.place("mine") == Path("mine")
    assert _presets.place(tmp_path / "q88") == tmp_path / "q88"
    assert _presets.place(Path("q88")) == Path("q88")
    assert [_presets.reference(run) for run in ("q88", "./q88", Path("q88"), "runs/x/", "./runs//x")] == [
        "q88",
        "./q88",
        "./q88",
        "runs/x",
        "runs/x",
    ]
    assert not _presets.is_preset(Path("q88"))
    assert _presets.is_preset(Path(os.path.relpath(_presets.FOLDER / "q88")))
    for nothing in ("", ".", "..", "/"):
        with pytest.raises(ValueError, match="no run directory"):
            bachkeras.load(nothing)
    with pytest.raises(ValueError, match=r"the presets are .*q88.*Received: 'yours'"):
        _presets.place("yours")


def test_a_run_may_have_a_presets_name(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text("model.hidden = 4\nframe.units = 4\ndata.window = 8\ntraining.epochs = 1\n")
    command = ["train", "lstm-attention", "--config", "small.toml", "--seed", "7", "--out", "q88"]
    assert cli.main(command) == 0
    assert len((tmp_path / "q88" / "history.csv").read_text().splitlines()) == 2
    assert cli.main([*command, "--resume"]) == 0
    assert bachkeras.load("./q88").card["seed"] == 7


def test_leftovers_are_no_presets(copied):
    for name in (".unfinished.q88", "__pycache__"):
        (copied.parent / name).mkdir()
    assert _presets.names() == ["q88"]
    shutil.rmtree(copied.parent)
    assert _presets.names() == []


def test_a_damaged_preset_says_so(copied, tmp_path, capsys):
    model = (copied / "model.keras").read_bytes()
    (copied / "model.keras").write_bytes(model[: len(model) // 2])
    for command in (["generate", "--model", "q88"], ["export", "q88"]):
        assert cli.main([*command, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "cannot be read" in said
        assert "Received: 'q88'" in said
    (copied / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"The preset is damaged: install bachkeras again .* Received: 'q88'"):
        bachkeras.load("q88")
    assert not (tmp_path / "out").exists()


def test_a_preset_of_another_format_is_refused(copied):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps(card | {"format": 2}))
    with pytest.raises(ValueError, match="has format 2, this bachkeras reads 1"):
        bachkeras.presets()
    (copied / "card.json").write_text("{")
    with pytest.raises(ValueError, match="card cannot be read"):
        bachkeras.presets()
    content = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(ValueError, match="has format 2, this bachkeras reads 1"):
        bachkeras.load("q88")


def test_an_evaluation_of_a_preset_does_not_go_into_it(monkeypatch):
    assert cli._into(["q88"]) == cli._into(["q88", "wgan"]) == Path("evaluation")
    assert cli._into(["runs/q88"]) == Path("runs/q88")


def test_halved_weights_are_read_by_keras(tmp_path):
    model = LSTMAttention(8, attention_heads=2)
    model.compile("adam")
    model.build()
    model.build_optimizers()
    model.save(tmp_path / "model.keras")
    releasing.halve(tmp_path / "model.keras", tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    assert not again.compiled
    for mine, theirs in zip(model.weights, again.weights, strict=True):
        assert theirs.dtype == "float32"
        np.testing.assert_array_equal(theirs, np.asarray(mine).astype(np.float16).astype(np.float32))
    model.weights[0].assign(np.full(model.weights[0].shape, 1e6))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="Half precision has no such number"):
        releasing.halve(tmp_path / "model.keras", tmp_path / "half.keras")


@pytest.mark.slow
def test_a_run_becomes_a_preset(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    monkeypatch.setitem(releasing.LICENCES, "chorales", "free")
    small = {"model": {"hidden": 8}, "frame": {"units": 8}, "data": {"window": 8}, "training": {"epochs": 2}}
    run.train("lstm-attention", config.from_dict(small), tmp_path / "mine-3", seed=3)
    monkeypatch.setattr(_presets, "FOLDER", tmp_path / "presets")
    seeds = {3: releasing.measured(tmp_path / "mine-3")}
    for _ in range(2):  # A preset that is there is replaced.
        releasing.release(
            tmp_path / "mine-3",
            tmp_path / "presets" / "mine",
            about="Small.",
            command="bachkeras train",
            seeds=seeds,
            manual_dir=None,
        )
    (name,) = bachkeras.presets()
    card = bachkeras.presets()[name]
    assert (name, card["seed"], card["licence"], card["command"]) == ("mine", 3, "free", "bachkeras train")
    assert card["seeds"]["3"]["test_nats_per_frame"] == pytest.approx(card["figures"]["test_nats_per_frame"], abs=0.05)
    assert directory.load("mine").card["trained_on"] == ["chorales"]
    assert sorted(path.name for path in (tmp_path / "presets").iterdir()) == ["mine"]


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(tmp_path):
    """The sdist gives the same wheel; its command writes music from its preset."""
    root = Path(__file__).parent.parent
    for source, options in (("direct", ["--wheel"]), ("by_sdist", [])):
        subprocess.run(
            [sys.executable, "-m", "build", *options, "--outdir", str(tmp_path / source), str(root)],
            check=True,
            capture_output=True,
        )
    wheels = [next((tmp_path / source).glob("*.whl")) for source in ("direct", "by_sdist")]
    contents = [{i.filename: i.CRC for i in zipfile.ZipFile(wheel).infolist()} for wheel in wheels]
    assert contents[0] == contents[1]
    assert wheels[0].stat().st_size <= 40 * MEBIBYTE
    zipfile.ZipFile(wheels[0]).extractall(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import bachkeras; from bachkeras import cli; "
    code += "assert bachkeras.__file__.startswith(sys.path[0]); sys.exit(cli.main(['generate', '--seed', '1']))"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "out" / "004.mid").exists()
