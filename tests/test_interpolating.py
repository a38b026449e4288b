"""What lies between two pieces: heard and written as a VAE does it by hand; its flags; what it is worth."""

import json
import math
from fractions import Fraction

import keras
import numpy as np
import pytest

import bachkeras
from bachkeras import cli
from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus, timestep_index
from bachkeras.layers.frame import ChainedVoices
from bachkeras.models import LSTMVAE, HierarchicalVAE, LSTMAttention
from bachkeras.models.vae import VAE
from bachkeras.music import keys, midi, pianoroll, voices
from bachkeras.music.score import MINOR, Key, Score
from bachkeras.music.voices import SATB
from bachkeras.tasks import interpolating, latent_measures, measures
from bachkeras.training import config, directory, samples

WINDOW = {"layers": 1, "latent": 4, "bars": 2, "frames_per_bar": 4}


def untrained(out, name, model, corpus):
    """A run directory with a model of random weights."""
    keras.utils.set_random_seed(0)
    model.build()
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.3))
    out.mkdir()
    model.save(out / "model.keras")
    card = directory.describe(name, config.read(name), corpus, seed=0)
    (out / "config.json").write_text(json.dumps(card))
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def pianist(folder, corpora):
    """The run of a VAE of chords."""
    model = LSTMVAE(8, frame=ChainedVoices(units=6, reach=3), **WINDOW)
    return untrained(folder / "pianist", "lstm-vae", model, corpora["train"])


@pytest.fixture(scope="module")
def singer(folder, corpora):
    """The run of a VAE of four labelled voices with strokes."""
    frame = ChainedVoices(units=6, reach=3, labelled=True, onsets=True, held=4)
    return untrained(folder / "singer", "hierarchical-vae", HierarchicalVAE(8, frame=frame, **WINDOW), corpora["train"])


@pytest.fixture(scope="module")
def chords(pianist):
    """Its model."""
    return bachkeras.load(pianist)


@pytest.fixture
def d_minor(monkeypatch):
    """Every piece is found to be in the corpus' key."""
    monkeypatch.setattr(keys, "find", lambda piece, ends=True: Key(0, 2, MINOR))


def piece(frames, seed=0):
    """Four voices that keep to themselves and never rest, in the corpus' setting."""
    random = np.random.default_rng(seed)
    columns = np.array([52, 44, 36, 26]) + random.integers(0, 6, (frames, 4))
    stays = random.random((frames, 4)) < 0.5
    for t in range(1, frames):
        columns[t] = np.where(stays[t], columns[t - 1], columns[t])
    setting = {"timestep": (1, 2), "tonic": 2, "mode": 1, "frames_per_bar": 8, "position": np.arange(frames) % 8}
    struck = np.diff(columns, axis=0, prepend=-1) != 0
    return {"pianoroll": voices.to_frames(columns), "voices": columns, "voice_onsets": struck, **setting}


ENDS = piece(13), piece(20, seed=1)
"""Two pieces, of two and three windows, the last ones short."""


def by_hand(model, steps, seed):
    """What a VAE writes in a corpus' setting, on arcs between the posteriors' means."""
    z = []
    for piece in ENDS:
        batches = Corpus([piece]).windows(8, shuffle=False).batch(9)
        z += [np.concatenate([model.posterior(batch)[0] for batch in batches])]
    windows = min(map(len, z))
    told = {"tonic": 2, "mode": 1, "timestep": timestep_index((1, 2)), "position": np.arange(8 * windows) % 8}
    way = model.interpolate(z[0][:windows], z[1][:windows], steps)
    allowed = samples.allowed(model, model.card)
    return [model.decode(point[None], conditions=told, allowed=allowed, seed=seed) for point in way]


def test_chords_between_two_pieces(chords, d_minor):
    """As many windows as both have; the ends as they are understood."""
    scores = [samples.score(piece, False, 0) for piece in ENDS]
    found = bachkeras.interpolate(*scores, chords, steps=3, seed=5)
    for score, music in zip(found, by_hand(chords, 3, 5), strict=True):
        roll = pianoroll.from_score(score, Fraction(1, 2)).frames
        written = music["pianoroll"][0]
        np.testing.assert_array_equal(roll, written[: len(roll)])
        assert not written[len(roll) :].any()
        assert score.end == 16 * 240
        assert (score.keys, [(m.numerator, m.denominator) for m in score.meters]) == ((Key(0, 2, MINOR),), [(4, 4)])
    assert [score.title for score in found] == ["001", "002", "003"]
    assert len({score.notes.tobytes() for score in found}) == 3


