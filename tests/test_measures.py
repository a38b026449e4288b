"""What harmonising and inpainting are worth: errors counted by hand, nats summed by hand, a run of all of it."""

import json
from types import MappingProxyType

import keras
import numpy as np
import pytest

from bachkeras import cli
from bachkeras.data import catalog
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation import likelihood
from bachkeras.layers.frame import ChainedVoices
from bachkeras.models import LSTMAttention
from bachkeras.music.voices import REST, to_frames
from bachkeras.tasks import harmonizing, inpainting, measures
from bachkeras.training import directory, settings

CHORD = [60, 53, 48, 36]


def piece(columns, first=0):
    """A piece in eighths, in 4/4 and D minor, whose first frame has this place in its bar."""
    columns = np.array(columns, np.int32)
    struck = (columns != REST) & (np.diff(columns, axis=0, prepend=-1) != 0)
    position = (first + np.arange(len(columns))) % 8
    struck[position == 0] = columns[position == 0] != REST  # In every bar they strike again.
    return {
        "id": "x",
        "pianoroll": to_frames(columns),
        "voices": columns,
        "voice_onsets": struck,
        "timestep": np.array([1, 2], np.int32),
        "tonic": np.int32(2),
        "mode": np.int32(1),
        "position": position.astype(np.int32),
        "frames_per_bar": np.int32(8),
    }


def fifths(frames, *places, first=0):
    """A chord that stays, but for a parallel fifth upwards in each of these frames."""
    columns = np.tile(CHORD, (frames, 1))
    for place in places:
        columns[place:, :2] += 2
    return piece(columns, first)


@pytest.fixture(scope="module")
def corpora():
    """Test pieces: an upbeat of two frames, so that bars 3 and 4 are frames 18 to 33; no upbeat; a short one."""
    silent = fifths(40, 16, 20)
    silent["voices"][10, 0] = REST
    silent["voice_onsets"][10:12, 0] = [False, True]
    silent["pianoroll"] = to_frames(silent["voices"])
    test = [fifths(42, 17, 33, first=6), silent, fifths(20, 13)]
    return {"train": Corpus(test, "chorales"), "test": Corpus(test, "chorales")}


@pytest.fixture(scope="module")
def model(corpora):
    keras.utils.set_random_seed(0)
    frame = ChainedVoices(units=5, reach=3, labelled=True, onsets=True)
    model = LSTMAttention(6, layers=1, attention_heads=0, ending=True, frame=frame)
    model.build()
    known = [[setting._asdict(), n] for setting, n in settings.of_corpus(corpora["train"])]
    card = {"model": "lstm-attention", "data": {"name": "chorales", "version": "1"}, "settings": known}
    model.card = MappingProxyType(card | {"sounding_shift": 0, "config": {"data": {"transpose": 1}}, "mean_length": 9})
    return model


