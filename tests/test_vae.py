"""VAEs: posterior, objective and bounds by hand; what a decoder knows besides z; what can be done with a z."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from bachkeras.data.pipeline import from_arrays
from bachkeras.evaluation import collapse
from bachkeras.layers import posterior as gaussian
from bachkeras.layers.frame import ChainedVoices
from bachkeras.layers.frame.base import END
from bachkeras.layers.posterior import LOG_VARIANCES, Posterior
from bachkeras.models import LSTMVAE, HierarchicalVAE
from bachkeras.models.base import Sampling
from bachkeras.models.latent_metrics import ActiveUnits

KINDS = {"flat": LSTMVAE, "hierarchical": HierarchicalVAE}


def randomised(layer, stddev=0.4):
    """A built layer or model with random weights."""
    keras.utils.set_random_seed(0)
    for variable in layer.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=stddev))
    return layer


def made(kind, **options):
    """A model with windows of two bars of three frames, whose singers remember all they can; nothing is dropped."""
    frame = ChainedVoices(units=6, reach=3, labelled=True, onsets=True, held=4)
    nothing = {"dropout": 0.0, "condition_dropout": 0.0}
    model = KINDS[kind](
        8, **({"layers": 1, "latent": 4, "bars": 2, "frames_per_bar": 3, "frame": frame} | nothing | options)
    )
    model.build()
    return randomised(model)


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return made(kind)


@pytest.fixture(scope="module")
def corpus(parts):
    """Pieces of one tonic; notes are held over bar lines."""
    columns, struck = zip(*parts, strict=True)
    rolls = [ChainedVoices().pianoroll(events).numpy() for events in columns]
    positions = [np.arange(len(roll)) % 3 for roll in rolls]
    return from_arrays(
        rolls, voices=columns, voice_onsets=struck, tonic=2, mode=1, timestep=(1, 2), position=positions
    )  # fmt: skip


@pytest.fixture(scope="module")
def batch(corpus):
    """Whole pieces, of one to four windows, padded."""
    batch = next(iter(corpus.windows(None, shuffle=False).batch(6)))
    windows = np.ceil(np.sum(batch["mask"], 1) / 6)
    assert {1.0, 4.0} <= set(windows.tolist())
    return batch


@pytest.fixture(scope="module")
def window(corpus):
    """Some windows of six frames, the last one of a piece among them."""
    return next(iter(corpus.windows(6, shuffle=False).batch(9)))


@pytest.fixture(scope="module")
def z():
    return np.random.default_rng(0).standard_normal((6, 4, 4), np.float32)


def counted_windows(batch):
    """Which windows of six frames are no padding."""
    return batch["mask"].numpy()[:, ::6] > 0


def test_kl_and_density_against_scipy():
    mean, log_variance, z = np.random.default_rng(0).standard_normal((3, 5, 4))
    found = gaussian.kl(mean, log_variance).numpy()
    np.testing.assert_allclose(found.sum(-1), collapse.kl(mean, log_variance))
    q = stats.norm(mean[0, 0], np.exp(log_variance[0, 0] / 2))
    nats, _ = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - stats.norm.logpdf(x)), -30, 30)
    assert found[0, 0] == pytest.approx(nats)
    log_q = stats.norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(-1)
    np.testing.assert_allclose(gaussian.log_density(z, mean, log_variance) - 2 * np.log(2 * np.pi), log_q)
    np.testing.assert_allclose(gaussian.log_density(z) - 2 * np.log(2 * np.pi), stats.norm.logpdf(z).sum(-1))


@pytest.mark.parametrize("parts", [False, True], ids=["of the window", "of its bars"])
def test_a_window_is_heard_where_its_bars_end(parts):
    """Both ways; the parts of z come from their bars by the same weights, and yet each knows the whole window."""
    layer = Posterior(6, 3, parts=parts, hidden=5)
    layer.build((None, 12, 7))
    randomised(layer)
    x = np.random.default_rng(0).standard_normal((4, 12, 7), np.float32)
    everything = np.ones(4, bool)
    forward, backward = np.split(layer.lstm(layer.input_dense(x)).numpy(), 2, axis=-1)
    bars = [np.concatenate([forward[:, 4 * u + 3], backward[:, 4 * u]], -1) for u in range(3)]
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in layer.output_dense.weights)
    assert kernel.shape == ((10, 4) if parts else (30, 12))
    heard = [bar @ kernel + bias for bar in bars] if parts else [np.concatenate(bars, -1) @ kernel + bias]
    halves = zip(*(np.split(part, 2, axis=-1) for part in heard), strict=True)
    mean, log_variance = (np.concatenate(half, -1) for half in halves)
    found = layer(x, everything)
    np.testing.assert_allclose(found[0], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], np.clip(log_variance, *LOG_VARIANCES), rtol=1e-5, atol=1e-6)
    for frame in (0, 11):
        other = x.copy()
        other[:, frame] += 1
        assert np.all(np.abs(layer(other, everything)[0] - found[0]) > 1e-6)


def test_log_variances_stay_finite():
    layer = Posterior(2, 1, hidden=3)
    layer.build((None, 2, 4))
    layer.output_dense.bias.assign([0, 0, 1e9, -1e9])
    _, log_variance = layer(np.zeros((1, 2, 4), np.float32), np.ones(1, bool))
    assert log_variance.numpy().tolist() == [[4.0, -10.0]]


def test_each_bar_has_the_same_part():
    with pytest.raises(ValueError, match="latent=5, bars=2"):
        Posterior(5, 2, parts=True)
    with pytest.raises(ValueError, match="latent=5, bars=2"):
        HierarchicalVAE(8, latent=5, bars=2)
    with pytest.raises(ValueError, match="latent=0"):
        LSTMVAE(8, latent=0)
    with pytest.raises(ValueError, match=r"free_bits=-1\.0"):
        LSTMVAE(8, free_bits=-1.0)


def normed(scale=1.0):
    """A posterior of windows that it normalises, and 50 windows, of which the last ten are padding."""
    keras.utils.set_random_seed(0)
    layer = Posterior(4, 2, hidden=5, batch_norm=0.7)
    layer.build((None, 6, 7))
    layer.output_dense.kernel.assign(scale * layer.output_dense.kernel)
    return layer, np.random.default_rng(0).standard_normal((50, 6, 7), np.float32), np.arange(50) < 40


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_with_batch_norm_a_batch_costs_kl(scale):
    """However small the means are made; what is padding has no part in it, nor in the moving averages."""
    layer, x, counted = normed(scale)
    mean, log_variance = (value[:40].numpy() for value in layer(x, counted, training=True))
    np.testing.assert_allclose(mean.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(mean.std(0), 0.7, rtol=1e-3)
    assert collapse.kl(mean, log_variance).mean() >= 0.999 * 0.7**2 * 4 / 2
    other, _, _ = normed(scale)
    x[40:] = 9
    np.testing.assert_allclose(other(x, counted, training=True)[0][:40], mean, rtol=1e-5, atol=1e-6)
    for moving, same in zip(layer.norm.weights, other.norm.weights, strict=True):
        np.testing.assert_allclose(moving, same, rtol=1e-5)


def test_after_training_batch_norm_goes_by_its_averages():
    layer, x, counted = normed()
    beta, mean, variance = np.array([[0.5, 0, 0, 0], [1, 2, 3, 4], [1, 4, 9, 16]])
    layer.norm.set_weights([beta, mean, variance])
    plain = Posterior(4, 2, hidden=5)
    plain.build((None, 6, 7))
    plain.set_weights([keras.ops.convert_to_numpy(weight) for weight in layer.weights[: len(plain.weights)]])
    expected = 0.7 * ((plain(x, counted)[0] - mean) / variance**0.5 + beta)
    np.testing.assert_allclose(layer(x, counted)[0], expected, rtol=1e-4, atol=1e-5)


def test_more_padding_changes_no_statistics(kind, corpus, batch):
    """A training batch with a window of padding more: the same posteriors of the others."""
    model = made(kind, batch_norm=0.6)
    longer = next(iter(corpus.windows(30, shuffle=False).batch(6)))
    means = [model(music, training=True)["mean"].numpy()[:, :4] for music in (batch, longer)]
    real = counted_windows(batch)
    np.testing.assert_allclose(means[0][real], means[1][real], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(means[0][real].std(0), 0.6, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({}, 1.0),
        ({"beta": 0.3}, 0.3),
        ({"beta": 0.5, "warmup": 10}, 0.2),
        ({"beta": 0.5, "warmup": 4}, 0.5),
        ({"beta": 0.5, "warmup": 3}, 0.5),
        ({"free_bits": 0.1}, 1.0),
        ({"free_bits": 99.0}, 1.0),
        ({"free_bits_per_dimension": 0.25}, 1.0),
        ({"free_bits_per_dimension": 0.25, "free_bits": 1.9, "beta": 0.5, "warmup": 8}, 0.25),
    ],
    ids=str,
)
def test_the_loss_by_hand(batch, options, weight):
    """After four steps; at validation there is no warm-up."""
    model = made("flat", **options)
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(4)
    answer = {name: value.numpy().astype(np.float64) for name, value in model(batch).items()}
    mask, counted = batch["mask"].numpy(), counted_windows(batch)
    nats = -(answer["frame"] * mask).sum()
    mean, log_variance = answer["mean"][counted], answer["log_variance"][counted]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(0)
    free = options.get("free_bits_per_dimension", 0)
    if free:
        assert kl.min() < free < kl.max()
    paid = max(np.maximum(kl, free).sum(), options.get("free_bits", 0))
    answer["mean"][~counted] += 100.0  # Padding: it does not count.
    answer["frame"][mask == 0] += 100.0
    answer = {name: tf.constant(value, tf.float32) for name, value in answer.items()}
    for training, beta in ((True, weight), (False, options.get("beta", 1.0))):
        loss = (nats + beta * paid * counted.sum()) / mask.sum()
        assert float(model.compute_loss(batch, y_pred=answer, training=training)) == pytest.approx(loss, rel=1e-4)


def test_metrics_are_over_all_frames_and_windows(model, corpus):
    """Of two batches: sums over sums."""
    for metric in model.metrics:
        metric.reset_state()
    frames = nats = 0.0
    means, costs = [], []
    for batch in corpus.windows(6, shuffle=False).batch(30):
        answer = model(batch)
        model.compute_loss(batch, y_pred=answer, training=False)
        mask, real = batch["mask"].numpy(), counted_windows(batch)[:, 0]
        frames, nats = frames + mask.sum(), nats - (answer["frame"].numpy() * mask).sum()
        means.append(answer["mean"].numpy()[real, 0])
        costs.append(collapse.kl(means[-1], answer["log_variance"].numpy()[real, 0]))
    means, costs = np.concatenate(means), np.concatenate(costs)
    assert len(costs) > 30
    assert float(model.reconstruction_nats.result()) == pytest.approx(nats / frames, rel=1e-4)
    assert float(model.kl_nats.result()) == pytest.approx(costs.mean(), rel=1e-4)
    assert float(model.nats_per_frame.result()) == pytest.approx((nats + costs.sum()) / frames, rel=1e-4)
    assert float(model.active_units.result()) == collapse.active_units(means)


def test_active_units_are_those_of_all_batches():
    """Deviations around the threshold of 0.1; weights leave examples out."""
    random = np.random.default_rng(0)
    means = random.standard_normal((5, 40, 3, 8)) * [0, 0.03, 0.085, 0.095, 0.105, 0.115, 0.5, 2] + random.normal(
        size=8
    )
    weights = random.random((5, 40, 3)) < 0.6
    metric = ActiveUnits(8)
    for mean, weight in zip(means, weights, strict=True):
        loud = np.where(weight[..., None], mean, 50 * random.standard_normal(mean.shape))
        metric.update_state(tf.constant(loud, tf.float32), sample_weight=tf.constant(weight, tf.float32))
    assert float(metric.result()) == collapse.active_units(means[weights]) == 4
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(tf.constant(means[0], tf.float32))
    assert float(metric.result()) == collapse.active_units(means[0].reshape(-1, 8))
    assert ActiveUnits.from_config(metric.get_config()).latent == 8


@pytest.fixture(scope="module")
def known(kind):
    """A model with a number for each window of two frames, three frames of one voice that are padded to six, log p."""
    frame = ChainedVoices(1, units=6, reach=3)
    model = made(kind, latent=1, bars=1, frames_per_bar=2, frame=frame)
    rolls = [np.eye(88, dtype=bool)[[40, 44, 40]], np.eye(88, dtype=bool)[[40] * 6]]
    batch = next(iter(from_arrays(rolls, tonic=3).windows(None, shuffle=False).batch(2)))
    batch = {name: value[:1] for name, value in batch.items()}
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    z = np.stack(np.meshgrid(nodes, nodes, [0.0], indexing="ij"), -1).reshape(-1, 3, 1)
    given = model.reconstruction_log_prob(repeated(batch, len(z)), z).numpy().astype(np.float64)
    evidence = np.log(np.sum(np.outer(weights, weights).ravel() * np.exp(given)))
    return model, batch, nodes, weights, evidence


def repeated(batch, times):
    """One example as often as there are estimates to be drawn."""
    return {name: tf.repeat(value, times, axis=0) for name, value in batch.items()}


def test_the_evidence_lower_bound_is_its_expectation(known):
    """By quadrature over the posterior of either window; the padded third one costs nothing."""
    model, batch, nodes, weights, evidence = known
    answer = model(batch)
    mean, deviation = answer["mean"][0].numpy(), np.exp(answer["log_variance"][0].numpy() / 2)
    z = np.stack(np.meshgrid(nodes, nodes, [0.0], indexing="ij"), -1).reshape(-1, 3, 1)
    given = model.reconstruction_log_prob(repeated(batch, len(z)), mean + deviation * z).numpy()
    kl = collapse.kl(mean[:2], 2 * np.log(deviation[:2])).sum()
    expected = np.sum(np.outer(weights, weights).ravel() * given) - kl
    many = repeated(batch, 4000)
    parts = model.log_probs(many, seed=5)
    np.testing.assert_allclose(parts["latent"], np.full(4000, -kl), rtol=1e-4)
    drawn = model.log_prob(many, seed=5).numpy()
    np.testing.assert_allclose(drawn, parts["frame"] + parts["latent"], rtol=1e-5)
    error = float(drawn.std()) / 4000**0.5
    assert 1e-3 < error < 0.1
    assert drawn.mean() == pytest.approx(expected, abs=4 * error)
    assert expected < evidence - 5 * error


def test_importance_weights_come_near_the_evidence(known):
    """exp(bound) is p(x) on average whatever the number of draws; the bound rises towards log p(x) with them."""
    model, batch, *_, evidence = known
    many, bounds = repeated(batch, 4000), []
    for samples in (2, 8):
        drawn = model.log_prob(many, samples=samples, seed=3).numpy().astype(np.float64)
        ratios = np.exp(drawn - evidence)
        assert ratios.mean() == pytest.approx(1, abs=4 * ratios.std() / 4000**0.5)
        assert ratios.std() < 3
        bounds.append(drawn.mean())
    assert model.log_prob(many, seed=3).numpy().mean() < bounds[0] < bounds[1] < evidence
    assert np.logaddexp.reduce(drawn) - np.log(4000) == pytest.approx(evidence, abs=0.05)
    few = repeated(batch, 3)
    np.testing.assert_array_equal(model.log_prob(few, samples=2, seed=3), model.log_prob(few, samples=2, seed=3))
    assert np.all(model.log_prob(few, samples=2, seed=3) != model.log_prob(few, samples=2, seed=4))
    with pytest.raises(ValueError, match="samples=0"):
        model.log_prob(batch, samples=0)


def changed(batch, start, stop):
    """Other notes in some frames."""
    voices = batch["voices"].numpy()
    voices[:, start + 1 : stop + 1] = (voices[:, start + 1 : stop + 1] + 5) % 60 + 10
    return batch | {"voices": tf.constant(voices), "pianoroll": ChainedVoices().pianoroll(voices)}


def difference(model, batch, z, other, other_z=None, training=None):
    """By how much log p of each frame given z differs, the most of any example: `(time,)`."""
    before = model._decoded(z, batch, batch, training)
    after = model._decoded(z if other_z is None else other_z, other, other, training)
    return np.abs(after - before).max(0)


def test_bars_hear_nothing_of_earlier_ones_but_z(kind, model, batch, z):
    """Two frames of the second bar of eight are changed, and so is how long notes are held that sound in the third one.

    In the flat decoder all later frames hear of it.
    """
    other = changed(batch, 3, 5)
    held = [model.frame.read(music).held.numpy()[:, 7:10] for music in (batch, other)]
    assert np.any(held[0] != held[1])
    found = difference(model, batch, z, other)
    assert np.all(found[:3] < 1e-5)
    assert np.all(found[3:6] > 1e-3)
    if kind == "hierarchical":
        assert np.all(found[6:] < 1e-5)
    else:
        assert np.all(found[6:12] > 1e-4)


def test_frames_of_a_bar_hear_its_earlier_ones(model, batch, z):
    found = difference(model, batch, z, changed(batch, 6, 7))
    assert np.all(found[:6] < 1e-5)
    assert np.all(found[6:9] > 1e-4)


def test_nobody_hears_the_frame_before_the_first(kind, window):
    """Not what it was, nor that its notes go on."""
    model = made(kind, frame=ChainedVoices(units=6, reach=3, labelled=True, held=4, counterpoint=True))
    other = changed(window, -1, 0)
    held = [model.frame.read(music).held.numpy()[:, 1:] for music in (window, other)]
    assert np.any(held[0] != held[1])
    z = np.random.default_rng(0).standard_normal((9, 1, 4))
    assert np.all(difference(model, window, z, other) < 1e-5)
    np.testing.assert_allclose(model.posterior(window)[0], model.posterior(other)[0], rtol=1e-5, atol=1e-6)


def test_z_is_heard_from_its_place_on(kind, model, batch, z):
    """Of its window in the flat decoder, of its bar in the hierarchical one; what comes after has heard it too."""
    last_part = z.copy()
    last_part[:, 1, 2:] += 1
    found = difference(model, batch, z, batch, last_part)
    begins = 9 if kind == "hierarchical" else 6
    assert np.all(found[:begins] < 1e-5)
    assert np.all(found[begins:] > 1e-4)


@pytest.mark.parametrize("frame_dropout", [0.0, 1.0])
def test_a_decoder_without_past_frames(kind, batch, z, frame_dropout):
    """Where training hides them all, a frame depends on itself and on z alone; else the next ones hear of it."""
    model = made(kind, frame_dropout=frame_dropout)
    batch = batch | {"voice_onsets": batch["voices"] != END}  # Else the next frame's own strokes depend on it.
    found = difference(model, batch, z, changed(batch, 6, 7), training=True)
    assert found[6] > 1e-3
    assert np.all(found[:6] < 1e-5)
    assert np.all((found[7:9] < 1e-5) == (frame_dropout == 1.0))
    assert np.all(difference(model, batch, z, changed(batch, 6, 7))[7:9] > 1e-4)


def moved(batch, semitones, tonic):
    """Music transposed, and a tonic."""
    voices = tf.where(batch["voices"] == END, END, batch["voices"] + semitones)
    return batch | {
        "voices": voices,
        "pianoroll": ChainedVoices().pianoroll(voices),
        "tonic": tf.fill(batch["tonic"].shape, tonic),
    }


def test_the_encoder_hears_music_in_c(model, window):
    """As far as the nearest C is the same one; without a tonic as it stands, and of C itself it is not told."""
    heard = model.posterior(window)
    for semitones in (-7, -2, 4):
        for mine, theirs in zip(model.posterior(moved(window, semitones, (2 + semitones) % 12)), heard, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    unknown = [model.posterior(moved(window, semitones, 12))[0].numpy() for semitones in (0, -2)]
    assert np.all(np.abs(unknown[0] - unknown[1]).max(1) > 1e-3)
    np.testing.assert_allclose(unknown[1], heard[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(unknown[0], model.posterior(moved(window, 0, 0))[0], rtol=1e-4, atol=1e-5)


def test_a_key_that_training_hides_is_hidden_from_the_encoder(window):
    model = made("flat", condition_dropout=1.0)
    trained = [model(moved(window, 0, tonic), training=True)["mean"][:, 0] for tonic in (2, 7)]
    np.testing.assert_allclose(trained[0], trained[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trained[0], model.posterior(moved(window, 0, 12))[0], rtol=1e-4, atol=1e-5)


def test_training_draws_anew(model, batch):
    fixed, again = model(batch), model(batch)
    np.testing.assert_array_equal(fixed["frame"], again["frame"])
    drawn = [model(batch, training=True) for _ in range(2)]
    assert np.all(np.abs(drawn[0]["frame"] - drawn[1]["frame"]).max(1) > 1e-4)
    np.testing.assert_allclose(drawn[0]["mean"], fixed["mean"], rtol=1e-4, atol=1e-5)


def test_between_two_z_lies_an_arc(model):
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 3, 4)).astype(np.float32)
    b *= 2
    way = model.interpolate(a, b, 7)
    assert way.shape == (7, 3, 4)
    assert way.dtype == np.float32
    np.testing.assert_allclose(way[[0, -1]], [a, b], rtol=1e-5, atol=1e-6)
    lengths = np.linalg.norm(way, axis=-1)
    t = np.linspace(0, 1, 7)[:, None]
    np.testing.assert_allclose(lengths, lengths[0] ** (1 - t) * lengths[-1] ** t, rtol=1e-5)
    units = way / lengths[..., None]
    angles = np.arccos(np.sum(units[1:] * units[:-1], -1))
    np.testing.assert_allclose(angles, np.tile(np.arccos(np.sum(units[0] * units[-1], -1)) / 6, (6, 1)), rtol=1e-3)
    np.testing.assert_allclose(model.interpolate(a[0], b[0], 7), way[:, 0], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(model.interpolate(a[0], -2 * a[1], 2), axis=-1)[0], lengths[0, 0])


def test_on_one_line_the_way_is_straight(model):
    a = np.float32([3, 0, 4, 0])
    np.testing.assert_allclose(model.interpolate(a, a, 3), [a] * 3, rtol=1e-6)
    np.testing.assert_allclose(model.interpolate(a, 4 * a, 3), [a, 2 * a, 4 * a], rtol=1e-5)
    np.testing.assert_allclose(model.interpolate(a, -a, 3), [a, 0 * a, -a], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(model.interpolate(0 * a, a, 3)[[0, 2]], [0 * a, a], rtol=1e-6, atol=1e-6)
    assert np.isfinite(model.interpolate(0 * a, 0 * a, 3)).all()


def test_attributes_are_differences_of_means(model, corpus):
    batches = [*corpus.windows(6, shuffle=False).batch(5)][:2]
    means = [model.posterior(batch)[0].numpy().mean(0) for batch in batches]
    np.testing.assert_allclose(model.attribute_vector(*batches), means[0] - means[1], rtol=1e-4, atol=1e-6)


def test_what_is_no_z_is_refused(model, batch):
    a = np.zeros(4, np.float32)
    for arguments in ((a, a[:3], 3), (a[:3], a[:3], 3), (a, a[None], 3), (a, a, 1)):
        with pytest.raises(ValueError, match=f"steps={arguments[2]}"):
            model.interpolate(*arguments)
    for shape in ((2, 3), (2, 1, 5), (4,), (1, 1, 1, 4)):
        with pytest.raises(ValueError, match="z is "):
            model.decode(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="2 pieces of 3 windows need z for each"):
        model.decode(np.zeros((2, 2, 4), np.float32), 13)
    with pytest.raises(ValueError, match="need z for each"):
        model.generate(3, 6, conditions={"z": np.zeros((2, 4), np.float32)})
    with pytest.raises(ValueError, match="need z for each"):
        model.reconstruction_log_prob(batch, np.zeros((6, 3, 4), np.float32))
    with pytest.raises(ValueError, match=r"a window, 6 frames.* Received: time=2\d"):
        model.posterior(batch)


def test_of_more_z_than_windows_the_first_ones_are_heard(model, batch, z):
    more = np.concatenate([z, z], 1)
    np.testing.assert_allclose(
        model.reconstruction_log_prob(batch, more), model.reconstruction_log_prob(batch, z), rtol=1e-5
    )
    written = [model.decode(some, 20, seed=0)["events"] for some in (z, more)]
    np.testing.assert_array_equal(*written)


def test_music_of_a_z(model, z):
    assert model.decode(z[:, 0], seed=0)["events"].shape == (6, 6, 4)
    long = model.decode(z, seed=0)["events"]
    assert long.shape == (6, 24, 4)
    np.testing.assert_array_equal(model.decode(z, 15, seed=0)["events"], long[:, :15])
    other = z.copy()
    other[:, 2] *= -3
    found = model.decode(other, seed=0)["events"]
    np.testing.assert_array_equal(found[:, :12], long[:, :12])
    assert np.any(found[:, 12:18] != long[:, 12:18])


def test_a_reconstruction_is_the_likeliest(model, batch, z):
    """Head by head, after what it has written itself; of the batch it reads what is told of it."""
    found = model.reconstruct(batch, z)
    assert found.shape == (6, batch["mask"].shape[1], 88)
    np.testing.assert_array_equal(model.reconstruct(changed(batch, 0, 9), z), found)
    told = {name: batch[name] for name in ("tonic", "mode", "timestep", "position")}
    voices = model.decode(z, found.shape[1], conditions=told, top_p=1e-6, seed=9)
    np.testing.assert_array_equal(voices["pianoroll"], found)
    own = model.reconstruct(batch)
    np.testing.assert_array_equal(own, model.reconstruct(batch, model(batch)["mean"]))
    np.testing.assert_allclose(
        model.reconstruction_log_prob(batch), model.reconstruction_log_prob(batch, model(batch)["mean"]), rtol=1e-5
    )


def latents(model, count, length, seed=3, primer=None):
    """The z with which `generate` writes."""
    primer = model._primer(primer, count)
    return model.told(model._known(None, primer, length), primer, Sampling(1.0, 1.0, seed))["z"].numpy()


def test_new_pieces_have_a_z_a_window_from_the_prior(model):
    z = latents(model, 500, 15)
    assert z.shape == (500, 3, 4)
    np.testing.assert_allclose(z.mean((0, 1)), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(z.reshape(500, 12).T), np.eye(12), atol=0.25)
    music = model.generate(2, 15, seed=3)
    told = {"z": latents(model, 2, 15)}
    np.testing.assert_array_equal(model.generate(2, 15, conditions=told, seed=3)["events"], music["events"])
    assert np.any(music["events"] != model.generate(2, 15, conditions={"z": -2 * told["z"]}, seed=3)["events"])


@pytest.mark.parametrize("struck", [True, False], ids=["struck", "strokes are not told"])
def test_a_primer_is_heard_window_by_window(model, corpus, struck):
    """Eight frames, a window and a part of one: their posteriors' means, then the prior."""
    arrays = {name: corpus.pieces[0][name][:8] for name in ("pianoroll", "voices", "voice_onsets")}
    if not struck:
        del arrays["voice_onsets"]
    rest = {name: [value] for name, value in arrays.items() if name != "pianoroll"}
    batch = next(iter(from_arrays([arrays["pianoroll"]], **rest).windows(6, shuffle=False).batch(2)))
    z = latents(model, 2, 7, primer=arrays)
    assert z.shape == (2, 3, 4)
    for own in z[:, :2]:
        np.testing.assert_allclose(own, model.posterior(batch)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(z[:, 2], latents(model, 2, 15)[:, 2])
    music = model.generate(2, 7, primer=arrays, seed=3)["events"]
    assert music.shape == (2, 7, 4)
    np.testing.assert_array_equal(model.generate(2, 7, primer=arrays, conditions={"z": z}, seed=3)["events"], music)
