"""VQ-VAE: what its codes say, its two stages, its prior, and how it goes on from a primer."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras.data.pipeline import from_arrays
from bachkeras.evaluation import codes as code_use
from bachkeras.layers.frame import ChainedVoices
from bachkeras.layers.frame.base import FREE
from bachkeras.layers.frame.codes import ChainedCodes
from bachkeras.models import VQVAE, CodePrior
from bachkeras.models.base import Sampling
from bachkeras.models.code_metrics import CodePerplexity, CodesUsed


def made(**arguments) -> VQVAE:
    """A small model; its weights are far from their first values, so that everything is heard."""
    keras.utils.set_random_seed(0)
    small = {"hidden": 10, "codes": 5, "size": 4, "prior_hidden": 8, "frame": ChainedVoices(units=8, reach=5)}
    model = VQVAE(**{**small, **arguments})
    model.build()
    for variable in model.weights:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.3))
    return model


@pytest.fixture(scope="module")
def model() -> VQVAE:
    return made()


@pytest.fixture(scope="module")
def corpus(rolls):
    return from_arrays(rolls, tonic=7, mode=1)


@pytest.fixture(scope="module")
def batch(corpus):
    return next(iter(corpus.windows(None, shuffle=False).batch(6)))


def heads(codes=3, books=2, **arguments) -> ChainedCodes:
    keras.utils.set_random_seed(0)
    frame = ChainedCodes(codes, books, size=4, units=6, **arguments)
    frame.build((None, 5))
    for variable in frame.weights:
        variable.assign(keras.random.normal(variable.shape))
    return frame


def all_codes(codes=3, books=2) -> np.ndarray:
    return np.array(list(itertools.product(range(codes), repeat=books)), np.int32)


def test_codes_are_a_distribution():
    frame, every = heads(), all_codes()
    context = np.random.default_rng(0).standard_normal((4, 1, 5)).astype(np.float32)
    log_p = tf.reduce_sum(frame.log_prob(np.repeat(context, len(every), 1), np.tile(every, (4, 1, 1))), -1)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(log_p), -1), 1, rtol=1e-5)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_codes_are_drawn_as_probable_as_they_are(temperature, top_p):
    """By head: the softmax at a temperature, or the most probable codes that together reach a share."""
    frame, every, count = heads(), all_codes(), 20000
    context = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    draw = frame.sample(
        np.tile(context, (count, 1)), given=np.full((count, 2), FREE), seed=[1, 2], temperature=temperature, top_p=top_p
    )
    expected = np.zeros(9)
    log_p = frame.log_prob(np.tile(context, (9, 1)), every).numpy()
    first, second = np.exp(log_p[::3, 0]), np.exp(log_p[:, 1].reshape(3, 3))

    def tempered(p):
        p = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        order = np.argsort(-p)
        inside = order[: np.searchsorted(np.cumsum(p[order]), top_p) + 1]
        kept = np.zeros_like(p)
        kept[inside] = p[inside]
        return kept / kept.sum()

    expected = (tempered(first)[:, None] * np.stack([tempered(p) for p in second])).ravel()
    found = np.bincount(draw.events.numpy() @ [3, 1], minlength=9) / count
    np.testing.assert_allclose(found, expected, atol=0.015)
    np.testing.assert_allclose(np.exp(draw.log_q), expected[draw.events.numpy() @ [3, 1]], rtol=1e-3)


def test_given_codes_are_kept():
    frame = heads()
    given = np.array([[2, FREE], [FREE, 1], [0, 2]], np.int32)
    context = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    draw = frame.sample(context, given=given, seed=[0, 0])
    np.testing.assert_array_equal(draw.events.numpy()[given != FREE], given[given != FREE])
    log_p = frame.log_prob(context, draw.events).numpy()
    np.testing.assert_allclose(draw.log_given, np.where(given == FREE, 0, log_p).sum(1), rtol=1e-5)
    np.testing.assert_allclose(draw.log_prefix, [log_p[0, 0], 0, log_p[2].sum()], rtol=1e-5)


def test_codes_that_lie_together_are_alike():
    """Two codes of one vector are the same to the next head but for their own embeddings; without those, the same."""
    frame = heads(codes=4)
    vectors = frame.vectors.numpy()
    vectors[0, 1] = vectors[0, 3]
    frame.vectors.assign(vectors)
    frame.emitted.assign(tf.zeros_like(frame.emitted))
    context = np.ones((4, 5), np.float32)
    log_p = frame.log_prob(context, np.array([[0, 1], [1, 1], [2, 1], [3, 1]])).numpy()[:, 1]
    assert log_p[1] == pytest.approx(log_p[3], rel=1e-5)
    assert len(set(np.round(log_p, 4))) == 3


def test_a_prior_is_the_sum_of_its_steps():
    """Each group given those before it, over all sequences of two groups: 1."""
    keras.utils.set_random_seed(0)
    prior = CodePrior(2, 2, 3, hidden=6, layers=1)
    prior.build()
    for variable in prior.weights:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.5))
    every = np.array(list(itertools.product(range(2), repeat=4)), np.int32).reshape(-1, 2, 2)
    told = {name: np.zeros(len(every), np.int32) for name in ("tonic", "mode", "timestep")}
    told["position"] = np.zeros((len(every), 2), np.int32)
    log_p = tf.reduce_sum(prior({"codes": every, **told}), -1)
    assert float(tf.reduce_sum(tf.exp(log_p))) == pytest.approx(1, rel=1e-4)
    written = prior.write({name: np.repeat(x[:1], 4000, 0) for name, x in told.items()}, np.full((4000, 2, 2), FREE))
    found = np.bincount(written.numpy().reshape(-1, 4) @ [8, 4, 2, 1], minlength=16) / 4000
    np.testing.assert_allclose(found, np.exp(log_p), atol=0.03)


def test_music_has_the_same_codes_in_every_key(model, rolls):
    """Where the tonic is told; where it is not, the codes are those of the key."""
    roll = rolls[0]
    found = {}
    for told in (True, False):
        corpora = [from_arrays([np.roll(roll, k, 1)], **({"tonic": k} if told else {})) for k in range(6)]
        batches = [next(iter(corpus.windows(None, shuffle=False).batch(1))) for corpus in corpora]
        found[told] = [model.codes(batch).numpy() for batch in batches]
    for codes in found[True]:
        np.testing.assert_array_equal(codes, found[False][0])
    assert any(np.any(codes != found[False][0]) for codes in found[False])


def test_the_two_parts_of_the_bound(model, batch):
    parts, codes = model.log_probs(batch), model.codes(batch)
    np.testing.assert_allclose(parts["frame"], model.reconstruction_log_prob(batch, codes), rtol=1e-5)
    np.testing.assert_allclose(parts["latent"], model.code_log_prob(batch), rtol=1e-5)
    np.testing.assert_allclose(model.log_prob(batch), parts["frame"] + parts["latent"], rtol=1e-5)
    other = (codes + 1) % 5
    assert np.all(np.abs(model.reconstruction_log_prob(batch, other) - parts["frame"]) > 1e-3)
    given = {**model._by_group(batch), "codes": codes}
    counted = np.arange(codes.shape[1]) < np.ceil(batch["mask"].numpy().sum(1) / 4)[:, None]
    np.testing.assert_allclose(parts["latent"], (model.prior(given) * counted).numpy().sum(1), rtol=1e-5)


def test_the_best_notes_of_codes_are_those_of_its_own_frames(model, batch):
    codes = model.codes(batch).numpy()
    written = model.decode(codes, conditions={name: batch[name] for name in ("tonic", "mode")}, top_p=1e-6, seed=5)
    time = batch["mask"].shape[1]
    again = model.reconstruct({**batch, "position": np.full_like(batch["position"], -1)})
    np.testing.assert_array_equal(written["pianoroll"][:, :time], again)
    assert model.decode(codes[:, 0], seed=0)["events"].shape == (6, 4, 4)


def test_each_stage_trains_its_own(corpus):
    model = made(prior_dropout=0.0)
    model.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2), run_eagerly=True)
    data = corpus.windows(8).batch(8)
    values = {"codec": model._codec_variables, "prior": lambda: model.prior.trainable_variables}

    def now():
        return {name: [keras.ops.convert_to_numpy(v) for v in listed()] for name, listed in values.items()}

    with pytest.raises(ValueError, match=r"stages are codec, prior\. Received: stage='both'"):
        model.stage = "both"
    for stage, other in (("codec", "prior"), ("prior", "codec")):
        model.stage = stage
        before = now()
        averages = [q.counts.numpy() for q in model.quantizers]
        logs = model.fit(data, epochs=2, verbose=0, shuffle=False, validation_data=data).history
        after = now()
        assert all(np.any(a != b) for a, b in zip(before[stage], after[stage], strict=True))
        assert all(np.all(a == b) for a, b in zip(before[other], after[other], strict=True))
        moved = [np.any(q.counts.numpy() != a) for q, a in zip(model.quantizers, averages, strict=True)]
        assert all(moved) if stage == "codec" else not any(moved)
        assert np.all(np.isfinite(np.concatenate(list(logs.values()))))
        assert {"val_nats_per_frame", "val_reconstruction_nats", "val_codebook_perplexity", "val_codes_used"} <= set(
            logs
        )
        assert ("reseeded_codes" in logs) == (stage == "codec")
        assert ("prior_nats_per_code" in logs) == (stage == "prior")
    for vectors, quantizer in zip(model.prior.frame.vectors.numpy(), model.quantizers, strict=True):
        np.testing.assert_array_equal(vectors, quantizer.embeddings)


def test_the_figures_of_an_epoch(model, corpus):
    """Those of the log are those of the evaluation."""
    model.compile("adam", run_eagerly=True)
    found = model.evaluate(corpus.windows(None, shuffle=False).batch(5), return_dict=True, verbose=0)
    batches = [*corpus.windows(None, shuffle=False).batch(5)]
    used = code_use.pieces(model, corpus)
    frame, latent = (sum(model.log_probs(b)[name].numpy().sum() for b in batches) for name in ("frame", "latent"))
    assert found["reconstruction_nats"] == pytest.approx(-frame / corpus.frames, rel=1e-4)
    assert found["prior_nats_per_code"] == pytest.approx(-latent / sum(piece.size for piece in used), rel=1e-4)
    together = np.concatenate(used)
    assert found["codebook_perplexity"] == pytest.approx(
        code_use.perplexity(together, model.code_sizes).min(), rel=1e-4
    )
    assert found["codes_used"] == pytest.approx(code_use.share_used(together, model.code_sizes).min())


def test_use_of_codes_while_training():
    """Two batches; a group that does not count is left out."""
    perplexity, used = CodePerplexity(2, 4), CodesUsed(2, 4)
    for metric in (perplexity, used):
        metric.update_state(np.array([[[0, 1], [1, 1]], [[0, 1], [3, 3]]]), np.array([[1, 1], [1, 0]]))
        metric.update_state(np.array([[1, 2]]))
    codes = np.array([[0, 1], [1, 1], [0, 1], [1, 2]])
    assert float(perplexity.result()) == pytest.approx(code_use.perplexity(codes, (4, 4)).min(), rel=1e-5)
    assert float(used.result()) == 0.5
    assert CodePerplexity.from_config(perplexity.get_config()).codes == 4


def test_both_optimizers_are_saved(corpus, tmp_path):
    model = made()
    model.compile(keras.optimizers.AdamW(1e-2), keras.optimizers.SGD(1e-2, momentum=0.9), run_eagerly=True)
    for stage in model.monitors:
        model.stage = stage
        model.fit(corpus.windows(8).batch(4), steps_per_epoch=2, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name in ("optimizer", "prior_optimizer"):
        mine, theirs = getattr(model, name), getattr(again, name)
        assert type(mine) is type(theirs)
        for a, b in zip(mine.variables, theirs.variables, strict=True):
            np.testing.assert_array_equal(a, b)
    made().save(tmp_path / "model.keras")
    assert not keras.saving.load_model(tmp_path / "model.keras").compiled


def told(model, count, length, primer=None, seed=3, temperature=1.0):
    """The codes that `generate` draws."""
    primer = model._primer(primer, count)
    sampling = Sampling(temperature, 1.0, seed)
    return model.told(model._known(None, primer, length), primer, sampling)["codes"].numpy()


def test_a_primer_has_its_own_codes(model, rolls):
    primer = next(roll for roll in rolls if len(roll) > 9)[:8]
    own = model.codes(next(iter(from_arrays([primer]).windows(None, shuffle=False).batch(1)))).numpy()
    codes = told(model, 3, 6, primer)
    assert codes.shape == (3, 4, 4)
    np.testing.assert_array_equal(codes[:, :2], np.repeat(own, 3, 0))
    assert np.any(codes[0, 2:] != codes[1, 2:])
    music = model.generate(3, 6, primer=primer, seed=3)["events"]
    np.testing.assert_array_equal(
        model.generate(3, 6, primer=primer, seed=3, conditions={"codes": codes})["events"], music
    )


@pytest.mark.parametrize("whole", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_group_that_a_primer_has_begun_is_drawn_to_fit(rolls, whole):
    """As probable as codes are, given the frames: the prior times the likelihood, by enumeration."""
    model = made(codes=4, codebooks=1, group_size=3)
    primer = next(roll for roll in rolls if len(roll) > 9)[: whole + 2]
    count = 300
    found = np.bincount(told(model, count, 4, primer)[:, whole // 3, 0], minlength=4) / count
    batch = next(iter(from_arrays([primer] * 4).windows(None, shuffle=False).batch(4)))
    codes = model.codes(batch).numpy()
    codes[:, -1, 0] = range(4)
    log_p = model.reconstruction_log_prob(batch, codes) + model.code_log_prob(batch, codes)
    np.testing.assert_allclose(found, tf.nn.softmax(log_p), atol=0.08)
    prior = tf.nn.softmax(model.code_log_prob(batch, codes))
    assert np.abs(found - prior).max() > 0.1


def test_temperature_acts_on_codes(model):
    cold = told(model, 50, 4, temperature=1e-3)
    assert len(np.unique(cold.reshape(50, -1), axis=0)) == 1
    assert len(np.unique(told(model, 50, 4).reshape(50, -1), axis=0)) > 20


def test_what_are_no_codes_is_refused(model, batch):
    for codes in (np.zeros((2, 3)), np.zeros((2, 3), int), np.zeros((2, 1, 5), int)):
        with pytest.raises(ValueError, match="Codes are whole numbers"):
            model.decode(codes)
    with pytest.raises(ValueError, match="A code is 0 to 4"):
        model.decode(np.full((1, 4), 5))
    with pytest.raises(ValueError, match="2 pieces of 3 groups need codes for each"):
        model.decode(np.zeros((2, 2, 4), int), 9)
    for arguments in ({"codebooks": 3}, {"frame_dropout": 1.5}, {"tonic_dropout": -1}, {"codebook": "x"}):
        with pytest.raises(ValueError, match=f"Received: .*{next(iter(arguments))}="):
            VQVAE(**arguments)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_it_learns_in_half_precision(corpus, precision, tmp_path):
    """Both stages; a reload has the same layers and writes the same music."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = VQVAE(10, codes=5, size=4, prior_hidden=8, frame=ChainedVoices(units=8, reach=5))
        model.build()
        model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    finally:
        keras.config.set_dtype_policy(before)
    data = corpus.windows(8).batch(8)
    for stage in model.monitors:
        model.stage = stage
        logs = model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False, validation_data=data).history
        assert np.all(np.isfinite(np.concatenate(list(logs.values()))))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.prior.core.compute_dtype == precision.removeprefix("mixed_")
    music = [m.generate(2, 6, primer=corpus.pieces[0]["pianoroll"][:5], seed=1)["events"] for m in (model, again)]
    np.testing.assert_array_equal(*music)


def test_codes_and_notes_are_drawn_apart():
    """Where both are drawn from the same probabilities, a group's code and its first note are not the same."""
    model = VQVAE(4, codes=89, codebooks=1, group_size=1, size=2, prior_hidden=4, frame=ChainedVoices(1, units=4))
    model.build()
    for variable in model.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    alike = [told(model, 40, 1, seed=s)[:, 0, 0] == model.generate(40, 1, seed=s)["events"][:, 0, 0] for s in (1, 2)]
    assert np.mean(alike) < 0.2


def test_the_stage_is_saved(corpus, tmp_path):
    model = made()
    model.compile("adam")
    model.stage = "prior"
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").stage == "prior"
