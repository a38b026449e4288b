"""A run from configuration to music, on a small corpus, and what refuses to be one."""

import csv
import json
from fractions import Fraction

import keras
import music21
import numpy as np
import pytest

import bachkeras
from bachkeras import cli
from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus, from_arrays
from bachkeras.evaluation.comparison import Comparison
from bachkeras.layers.frame import ChainedVoices
from bachkeras.models import LSTMAttention
from bachkeras.music import midi, pianoroll, saving, voices
from bachkeras.training import config, directory, evaluate, figures, run, samples, settings
from bachkeras.training.settings import Setting

SMALL = config.from_dict(
    {
        "model": {"hidden": 8, "attention_heads": 2, "dropout": 0.1},
        "frame": {"class": "ChainedVoices", "units": 8, "reach": 5},
        "data": {"window": 8, "batch_size": 8, "transpose": 2},
        "training": {"epochs": 2},
    }
)


@pytest.fixture(scope="module")
def finished(corpora, tmp_path_factory):
    """A run that went to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
        out = tmp_path_factory.mktemp("runs") / "first"
        run.train("lstm-attention", SMALL, out, seed=1)
    return out


def test_a_run_holds_what_the_readme_says(finished, corpora):
    assert {path.name for path in finished.iterdir()} == {
        "config.json",
        "model.keras",
        "history.csv",
        "logs",
        "evaluation.json",
        "samples",
    }
    rows = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    assert float(rows[1]["val_nats_per_frame"]) > 0
    row, real, trigram, *_ = json.loads((finished / "evaluation.json").read_text())
    assert (row["model"], row["likelihood"], row["frames"]) == ("first", "exact", corpora["test"].frames)
    assert (real["model"], trigram["model"]) == ("real bach", "chord trigram")
    card = json.loads((finished / "config.json").read_text())
    assert card["format"] == directory.FORMAT
    assert card["ranges"] == directory.ranges(corpora["train"])
    assert config.from_dict(card["config"]) == SMALL


def test_the_saved_model_gives_the_figure(finished, corpora):
    """The test split's likelihood from a reload, tonic and mode hidden by hand."""
    row, *_ = json.loads((finished / "evaluation.json").read_text())
    model = bachkeras.load(finished)
    total = 0.0
    for item in corpora["test"].pieces:
        batch = next(iter(Corpus([item]).windows(None, shuffle=False).batch(1)))
        total += float(model.log_prob(batch | {"tonic": np.array([12]), "mode": np.array([2])})[0])
    assert row["test_nats_per_frame"] == pytest.approx(-total / corpora["test"].frames, rel=1e-4)


def test_the_first_samples_are_four_chorales(finished):
    paths = sorted((finished / "samples").iterdir())
    assert [path.name for path in paths] == [f"00{i}.{kind}" for i in range(1, 5) for kind in ("mid", "png")]
    score = midi.read(paths[0])
    assert score.end == 64 * 240
    assert [(key.tonic, key.mode) for key in score.keys] == [(2, 1)]
    assert [(meter.numerator, meter.denominator) for meter in score.meters] == [(4, 4)]


def test_written_files_hold_what_the_model_wrote(finished, tmp_path):
    model, card = directory.load(finished), directory.card(finished)
    (path,) = saving.write(tmp_path, samples.scores(model, card, count=1, length=20, seed=5))
    music = model.generate(
        1, 20, seed=5, conditions={"tonic": 2, "mode": 1, "timestep": 4, "position": np.arange(20) % 8}
    )
    read = pianoroll.from_score(midi.read(path), Setting(2, 1, 1, 2, 8, 0).timestep)
    np.testing.assert_array_equal(read.frames, music["pianoroll"][0])


