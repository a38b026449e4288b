"""What every model must do: a table with a row a model, and each contract a test over all rows.

A new model is a new row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras import models
from bachkeras.data.pipeline import from_arrays
from bachkeras.generation import loop
from bachkeras.layers import ending
from bachkeras.layers.frame.base import END, between
from bachkeras.layers.frame.tonality import Tonality
from bachkeras.models import export
from bachkeras.models.latent import LatentModel
from bachkeras.music.pianoroll import run_starts


@dataclasses.dataclass(frozen=True)
class Row:
    """A small model of each kind.

    Attributes:
        make: builds it.
        steps: training steps after which every trainable variable has moved.
        slow: whether it is for `-m slow`: other rows go the same ways.
    """

    make: Callable[[], keras.Model]
    steps: int = 3
    slow: bool = False


ROWS = {
    "lstm-attention": Row(lambda: models.LSTMAttention(12, attention_heads=2, attention_window=5, dropout=0.1)),
    "lstm-attention, independent": Row(
        lambda: models.LSTMAttention(12, layers=1, attention_heads=3, frame=models.IndependentNotes())
    ),
    "lstm-attention, no attention": Row(lambda: models.LSTMAttention(12, attention_heads=0, l2=0.01)),
    "lstm-attention, two voices": Row(
        lambda: models.LSTMAttention(12, frame_dropout=0.2, frame=models.ChainedVoices(2, units=8, reach=3))
    ),
    "lstm-attention, onsets": Row(
        lambda: models.LSTMAttention(12, frame=models.ChainedVoices(units=8, reach=3, onsets=True))
    ),
    "lstm-attention, labelled": Row(
        lambda: models.LSTMAttention(
            12, frame=models.ChainedVoices(units=8, reach=3, labelled=True, held=5, counterpoint=True, tonality=True)
        )
    ),
    "lstm-attention, labelled, onsets, ending": Row(
        lambda: models.LSTMAttention(
            12, ending=True, frame=models.ChainedVoices(3, units=8, reach=3, labelled=True, onsets=True, held=3)
        )
    ),
    "lstm-vae": Row(lambda: models.LSTMVAE(10, latent=6, bars=2, frames_per_bar=3, l2=0.01, free_bits=1.0)),
    "hierarchical-vae": Row(
        lambda: models.HierarchicalVAE(
            10, layers=1, latent=6, bars=2, frames_per_bar=4, frame=models.ChainedVoices(units=8, reach=3)
        )
    ),
    "hierarchical-vae, labelled, onsets, batch norm": Row(
        lambda: models.HierarchicalVAE(
            10,
            layers=1,
            latent=4,
            bars=2,
            frames_per_bar=3,
            batch_norm=0.6,
            frame_dropout=0.5,
            frame=models.ChainedVoices(3, units=8, reach=3, labelled=True, onsets=True, held=3, counterpoint=True),
        )
    ),
    "vq-vae": Row(lambda: models.VQVAE(10, codes=6, size=5, prior_hidden=8, l2=0.01, prior_dropout=0.1)),
    "vq-vae, one code of a group, gradient codebook": Row(
        lambda: models.VQVAE(
            10,
            codes=7,
            codebooks=1,
            group_size=3,
            size=5,
            codebook="gradient",
            tonic_dropout=0.5,
            prior_hidden=8,
            prior_layers=1,
            frame=models.ChainedVoices(units=8, reach=3),
        ),
        slow=True,
    ),
    "vq-vae, labelled, onsets": Row(
        lambda: models.VQVAE(
            10,
            layers=2,
            codes=6,
            codebooks=2,
            size=5,
            prior_hidden=8,
            frame=models.ChainedVoices(3, units=8, reach=3, labelled=True, onsets=True, held=3),
        ),
        slow=True,
    ),
    "wgan": Row(
        lambda: models.LSTMGAN(
            generator="lstm",
            hidden=10,
            noise=4,
            discriminator_hidden=6,
            minibatch_stddev=True,
            frame=models.ChainedVoices(units=8, reach=3),
        )
    ),
    "wgan, hierarchical, bilstm": Row(
        lambda: models.LSTMGAN(
            generator="hierarchical",
            discriminator="bilstm",
            hidden=10,
            noise=4,
            frames_per_bar=3,
            discriminator_hidden=6,
        ),
        slow=True,
    ),
    "gan, autoregressive, labelled": Row(
        lambda: models.LSTMGAN(
            "minimax",
            "autoregressive",
            "conv",
            hidden=10,
            attention_heads=2,
            discriminator_hidden=6,
            frame=models.ChainedVoices(3, units=8, reach=3, labelled=True, held=3),
        )
    ),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] if row.slow else [], id=name) for name, row in ROWS.items()],
)
def row(request) -> Row:
    return ROWS[request.param]


@pytest.fixture(scope="module")
def model(row) -> keras.Model:
    """A model with random weights; the biases too, so that a lost one shows."""
    keras.utils.set_random_seed(1)
    model = row.make()
    model.build()
    for variable in model.weights:  # Moving averages are among them.
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.1))
    return model


@pytest.fixture(scope="module")
def music(model, rolls, parts) -> list[dict[str, np.ndarray]]:
    """Pieces as the model reads them, without the notes for which it has no voice; repeated notes and held ones."""
    frame, random = model.frame, np.random.default_rng(0)
    if frame.labelled:
        return [
            {
                "pianoroll": frame.pianoroll(columns[:, : frame.voices]).numpy() > 0.5,
                "voices": columns[:, : frame.voices],
                "voice_onsets": onsets[:, : frame.voices],
            }
            for columns, onsets in parts
        ]
    rolls = [frame.pianoroll(frame.events({"pianoroll": roll})[0]).numpy() > 0.5 for roll in rolls]
    return [
        {"pianoroll": roll, "onsets": run_starts(roll) | (roll & (random.random(roll.shape) < 0.4))} for roll in rolls
    ]


@pytest.fixture(scope="module")
def corpus(music):
    features = {name: [piece[name] for piece in music] for name in music[0]}
    positions = [np.arange(len(roll)) % 4 for roll in features["pianoroll"]]
    return from_arrays(features.pop("pianoroll"), tonic=7, mode=1, timestep=(1, 2), position=positions, **features)


@pytest.fixture(scope="module")
def batch(corpus) -> dict[str, tf.Tensor]:
    """Whole pieces of different lengths, padded."""
    return next(iter(corpus.windows(None, shuffle=False).batch(5)))


@pytest.fixture(scope="module")
def z(model, batch) -> np.ndarray | None:
    """A latent for each part of the batch, for a model with latents."""
    if not isinstance(model, LatentModel):
        return None
    parts = -(-batch["mask"].shape[1] // model.span)
    assert parts > 2
    random = np.random.default_rng(2)
    if hasattr(model, "codes"):
        return random.integers(0, model.code_sizes, (5, parts, len(model.code_sizes)), np.int32)
    return random.standard_normal((5, parts, model.latent), np.float32)


def log_probs(model, batch, z) -> dict[str, tf.Tensor]:
    """The terms of each frame. Of a model with latents, those given z: what `call` draws depends on the whole batch."""
    if model.likelihood is None:
        pytest.skip("this model has no likelihood")
    if isinstance(model, models.LSTMGAN):
        return model.averaged(batch)
    return model(batch) if z is None else {"frame": model._decoded(z, batch, batch)}


def outputs(model, batch) -> dict[str, tf.Tensor]:
    """All that a model answers to."""
    if not isinstance(model, models.LSTMGAN):
        return model(batch)
    noise = model.averaged.draw_noise(5, 9, tf.constant([0, 1]))
    found = {"music": model(noise), "scores": model.scores(batch)}
    if model.likelihood is None:
        before = between(model.frame.read(batch), 0, 9)
        return found | {"contexts": model.averaged(noise, batch | {"position": batch["position"][:, :9]}, before)}
    return found | model.averaged(batch)


def told(model, batch, z) -> dict[str, tf.Tensor]:
    """What `start` is told of a batch."""
    known = {name: batch[name] for name in ("tonic", "mode", "timestep", "position")}
    return known | told_latent(model, z)


def told_latent(model, z) -> dict[str, np.ndarray]:
    """The condition that is a latent."""
    return {} if z is None else {model.latent_name: z}


def test_config_round_trip(row):
    model = row.make()
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    again.build()
    model.build()
    assert [v.path.split("/", 1)[1] for v in again.weights] == [v.path.split("/", 1)[1] for v in model.weights]


def test_every_variable_learns(row, corpus):
    keras.utils.set_random_seed(0)
    model = row.make()
    model.build()
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)  # Tracing takes longer than three steps.
    for stage in model.monitors:
        if len(model.monitors) > 1:
            model.stage = stage
        model.fit(corpus.windows(8, transpose=3).batch(4), steps_per_epoch=row.steps, verbose=0, shuffle=False)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.any(keras.ops.convert_to_numpy(variable) != old), variable.path


def test_evaluate_is_the_masked_mean(model, corpus, batch):
    if model.likelihood is None:
        pytest.skip("this model has no likelihood")
    model.compile("adam", run_eagerly=True)  # log_prob below is compiled: the two ways agree.
    figures = model.evaluate(corpus.windows(None, shuffle=False).batch(5), return_dict=True, verbose=0)
    total = sum(model.log_prob(b).numpy().sum() for b in corpus.windows(None, shuffle=False).batch(5))
    assert figures["nats_per_frame"] == pytest.approx(-total / corpus.frames, rel=1e-4)


def test_save_and_load_gives_the_same_outputs(model, batch, tmp_path):
    model.compile("adam")
    model.build_optimizers()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(outputs(again, batch), outputs(model, batch), 1e-5)


@pytest.mark.slow
def test_an_export_answers_as_the_model_does(model, music):
    """Its functions as they are saved; test_export.py loads them where there is TensorFlow alone."""
    functions = export.endpoints(model)
    piece = {name: array[:5] for name, array in music[0].items()}
    names = (["voices", "voice_onsets"] if model.frame.labelled else ["pianoroll", "onsets"])[: 1 + model.frame.onsets]
    primer = {given: piece[name][None] for given, name in zip(("primer", "primer_onsets"), names, strict=False)}
    expected = model.generate(2, 7, primer=piece, conditions={"tonic": 5, "mode": 1}, seed=4)
    found = functions["generate"](2, 7, **primer, tonic=[5], mode=[1], seed=4)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    if model.likelihood:
        features = {name: [piece[name]] for name in names if name != "pianoroll"}
        (batch,) = from_arrays([piece["pianoroll"]], **features).windows(None, shuffle=False).batch(1)
        log_p = functions["log_prob"](*(piece[name][None] for name in names))["log_prob"]
        np.testing.assert_allclose(log_p, model.log_prob(batch), rtol=1e-4)


def test_padding_changes_nothing(model, corpus, batch, z):
    longest = log_probs(model, batch, z)
    for i in range(5):
        alone, own = alone_of(model, corpus, z, i)
        frames = len(corpus.pieces[i]["pianoroll"])
        terms = log_probs(model, alone, own)
        assert_same({name: term[0, :frames] for name, term in terms.items()}, first(longest, frames, piece=i))


def test_padding_changes_no_latents(model, corpus, batch, z):
    """Nor what a piece costs given its z: the sum of what its own frames cost."""
    if z is None:
        pytest.skip("this model has no latents")
    longest, sums = model(batch), model.reconstruction_log_prob(batch, z)
    for i in range(5):
        alone, own = alone_of(model, corpus, z, i)
        found = model(alone)
        for name in found.keys() - {"frame"}:
            mine = longest[name][i : i + 1, : own.shape[1]]
            np.testing.assert_allclose(found[name], mine, rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(model.reconstruction_log_prob(alone, own), sums[i : i + 1], rtol=1e-4)
        np.testing.assert_allclose(tf.reduce_sum(log_probs(model, alone, own)["frame"], 1), sums[i : i + 1], rtol=1e-4)


def test_a_latent_is_that_of_its_part(model, corpus, batch, z):
    """What comes before and after a window or group has no part in it: it is the same alone and in its piece."""
    if z is None:
        pytest.skip("this model has no latents")
    whole, cut = model(batch), next(iter(corpus.windows(model.span, shuffle=False).batch(64)))
    parts = [-(-len(piece["pianoroll"]) // model.span) for piece in corpus.pieces[:5]]
    if hasattr(model, "codes"):
        found = {"codes": model.codes(cut)[:, 0]}
    else:
        found = dict(zip(("mean", "log_variance"), model.posterior(cut), strict=True))
    for name, term in found.items():
        mine = np.concatenate([whole[name][i, :n] for i, n in enumerate(parts)])
        np.testing.assert_allclose(term[: len(mine)], mine, rtol=1e-4, atol=1e-5, err_msg=name)


def test_no_frame_sees_the_future(model, batch, z):
    before = log_probs(model, batch, z)
    changed = dict(batch)
    for name in batch.keys() & {"pianoroll", "voices"}:
        other = 1 - batch[name] if name == "pianoroll" else (batch[name] + 30) % 88
        changed[name] = tf.concat([batch[name][:, :4], other[:, 4:5], batch[name][:, 5:]], 1)
    after = log_probs(model, changed, z)
    assert_same(first(after, 3), first(before, 3), 1e-5)
    for name, term in after.items():
        assert np.all(np.abs(term[:, 3:] - before[name][:, 3:]).max(1) > 1e-4), name


def test_step_by_step_equals_the_whole_sequence(model, batch, z):
    """Longer than the attention's window, so that the ring goes round, and than a latent one's."""
    whole = log_probs(model, batch, z)
    events, onsets, _ = model.frame.events(batch)
    last = model.frame.silence(len(events))
    state = model.start(told(model, batch, z))
    steps = []
    for t in range(batch["mask"].shape[1]):
        seen = model.seen(state, last)
        context, state = model.step(state, model.frame.features(seen))
        now = model.frame.follow(last, events[:, t + 1], onsets[:, t + 1])
        log_p = model.frame.log_prob(context, now.events, now.onsets, previous=seen.events, key=Tonality.of(batch))
        terms = {"frame": tf.reduce_sum(log_p, -1)}
        if model.ending:
            terms["ending"] = ending.log_prob(model.ending_odds(context, now, batch["tonic"]), batch["last"][:, t])
        steps.append(terms)
        last = now
    assert_same({name: tf.stack([step[name] for step in steps], 1) for name in steps[0]}, whole)


def test_a_primer_leaves_the_state_of_the_whole_sequence(model, batch, z):
    """After seven frames the next one is as probable as it is among all."""
    expected = log_probs(model, batch, z)["frame"][:, 7]
    events, onsets, _ = model.frame.events(batch)
    last, state = loop.listen(model, told(model, batch, z), (events[:, 1:8], onsets[:, 1:8]))
    seen = model.seen(state, last)
    context, _ = model.step(state, model.frame.features(seen))
    now = model.frame.follow(last, events[:, 8], onsets[:, 8])
    log_p = model.frame.log_prob(context, now.events, now.onsets, previous=seen.events, key=Tonality.of(batch))
    np.testing.assert_allclose(tf.reduce_sum(log_p, -1), expected, rtol=1e-4, atol=1e-4)


def test_attention_can_be_looked_at(model, batch):
    if not hasattr(model, "attention"):
        pytest.skip("this model has no attention")
    if not model.core.attention_heads:
        with pytest.raises(ValueError, match="attention_heads=0"):
            model.attention(batch)
        return
    weights = model.attention(batch)
    time = batch["mask"].shape[1]
    assert weights.shape == (5, model.core.attention_heads, time, time)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), tf.ones(weights.shape[:3]), rtol=1e-5)


def test_same_seed_same_music(model):
    first = model.generate(2, 9, seed=3)
    again = model.generate(2, 9, seed=3)
    other = model.generate(2, 9, seed=4)
    assert first["pianoroll"].shape == (2, 9, 88)
    assert first["pianoroll"].dtype == bool
    assert first["events"].shape == (2, 9, model.frame.voices)
    assert first["events"].dtype == np.int32
    np.testing.assert_array_equal(first["events"], again["events"])
    assert np.any(first["events"] != other["events"])
    assert np.any(first["events"][0] != first["events"][1])


def test_a_primer_is_continued_and_left_out(model, music, z):
    if not model.can_continue:
        with pytest.raises(ValueError, match="cannot continue"):
            model.generate(1, 4, primer=music[0])
        return
    likeliest = {
        "conditions": {} if z is None else told_latent(model, np.tile(z[:1], (1, 3, 1))),
        "seed": 0,
        "top_p": 1e-6,
    }
    whole = model.generate(1, 6, primer=music[0], **likeliest)
    assert whole["pianoroll"].shape == (1, 6, 88)
    # At its likeliest, music goes on from a longer primer as it did from the shorter one; for the same z, if any.
    new = as_read(model.frame, whole)
    longer = {name: np.concatenate([music[0][name], new[name][0, :3]]) for name in music[0]}
    rest = model.generate(1, 3, primer=longer, **likeliest)
    np.testing.assert_array_equal(rest["events"], whole["events"][:, 3:])
    other = model.generate(99, 9, primer=music[1], seed=0)
    assert np.any(other["events"] != model.generate(99, 9, primer=music[0], seed=0)["events"])


def test_a_primer_has_a_shape(model):
    if not model.can_continue:
        pytest.skip("this model continues nothing")
    for primer in (np.zeros((3, 5), bool), {"pianoroll": np.zeros((3, 87), bool)}, {"notes": np.zeros((3, 88), bool)}):
        with pytest.raises(ValueError, match="A primer is"):
            model.generate(1, 2, primer=primer)
    if model.frame.labelled:
        with pytest.raises(ValueError, match="read from `voices`"):
            model.generate(1, 2, primer=np.zeros((3, 88), bool))


def test_given_events_are_kept(model):
    voices = model.frame.voices
    given = np.full((5, voices), -1)
    given[1, -1 if model.frame.labelled else 0] = 3
    given[3] = END
    free = model.generate(2, 5, seed=0)["events"]
    assert np.any(free[:, 1][:, given[1] == 3] != 3)
    kept = model.generate(2, 5, given=given, seed=0)["events"]
    np.testing.assert_array_equal(kept[:, 0], free[:, 0])
    assert np.all(kept[:, 1][:, given[1] == 3] == 3)
    assert np.all(kept[:, 3] == END)


def test_free_voices_sing_what_they_may(model):
    """What is given stays, though it is not allowed."""
    voices = model.frame.voices
    allowed = np.zeros((voices, END + 1), bool)
    allowed[:, 30:50] = True
    given = np.full((2, 12, voices), -1)
    given[:, 5, 0] = 60
    kept = given != -1
    written = [model.generate(2, 12, given=given, allowed=allowed, seed=0)]
    if model.can_complete:
        written.append(model.complete(given, allowed=allowed, particles=2, seed=0))
        assert np.all(written[1]["log_given"] < model.complete(given, particles=2, seed=0)["log_given"])
    for music in written:
        sung = music["events"][~kept]
        assert np.all(((sung >= 30) & (sung < 50)) | (sung == END))
        assert np.any(sung != END)
        assert np.all(music["events"][kept] == 60)
    free = model.generate(2, 12, given=given, seed=0)["events"][~kept]
    assert np.any(free < 30)
    everything = np.ones((voices, END + 1), bool)
    np.testing.assert_array_equal(model.generate(2, 12, given=given, allowed=everything, seed=0)["events"][~kept], free)
    with pytest.raises(ValueError, match=rf"allowed must have shape \({voices}, 89\)"):
        model.generate(1, 2, allowed=np.ones((3, 5), bool))


def test_what_is_given_is_kept_before_and_after(model):
    given = np.full((2, 5, model.frame.voices), -1)
    if not model.can_complete:
        with pytest.raises(ValueError, match="cannot write around"):
            model.complete(given)
        return
    given[:, 1, -1 if model.frame.labelled else 0] = 3
    given[1, 3] = END
    music = model.complete(given, particles=3, seed=0)
    np.testing.assert_array_equal(music["events"][given != -1], given[given != -1])
    assert np.any(music["events"][0] != music["events"][1])
    assert music["pianoroll"].shape == (2, 5, 88)
    assert music["pianoroll"][:, 1, 3].all()
    assert ("onsets" in music) == model.frame.onsets
    assert np.all(music["log_given"] < 0)


def test_a_piece_that_is_given_is_as_probable_as_it_is(model, corpus):
    if not model.can_complete:
        pytest.skip("this model writes from left to right only")
    batch = next(iter(from_arrays_of(corpus, 0).windows(None, shuffle=False).batch(1)))
    events, onsets, _ = model.frame.events(batch)
    options = {"ends": True, "conditions": told(model, batch, None), "particles": 2}
    music = model.complete(events[:, 1:], given_onsets=onsets[:, 1:], **options)
    np.testing.assert_allclose(music["log_given"], sum(model.log_probs(batch).values()), rtol=1e-4)


def test_rows_of_a_state_are_states(model, batch):
    """Stepping some rows is some rows of a step: all that the next frames will ask of the state is in them."""
    if not model.can_complete:
        pytest.skip("this model needs no rows of a state")
    features = model.frame.features(model.frame.read(batch))
    rows = tf.constant([3, 0, 0])
    state = model.start(told(model, batch, None))
    for t in range(3):
        _, state = model.step(state, features[:, t])
    chosen = model.select(state, rows)
    for t in range(3, 6):
        context, state = model.step(state, features[:, t])
        chosen_context, chosen = model.step(chosen, tf.gather(features[:, t], rows))
        np.testing.assert_allclose(chosen_context, tf.gather(context, rows), rtol=1e-5, atol=1e-6)
    assert np.any(context[0] != context[3])


def test_onsets_are_there_where_they_are_modelled(model):
    music = model.generate(2, 40, seed=0)
    assert ("onsets" in music) == model.frame.onsets
    if model.frame.onsets:
        assert music["onsets"].shape == music["events"].shape
        assert not music["onsets"][music["events"] == END].any()
        struck = as_read(model.frame, music)
        columns, sounding = (
            ("voice_onsets", struck["voices"]) if model.frame.labelled else ("onsets", struck["pianoroll"])
        )
        new = sounding[:, 1:] != sounding[:, :-1]
        new &= sounding[:, 1:] != END if model.frame.labelled else sounding[:, 1:]
        assert np.all(struck[columns][:, 1:][new])


def test_a_piece_ends_where_the_model_ends_it(model):
    if not model.ending:
        with pytest.raises(ValueError, match="not trained to end"):
            model.generate(1, 4, until_end=True)
        return
    bias = model.ending.logit.bias
    before = bias.numpy()
    bias.assign([-2.0])
    whole = model.generate(6, 30, seed=0)
    ended = model.generate(6, 30, seed=0, until_end=True)
    bias.assign(before)
    assert ended["lengths"].dtype == np.int32
    assert 1 <= ended["lengths"].min() < ended["lengths"].max() == ended["events"].shape[1]
    for i, length in enumerate(ended["lengths"]):
        np.testing.assert_array_equal(ended["events"][i, :length], whole["events"][i, :length])
        assert np.all(ended["events"][i, length:] == END)
        assert not ended["pianoroll"][i, length:].any()


def test_conditions_are_heard(model):
    free = model.generate(4, 8, seed=0)["events"]
    for name, value in (("tonic", 5), ("mode", 1), ("timestep", 3), ("position", np.arange(8))):
        assert np.any(model.generate(4, 8, seed=0, conditions={name: value})["events"] != free), name


def test_what_does_not_fit_has_no_likelihood(model):
    voices = model.frame.voices
    if voices == 88:
        pytest.skip("every chord fits")
    roll = np.zeros((6, 88), bool)
    roll[2, 30 : 30 + voices + 2] = True
    columns = np.full((6, voices), END)
    columns[2] = np.arange(30, 30 + voices)
    corpus = from_arrays([roll], voices=[columns])
    batch = next(iter(corpus.windows(None).batch(1)))
    problem = f"2 notes do not fit the model's {voices} voices" if model.likelihood else "has no likelihood"
    with pytest.raises(ValueError, match=problem):
        model.log_prob(batch)
    problem = "2 notes do not fit" if model.can_continue else "cannot continue"
    with pytest.raises(ValueError, match=problem):
        model.generate(1, 2, primer={"pianoroll": roll, "voices": columns})
    model.compile("adam", run_eagerly=True)
    figures = model.evaluate(corpus.windows(None).batch(1), return_dict=True, verbose=0)
    assert figures["dropped_notes"] == 2


def test_generation_refuses_nonsense(model):
    for arguments in ({"conditions": {"tonik": 3}}, {"seed": 2**40}, {"temperature": np.nan}):
        with pytest.raises(ValueError, match="Received"):
            model.generate(1, 4, **arguments)
    for arguments in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match="Received"):
            model.generate(1, 4, **arguments)
    with pytest.raises(ValueError, match="Received"):
        model.generate(0, 4)
    with pytest.raises(ValueError, match=r"tonic must have shape \(2,\)"):
        model.generate(2, 4, conditions={"tonic": [1, 2, 3]})


def from_arrays_of(corpus, i):
    """A corpus of one piece of another."""
    return dataclasses.replace(corpus, pieces=[corpus.pieces[i]])


def alone_of(model, corpus, z, i):
    """A batch of one piece of a corpus, and its z out of those of them all."""
    (batch,) = from_arrays_of(corpus, i).windows(None, shuffle=False).batch(1)
    return batch, None if z is None else z[i : i + 1, : -(-batch["mask"].shape[1] // model.span)]


def assert_same(terms, expected, tolerance=1e-4):
    """Two answers of `call`."""
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        np.testing.assert_allclose(term, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def first(terms, frames, piece=None):
    """The first frames of an answer of `call`, of all pieces or one."""
    return {name: (term if piece is None else term[piece])[..., :frames] for name, term in terms.items()}


def as_read(frame, music):
    """What a model has written, with the names under which it reads."""
    onsets = music.get("onsets", np.zeros_like(music["events"], bool))
    if frame.labelled:
        return {"pianoroll": music["pianoroll"], "voices": music["events"], "voice_onsets": onsets}
    struck = frame.pianoroll(np.where(onsets, music["events"], END)).numpy() > 0.5
    return {"pianoroll": music["pianoroll"], "onsets": struck}