def test_voices_between_two_pieces(singer, d_minor, tmp_path):
    """From files, into the parts of a choir; what sang stays apart, and strokes are strokes."""
    for name, piece in zip("ab", ENDS, strict=True):
        midi.write(tmp_path / f"{name}.mid", samples.score(piece, True, 0))
    model = bachkeras.load(singer)
    found = bachkeras.interpolate(tmp_path / "a.mid", tmp_path / "b.mid", model, seed=5)
    assert len(found) == interpolating.STEPS
    for score, music in zip(found, by_hand(model, len(found), 5), strict=True):
        parts = [SATB.index(name) for name in score.parts]
        columns, onsets = voices.from_score(score, Fraction(1, 2))
        np.testing.assert_array_equal(columns, music["events"][0, : len(columns), parts].T)
        np.testing.assert_array_equal(onsets, music["onsets"][0, : len(columns), parts].T)


def test_conditions_of_what_is_heard_and_written(chords, d_minor):
    """A bar begins where the score's does, and goes on; without one nobody knows. A key may be named."""
    score = samples.score(piece(5), False, 0)
    heard = interpolating._piece(score, chords, None)
    assert heard["position"].tolist() == [0, 1, 2, 3, 4]
    assert (heard["frames_per_bar"], heard["timestep"]) == (8, (1, 2))
    assert "tonic" not in heard
    written = interpolating.write(chords, np.zeros((2, 4)), heard | {"position": np.arange(5) + 6}, seed=0)
    assert written["position"].tolist() == [6, 7, *range(8), *range(6)]
    assert (written["tonic"], written["mode"]) == (12, 2)
    free = interpolating.write(chords, np.zeros((1, 4)), heard | {"frames_per_bar": 0}, seed=0)
    assert free["position"].tolist() == [-1] * 8
    assert interpolating._piece(Score(score.notes, parts=score.parts), chords, None)["frames_per_bar"] == 0
    named = bachkeras.interpolate(score, score, chords, steps=2, key="E minor", seed=0)
    assert [score.keys for score in named] == [(Key(0, 4, MINOR),)] * 2
    unnamed = bachkeras.interpolate(score, score, chords, steps=2, seed=0)
    assert [score.keys for score in unnamed] == [(Key(0, 2, MINOR),)] * 2


def test_what_cannot_be_interpolated_is_one_line(chords, folder, corpora):
    attentive = LSTMAttention(8, attention_heads=0, frame=ChainedVoices(units=6))
    other = untrained(folder / "attentive", "lstm-attention", attentive, corpora["train"])
    score = samples.score(piece(9), False, 0)
    for arguments, options, message in (
        ((score, score, other), {}, "This needs a VAE, such as lstm-vae. Received: model='lstm-attention'"),
        ((score, score, chords), {"steps": 1}, "Received: .*steps=1"),
        ((score, score, chords), {"key": "H"}, "Received: key='H'"),
        ((score, Score(score.notes[:0], parts=()), chords), {}, "There are no notes"),
        ((score, score, chords), {"temperature": 0.0}, r"Received: temperature=0\.0"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            bachkeras.interpolate(*arguments, **options)
        assert "\n" not in str(caught.value)


@pytest.fixture
def command(pianist, tmp_path, monkeypatch, capfd):
    """A command line over two files: its exit status and its one line."""
    monkeypatch.chdir(tmp_path)
    for name, piece in zip("ab", ENDS, strict=True):
        midi.write(f"{name}.mid", samples.score(piece, False, 0))

    def run(text, model=pianist):
        status = cli.main(["generate", "--model", str(model), "--seed", "5", *text.split(), "--out", "out"])
        told = capfd.readouterr()
        return status, told.err if status else told.out

    return run


def test_the_way_on_the_command_line(command, chords):
    assert command("--interpolate a.mid b.mid --steps 3") == (0, "Seed 5: out/001.mid, out/002.mid, out/003.mid\n")
    for i, score in enumerate(bachkeras.interpolate("a.mid", "b.mid", chords, steps=3, seed=5), 1):
        assert midi.read(f"out/00{i}.mid").notes.tolist() == score.notes.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--steps 3", "--steps goes with --interpolate alone. Received: steps=3"),
        ("--primer a.mid --steps 3", "--steps goes with --interpolate alone."),
        (
            "--interpolate a.mid b.mid --count 2",
            "--count goes with new pieces or --primer or",
        ),
        ("--interpolate a.mid b.mid --length 9", "--length goes with new pieces or --primer alone."),
        ("--interpolate a.mid c.mid", "Cannot read 'c.mid': No such file"),
    ],
)
def test_flags_that_make_no_sense(command, text, message, tmp_path):
    status, told = command(text)
    assert status == 2
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["--interpolate a.mid", "--interpolate a.mid b.mid --steps 1", "--interpolate a.mid b.mid --primer a.mid"]
)
def test_flags_that_cannot_be_read(command, text):
    with pytest.raises(SystemExit) as caught:
        command(text)
    assert caught.value.code == 2