@pytest.fixture(scope="module")
def measured(corpora, model, tmp_path_factory):
    """The rows, and the folder where they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
        patch.setattr(harmonizing, "PARTICLES", 3)
        patch.setattr(inpainting, "PARTICLES", 4)
        patch.setattr(measures, "SEEDS", 2)
        out = tmp_path_factory.mktemp("tasks") / "new"
        return measures.evaluate(model, out, seed=1), out


def test_rows_for_bach_and_for_each_way_to_write(measured):
    rows, out = measured
    assert json.loads((out / "tasks.json").read_text()) == rows
    tasks = ["harmonise", "bars 3-4, all voices", "bars 3-4, alto and tenor"]
    ways = [["real bach", f"{n} particles", "left to right"] for n in (3, 4, 4)]
    assert [(row["task"], row["way"]) for row in rows] == [
        (task, way) for task, group in zip(tasks, ways, strict=True) for way in group
    ]
    assert [row["pieces"] for row in rows] == [3] * 3 + [2] * 6
    assert {(row["data"], row["seed"]) for row in rows} == {("chorales", 1)}
    for row in rows[1:3]:
        assert row["melody_kept"] == "3/3"
        assert row["seconds_per_piece"] > 0
        for name in ("alto", "tenor", "bass"):
            share, low, high = row[f"{name}_accuracy"]
            assert 0 <= low <= share <= high <= 1
    for row in (*rows[4:6], *rows[7:]):
        assert row["rest_untouched"] == "2/2"
    for row in rows[:3]:
        assert row["judge_nats_per_frame"][0] > 0


def test_bachs_own_errors(measured):
    """In bars 3 and 4 one parallel fifth each, of 8 beats; one piece has another as bar 3 begins, on its seam."""
    rows, _ = measured
    for row in (rows[3], rows[6]):
        assert row["errors_per_100_beats_inside"][0] == pytest.approx(100 * 2 / 16)
        assert row["errors_per_100_seams"][0] == pytest.approx(100 * 1 / 4)
    # Of 51 beats there are five in all.
    assert rows[0]["parallels_per_100_beats"][0] == pytest.approx(100 * 5 / 51)


def test_nats_of_the_lower_voices_of_a_single_pass(measured, corpora, model):
    """Each knows the soprano up to its own frame; the key is not told."""
    rows, _ = measured
    total, frames = 0.0, 0
    for batch in likelihood.quoted(corpora["test"]).windows(None, shuffle=False).batch(1):
        assert batch["tonic"].numpy().tolist() == [12]
        log_p = model.voice_log_prob(batch).numpy().astype(np.float64)
        total -= log_p[..., 1:].sum()
        frames += log_p.shape[1]
    assert rows[2]["conditional_nats_per_frame"] == pytest.approx(total / frames, rel=1e-4)
    assert len(rows[1]["conditional_by_seed"]) == 2
    assert rows[1]["conditional_nats_per_frame"] == pytest.approx(np.mean(rows[1]["conditional_by_seed"]))
    assert "conditional_nats_per_frame" not in rows[0]


def test_one_particle_estimates_what_it_weighs(corpora, model):
    """log p(soprano) by one particle: that of the soprano after what it wrote, and of the ending."""
    corpus = likelihood.quoted(Corpus(corpora["test"].pieces[2:], "chorales"))
    (batch,) = corpus.windows(None, shuffle=False).batch(1)
    given = np.array(batch["voices"][:, 1:])
    given[..., 1:] = -1
    told = {name: batch[name] for name in ("tonic", "mode", "timestep", "position")}
    strokes = batch["voice_onsets"][:, 1:]
    music = model.complete(given, given_onsets=strokes, ends=True, conditions=told, particles=1, seed=3)
    after = {"voices": music["events"], "voice_onsets": music["onsets"]}
    written = dict(batch) | {name: np.concatenate([batch[name][:, :1], after[name]], 1) for name in after}
    written["pianoroll"] = np.concatenate([batch["pianoroll"][:, :1], music["pianoroll"]], 1).astype(np.float32)
    soprano = model.voice_log_prob(written).numpy()[..., 0].sum()
    expected = soprano + model.log_probs(written)["ending"].numpy()[0]
    assert measures._melody_log_prob(model, corpus, 1, 3) == pytest.approx(float(expected), rel=1e-4)


MISTAKES = piece(
    [
        [60, 53, 48, 36],
        [62, 55, 48, 36],  # Soprano and alto: a parallel fifth.
        [62, 55, 56, 36],  # The tenor crosses the alto,
        [68, 55, 48, 36],  # and comes back; the soprano is 13 semitones above the alto,
        [68, 55, 48, 22],  # and still is; the bass leaps by 14.
        *[[68, 55, 48, 22]] * 8,
    ]
)


@pytest.mark.parametrize(
    ("start", "stop", "errors"), [(0, 5, 4), (0, 13, 4), (0, 2, 1), (1, 3, 1), (2, 5, 2), (3, 5, 1), (4, 6, 0)]
)
def test_errors_of_voice_leading(start, stop, errors):
    """What was there as the frames begin is no error of theirs."""
    assert measures._mistakes(MISTAKES, start, stop) == (errors, (stop - start) / 2)


def test_rests_make_no_errors():
    columns = np.tile([[60, REST, 62, 40], [60, 47, 62, REST], [REST, 47, REST, 20]], (5, 1))
    assert measures._mistakes(piece(columns[:13]), 0, 1)[0] == 0
    assert measures._mistakes(piece(columns[:13]), 0, 2)[0] == 1 + 1  # The alto begins too low, and below the tenor.
    assert measures._mistakes(piece(columns[:13]), 1, 3)[0] == 0


@pytest.mark.parametrize(("first", "edges"), [(0, (16, 32)), (6, (18, 34)), (-1, (16, 32))])
def test_bars_are_counted_from_the_first_whole_one(first, edges):
    one = piece(np.tile(CHORD, (40, 1))) | {"position": np.array([first])}
    assert measures._edges(one) == edges
    assert measures._edges(one | {"frames_per_bar": 0}) == (0, 0)


def test_a_ratio_is_of_sums(corpora):
    """(1 + 2 + 3) / (4 + 8 + 12), and of pieces drawn again and again."""
    pieces = corpora["test"].pieces
    counts = iter([(1, 4), (2, 8), (3, 12)])
    assert measures._ratio(corpora["test"], pieces, lambda *_: next(counts), 0) == pytest.approx([0.25, 0.25, 0.25])
    counts = iter([(0, 1), (6, 2), (0, 3)])
    value, low, high = measures._ratio(corpora["test"], pieces, lambda *_: next(counts), 0)
    assert (value, low, high) == (1.0, 0.0, 3.0)  # The second one alone comes once in 27 draws.
    one = Corpus(pieces[:1])
    assert measures._ratio(one, pieces[:1], lambda *_: (1, 2), 0) == [0.5, 0.5, 0.5]


def test_accuracy_is_of_frames():
    theirs, ours = fifths(20), fifths(20, 15)
    assert measures._accuracy(1)(theirs, ours) == (15, 20)
    assert measures._accuracy(3)(theirs, ours) == (20, 20)


def test_the_table_has_a_figure_a_line(measured):
    rows, _ = measured
    text = measures.table(rows)
    assert "harmonise, real bach: 3 pieces of chorales, seed 1" in text
    assert "bars 3-4, alto and tenor, left to right: 2 pieces of chorales, seed 1" in text
    assert "  melody kept: 3/3" in text
    assert "  errors per 100 beats inside: 12.5 (12.5, 12.5)" in text
    assert "by seed" not in text


def test_what_cannot_be_measured_is_one_line(corpora, model, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(directory, "load", lambda path: model)
    two = Corpus([dict(one, voices=one["voices"][:, :2]) for one in corpora["test"].pieces], "duets")
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: two)
    for arguments, message in (
        (["run"], "The corpus has not the voices that the model writes. Received: data='duets'"),
        (["run", "other"], "--tasks takes one run. Received: 2 runs"),
    ):
        assert cli.main(["evaluate", *arguments, "--tasks", "--out", str(tmp_path / "out")]) == 2
        error = capfd.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