@pytest.mark.slow
def test_training_gives_the_figures_of_evaluate(sung, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    rows = evaluate.evaluate([sung], tmp_path, seed=1)
    assert rows == json.loads((sung / "evaluation.json").read_text())


def test_generate_on_the_command_line(finished, tmp_path, capsys):
    command = [
        "generate",
        "--model",
        str(finished),
        "--count",
        "2",
        "--length",
        "8",
        "--seed",
        "7",
        "--key",
        "Eb minor",
    ]
    assert cli.main([*command, "--out", str(tmp_path / "a")]) == 0
    assert cli.main([*command, "--out", str(tmp_path / "b")]) == 0
    assert "Seed 7" in capsys.readouterr().out
    for name in ("001.mid", "002.mid"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert midi.read(tmp_path / "a" / "001.mid").keys[0].tonic == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--model", "nothing"], "no preset and no run directory of that name"),
        (["generate", "--model", "RUN", "--key", "H dur"], "Received: key='H dur'"),
        (["generate", "--model", "RUN", "--temperature", "0"], "Received: temperature=0.0"),
        (["generate", "--model", "RUN", "--temperature", "nan"], "Received: temperature=nan"),
        (["generate", "--model", "RUN", "--out", "RUN/samples"], "There is music already"),
        (["train", "lstm-attention", "--out", "RUN"], "There is a run already: choose another directory"),
        (["train", "transformer"], "there are gan, hierarchical-vae, lstm-attention, lstm-vae"),
        (["train", "lstm-attention", "--config", "best"], "Received: config='best'"),
        (["train", "lstm-attention", "--data", "mozart"], "Received: name='mozart'"),
        (["data", "info", "mozart"], "Received: name='mozart'"),
        (["data", "build", "jsb_quarter", "--manual-dir", "nowhere"], "Received: manual_dir='nowhere'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(finished, tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(finished.rglob("*"))
    assert cli.main([a.replace("RUN", str(finished)) for a in arguments]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("bachkeras: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert sorted(finished.rglob("*")) == before


def test_a_run_of_another_format_is_refused(finished, tmp_path):
    content = json.loads((finished / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(ValueError, match="has format 99, this bachkeras reads 1"):
        bachkeras.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="holds no model yet"):
        bachkeras.load(tmp_path)
    (tmp_path / "model.keras").write_text("half a file")
    with pytest.raises(ValueError, match=r"model\.keras cannot be read"):
        bachkeras.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="is no run directory"):
        bachkeras.load(tmp_path)


def test_a_run_without_data_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.train("lstm-attention", SMALL, tmp_path / "runs" / "first")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_broken_off_keeps_its_best_model(corpora, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    monkeypatch.setattr(figures, "evaluate", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    command = ["train", "lstm-attention", "--config", str(tmp_path / "small.toml"), "--out", str(tmp_path / "run")]
    text = "[model]\nhidden = 8\nattention_heads = 2\n[frame]\nunits = 8\n[training]\nepochs = 1\n"
    (tmp_path / "small.toml").write_text(text)
    assert cli.main(command) == 130
    told = capsys.readouterr()
    assert "the best model so far is in" in told.out
    assert told.err == "bachkeras: interrupted\n"
    assert bachkeras.load(tmp_path / "run").built
    assert cli.main(command) == 2
    assert "There is an unfinished run already: go on with it by --resume" in capsys.readouterr().err


def test_notes_that_do_not_fit_forbid_a_figure(corpora):
    sections = SMALL.to_dict()
    sections["frame"] |= {"voices": 2}
    model = run.make_model("lstm-attention", config.from_dict(sections), corpora.values())
    card = {"trained_on": ["chorales"], "config": sections, "data": {"name": "", "version": ""}}
    row, _ = figures.evaluate(model, "narrow", card, Comparison(corpora, labelled=False))
    assert row["likelihood"] is row["test_nats_per_frame"] is None
    assert "notes of the test split do not fit" in row["notes"]


@pytest.mark.slow
def test_mixed_precision_is_a_setting(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    sections = SMALL.to_dict()
    sections["training"] |= {"precision": "mixed_bfloat16", "epochs": 1}
    run.train("lstm-attention", config.from_dict(sections), tmp_path / "run")
    assert keras.config.dtype_policy().name == "float32"
    model = bachkeras.load(tmp_path / "run")
    assert model.core.compute_dtype == model.frame.context_dropout.compute_dtype == "bfloat16"


@pytest.mark.slow
def test_voices_and_endings_learn_in_bfloat16(corpora):
    frame = ChainedVoices(units=8, labelled=True, onsets=True, held=4, dtype="mixed_bfloat16")
    model = LSTMAttention(8, layers=1, ending=True, frame=frame, dtype="mixed_bfloat16")
    model.compile("adam")
    history = model.fit(corpora["train"].windows(4).batch(8), verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"][0])
    assert np.isfinite(history["ending_nats"][0])


@pytest.mark.slow
def test_training_stops_where_it_no_longer_helps(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    sections = SMALL.to_dict()
    sections["training"] |= {"learning_rate": 0.5, "epochs": 30, "patience": 1}
    run.train("lstm-attention", config.from_dict(sections), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").read_text().splitlines()))
    figures = [float(row["val_nats_per_frame"]) for row in rows]
    assert len(rows) < 30
    assert np.argmin(figures) == len(rows) - 2


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"layers": "two"}}, "does not fit lstm-attention"),
        ({"model": {"width": 3}}, "width"),
        ({"frame": {"class": "LSTMAttention"}}, "Received: class='LSTMAttention'"),
    ],
)
def test_a_configuration_that_does_not_fit_says_so(corpora, sections, message):
    with pytest.raises(ValueError, match=message):
        run.make_model("lstm-attention", config.from_dict(sections), corpora.values())


def test_labelled_voices_need_a_corpus_that_has_them(rolls):
    sections = {"frame": {"labelled": True}}
    with pytest.raises(ValueError, match="no labelled voices"):
        run.make_model("lstm-attention", config.from_dict(sections), [from_arrays(rolls)])


@pytest.fixture(scope="module")
def sung(corpora, tmp_path_factory):
    """A run of labelled voices with onsets and an ending."""
    sections = SMALL.to_dict()
    sections["model"] |= {"ending": True}
    sections["frame"] |= {"labelled": True, "onsets": True, "held": 4}
    sections["data"] |= {"window": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
        out = tmp_path_factory.mktemp("runs") / "sung"
        run.train("lstm-attention", config.from_dict(sections), out, seed=1)
    return out


def test_figures_of_voices_and_endings(sung, corpora):
    row, real, trigram, *_ = json.loads((sung / "evaluation.json").read_text())
    assert row["protocol"] == "chorales, voices with onsets"
    assert trigram["protocol"] == "chorales, sets"
    assert row["test_nats_per_note"] == pytest.approx(row["test_nats_per_frame"] / 4)
    assert row["test_ending_nats_per_piece"] > 0
    assert 0 <= row["end_on_tonic"] <= 1
    assert 0 <= row["cut_share"] <= 1
    assert 1 <= row["mean_frames_to_end"] <= settings.longest(directory.card(sung))
    assert real["mean_frames_to_end"] == pytest.approx(corpora["test"].frames / len(corpora["test"]))
    (last,) = csv.DictReader((sung / "history.csv").read_text().splitlines()[::2])
    assert float(last["val_ending_nats"]) > 0


def test_written_voices_are_heard_as_they_were_written(sung, tmp_path):
    """Each voice in its part, repeated notes struck again, held ones not: MIDI and MusicXML."""
    model, card = directory.load(sung), directory.card(sung)
    (path,) = saving.write(tmp_path, samples.scores(model, card, count=1, length=40, seed=3), as_musicxml=True)
    told = {"tonic": 2, "mode": 1, "timestep": 4, "position": np.arange(40) % 8}
    music = model.generate(1, 40, seed=3, conditions=told, allowed=settings.allowed(card))
    events, onsets = music["events"][0], music["onsets"][0]
    again = onsets[1:] & (events[1:] == events[:-1])
    assert again.any()
    assert (~onsets[1:] & (events[1:] == events[:-1]) & (events[1:] != 88)).any()
    written = midi.read(path)
    parts = [voices.SATB.index(name) for name in written.parts]
    assert written.parts == tuple(voices.SATB[k] for k in range(4) if (events[:, k] != 88).any())
    read, struck = voices.from_score(written, Fraction(1, 2))
    np.testing.assert_array_equal(read, events[: len(read), parts])
    np.testing.assert_array_equal(struck, onsets[: len(read), parts])
    strokes = sum(
        len(note.pitches) for note in music21.converter.parse(path.with_suffix(".musicxml")).flatten().stripTies().notes
    )
    assert strokes == onsets.sum()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".mid", ".musicxml", ".png"]


def test_length_auto_needs_an_ending(finished, sung, tmp_path, capsys):
    assert (
        cli.main(["generate", "--model", str(sung), "--count", "1", "--seed", "2", "--out", str(tmp_path / "a")]) == 0
    )
    ends = {midi.read(path).end for path in (tmp_path / "a").glob("*.mid")}
    assert max(ends) <= 240 * settings.longest(directory.card(sung))
    command = ["generate", "--model", str(finished), "--length", "auto", "--out", str(tmp_path / "b")]
    assert cli.main(command) == 2
    assert "not trained to end a piece" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def held(setting, frames):
    """A piece in a setting that holds one key, 40."""
    roll = np.zeros((frames, 88), bool)
    roll[:, 40] = True
    return {"pianoroll": roll, **settings.features(setting, frames)}


def test_an_upbeat_is_written_before_the_first_bar():
    score = samples.score(held(Setting(2, 1, 1, 2, 8, 6), 5), False, -12)
    assert score.upbeat == 2 * 240
    assert score.keys[0].tonic == 2 - 12 + 12
    assert score.notes["pitch"].tolist() == [40 + 21 - 12]
    np.testing.assert_array_equal(settings.positions(Setting(2, 1, 1, 2, 8, 6), 5), [6, 7, 0, 1, 2])


def test_keys_are_told_as_they_sound_and_only_where_training_knew_them():
    """A corpus in C, a fifth (7 semitones) above where it sounds, transposed by up to 2 semitones."""
    card = {"sounding_shift": -7, "config": {"data": {"transpose": 2}}}
    card["settings"] = [[Setting(0, 2, 1, 1, 4, 0)._asdict(), 9]]
    f_major = (5, 0)
    assert settings.in_key(Setting(0, 2, 1, 1, 4, 0), f_major, card) == Setting(0, 2, 1, 1, 4, 0)
    g_minor = (7, 1)
    assert settings.in_key(Setting(0, 2, 1, 1, 4, 0), g_minor, card) == Setting(2, 2, 1, 1, 4, 0)
    with pytest.raises(ValueError, match="trained in F alone"):
        settings.in_key(Setting(0, 2, 1, 1, 4, 0), (11, 0), card)


@pytest.mark.parametrize(
    ("text", "key"), [("C", (0, 0)), ("D minor", (2, 1)), ("Eb major", (3, 0)), ("f#", (6, 1)), ("Cb", (11, 0))]
)
def test_names_of_keys(text, key):
    assert settings.parse_key(text) == key


@pytest.mark.parametrize(("frames", "meter"), [(8, (4, 4)), (6, (3, 4)), (3, (3, 8)), (0, None)])
def test_bars_have_time_signatures(frames, meter):
    score = samples.score(held(Setting(12, 2, 1, 2, frames, 0), 8), False, 0)
    assert [(m.numerator, m.denominator) for m in score.meters] == ([meter] if meter else [])
    assert score.keys == ()


def test_strokes_of_an_unlabelled_model_are_written():
    frame = ChainedVoices(onsets=True)
    events = np.array([[50, 40, 88, 88], [50, 40, 88, 88], [52, 40, 88, 88]])
    onsets = np.array([[True, True, False, False], [True, False, False, False], [True, False, False, False]])
    music = {"pianoroll": frame.pianoroll(events).numpy() > 0.5, "events": events, "onsets": onsets}
    piece = samples.as_in_a_corpus(frame, music) | settings.features(Setting(12, 2, 1, 2, 0, -1), 3)
    notes = samples.score(piece, False, 0).notes
    assert notes[["start", "end", "pitch"]].tolist() == [(0, 240, 71), (0, 720, 61), (240, 480, 71), (480, 720, 73)]


@pytest.mark.slow
def test_a_piece_without_an_ending_is_written_again(sung, monkeypatch):
    model, card = directory.load(sung), directory.card(sung)
    compose, seeds, lengths = samples.compose, [], iter([[4, 2, 4], [4, 1], [3]])
    monkeypatch.setattr(settings, "longest", lambda card: 4)

    def written(model, drawn, longest, *, until_end, seed, **options):
        assert until_end
        assert longest == [4] * len(drawn)
        seeds.append(seed)
        return compose(model, drawn, next(lengths), seed=seed, **options)

    monkeypatch.setattr(samples, "compose", written)
    first = [score.end for score in samples.scores(model, card, count=3, seed=5)]
    assert [end // (first[1] // 2) for end in first] == [3, 2, 1]
    assert seeds[0] == 5
    assert len({*seeds}) == 3