def test_what_a_latent_space_is_worth(singer, corpora, tmp_path, monkeypatch, capsys):
    """Rows for Bach's windows, for interpolations and for the prior, told no key."""
    told, decode = [], VAE.decode
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])

    def spy(*given, conditions, **options):
        told.append(conditions)
        return decode(*given, conditions=conditions, **options)

    monkeypatch.setattr(VAE, "decode", spy)
    monkeypatch.setattr(latent_measures, "DRAWN", 4)
    command = ["evaluate", str(singer), "--tasks", "--samples", "3", "--seed", "1", "--out", str(tmp_path)]
    assert cli.main(command) == 0
    rows = json.loads((tmp_path / "tasks.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    windows = sum(len(piece["pianoroll"]) // 8 for piece in corpora["test"].pieces)
    *rows, less, drawn, more = rows
    written = 3 * interpolating.STEPS
    found = [(row["way"], row["pieces"]) for row in rows]
    assert found == [("real bach", windows), ("interpolated", written), ("prior", written)]
    assert {row["task"] for row in (less, drawn, more)} == {"attribute, moving notes"}
    assert len({row["notes_a_frame"] for row in (less, drawn, more)}) == 3
    for row in rows:
        assert (row["task"], row["data"], row["seed"], row["samples"]) == ("interpolate", "chorales", 1, row["pieces"])
        assert row["hold_ratio"] >= 0
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert 0 < rows[1]["difference_of_neighbours"] < rows[1]["difference_of_strangers"] <= 1
    assert 0 < rows[1]["difference_of_ends"] <= 1
    assert "interpolate, prior: 24 pieces of chorales, seed 1" in capsys.readouterr().out
    assert [(known["tonic"], known["mode"]) for known in told] == [(12, 2)] * (2 * written + 3 * 4)
    assert {tuple(known["position"].tolist()) for known in told} == {(*range(8),)}


@pytest.mark.slow
def test_its_figures_are_settled_by_the_seed(chords, corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    first, again, other = (measures.evaluate(chords, tmp_path, count=2, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[1]["difference_of_ends"] != other[1]["difference_of_ends"]
    assert first[2]["hold_ratio"] != other[2]["hold_ratio"]


def test_other_voices_are_refused(singer, corpora, tmp_path, monkeypatch, capfd):
    without = Corpus([{"pianoroll": piece["pianoroll"]} for piece in corpora["test"].pieces], "others")
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: without)
    assert cli.main(["evaluate", str(singer), "--tasks", "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert error == "bachkeras: The corpus has not the voices that the model writes. Received: data='others'\n"
    assert not (tmp_path / "out").exists()


def test_whole_windows_are_pieces(corpora):
    piece = next(piece for piece in corpora["test"].pieces if len(piece["pianoroll"]) % 8)
    found = latent_measures._windows(piece, 8)
    assert len(found) == len(piece["pianoroll"]) // 8
    for i, window in enumerate(found):
        for name in ("pianoroll", "onsets", "voices", "voice_onsets", "position"):
            np.testing.assert_array_equal(window[name], piece[name][8 * i : 8 * i + 8])
        for name in ("timestep", "tonic", "mode", "frames_per_bar", "id"):
            assert window[name] is piece[name]


def test_differences_of_pieces_by_hand():
    """Two ways of two steps: (AB), (AC). B has one of A's two notes, C none; B and C one of two."""
    a, b, c = ({"pianoroll": np.isin(np.arange(88), keys)[None]} for keys in ([1, 2], [2, 3], [3, 4]))
    assert latent_measures._differences([[a, b], [a, c]]) == {
        "difference_of_neighbours": pytest.approx((0.5 + 1) / 2),
        "difference_of_strangers": pytest.approx((0 + 0.5) / 2),
        "difference_of_ends": pytest.approx((0.5 + 1) / 2),
    }
    assert latent_measures._differences([[a, a]]) == {"difference_of_neighbours": 0, "difference_of_ends": 0}
