"""The LSTM GAN: objectives, penalties and heuristics by hand, every pair of parts, an autoregressive generator."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bachkeras import models
from bachkeras.data.pipeline import from_arrays
from bachkeras.layers.frame.base import Sounding
from bachkeras.models import adversarial, generators, hearing
from bachkeras.models.discriminators import DISCRIMINATORS
from bachkeras.models.lstm_gan import GENERATORS


def small(objective="wasserstein", generator="lstm", discriminator="conv", **more):
    sizes = {"hidden": 8, "noise": 4, "discriminator_hidden": 6, "latent_frames": 4, "frames_per_bar": 3}
    frame = models.ChainedVoices(units=8, reach=3)
    return models.LSTMGAN(objective, generator, discriminator, **{**sizes, "frame": frame, **more})


@pytest.fixture(scope="module")
def batch(rolls):
    return next(iter(from_arrays(rolls, tonic=0).windows(8, shuffle=False).batch(6)))


def step(model, batch, steps=1):
    """Training steps on a batch; eager: tracing takes longer."""
    model.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2), run_eagerly=True)
    for _ in range(steps):
        figures = model.train_step(batch)
    return {name: float(value) for name, value in figures.items()}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("discriminator", DISCRIMINATORS)
def test_every_pair_of_parts_learns(generator, discriminator, batch):
    """The objectives in turn: the parts do not know of them."""
    keras.utils.set_random_seed(0)
    turn = (GENERATORS.index(generator) + [*DISCRIMINATORS].index(discriminator)) % 2
    model = small([*adversarial.OBJECTIVES][turn], generator, discriminator)
    model.build()
    before = [part.get_weights() for part in (model.generator, model.averaged, model.discriminator)]
    figures = step(model, batch)
    after = [part.get_weights() for part in (model.generator, model.averaged, model.discriminator)]
    assert all(np.isfinite(value) for value in figures.values())
    for one, other in zip(before, after, strict=True):
        assert any(np.any(x != y) for x, y in zip(one, other, strict=True))


def test_what_a_discriminator_hears():
    """C major in root position, then its tenor up a fourth and no bass: the tables of two frames by hand."""
    notes = np.zeros((1, 2, 4, 88), np.float32)
    for line, key in enumerate((51, 46, 43, 27)):  # c'' g' e' c: key 3 is a C.
        notes[0, 0, line, key] = 1
    for line, key in enumerate((51, 46, 48)):
        notes[0, 1, line, key] = 1
    groups = [group.numpy()[0] for group in hearing.heard(tf.constant(notes))]
    assert [group.shape[1] for group in groups] == hearing.sizes(4)
    sizes = [352, 48, 24], [12, 144, 144, 144, 1728], [72, 36, 864]
    parts = [np.split(group, np.cumsum(size)[:-1], -1) for group, size in zip(groups, sizes, strict=True)]
    (keys, moves, far), (classes, pairs, steps, figures, chords), (intervals, distances, counterpoint) = parts
    c, e, g, a = 3, 7, 10, 0  # Pitch classes from key 0, an A, on.
    np.testing.assert_array_equal(keys.reshape(notes[0].shape), notes[0])
    assert {k: n for k, n in enumerate(classes[0]) if n} == {c: 2, e: 1, g: 1}
    pairs = pairs.reshape(2, 12, 12)
    assert pairs[0].sum() == 6
    assert (pairs[0, c, g], pairs[0, g, e], pairs[0, e, c], pairs[0, c, c], pairs[0, g, g]) == (1, 1, 1, 1, 0)
    steps = steps.reshape(2, 12, 12)
    assert not steps[0].any()
    assert (steps[1].sum(), steps[1, c, a], steps[1, c, c], steps[1, e, g]) == (12, 2, 2, 1)
    figures = figures.reshape(2, 12, 12)  # Fifth and octave, third and octave, third and fifth above the bass.
    assert {tuple(pair): figures[0][tuple(pair)] for pair in np.argwhere(figures[0])} == {
        (0, 7): 1,
        (0, 4): 1,
        (7, 4): 1,
    }
    assert not figures[1].any()
    assert np.argwhere(chords[0].reshape(12, 12, 12)).tolist() == [[0, 7, 4]]
    assert not chords[1].any()
    moves = moves.reshape(2, 4, 12)
    assert np.argmax(moves[1, :3], -1).tolist() == [0, 0, 5]  # The tenor goes up by five semitones, or down by seven.
    assert not moves[1, 3].any()
    # Cosines and sines on circles of two, four and eight octaves.
    angles = np.pi * np.array([[0, 0, 0], [0, 0, 0], [5 / 12, 5 / 24, 5 / 48]])
    far = far.reshape(2, 4, 6)
    np.testing.assert_allclose(far[1, :3], np.concatenate([np.cos(angles), np.sin(angles)], -1), atol=1e-6)
    assert not far[0].any()
    assert not far[1, 3].any()
    # Soprano from alto, tenor, bass; alto from tenor, bass; tenor from bass.
    intervals = intervals.reshape(2, 6, 12)
    assert np.argmax(intervals[0], -1).tolist() == [5, 8, 0, 3, 7, 4]
    # Soprano and bass are two octaves apart: once around the first circle, half around, a quarter.
    np.testing.assert_allclose(distances.reshape(2, 6, 6)[0, 2], [1, -1, 0, 0, 0, 1], atol=1e-6)
    # From one frame to the next: two lines stay a fourth apart, a sixth becomes a third, a third becomes a seventh.
    counterpoint = counterpoint.reshape(2, 6, 12, 12)
    assert not counterpoint[0].any()
    assert np.argwhere(counterpoint[1]).tolist() == [[0, 5, 5], [1, 8, 3], [3, 3, 10]]


def test_what_is_heard_is_linear_in_each_line():
    random = np.random.default_rng(0)
    one = np.eye(88, dtype=np.float32)[random.integers(0, 88, (5, 3, 4))]
    other = one.copy()
    other[:, 1, 2] = np.eye(88)[random.integers(0, 88, 5)]
    for middle, *ends in zip(*map(hearing.heard, (0.25 * one + 0.75 * other, one, other)), strict=True):
        np.testing.assert_allclose(middle, 0.25 * ends[0] + 0.75 * ends[1], atol=1e-5)


def test_the_slope_of_a_known_critic():
    """f(x) = 3 x[0, 1, 5] - 4 x[1, 2, 7] has the slope 5 over frames, lines and keys; g(x) = sum x^2 has 2 ||x||."""
    notes = tf.constant(np.random.default_rng(0).normal(size=(4, 2, 3, 88)), tf.float32)
    np.testing.assert_allclose(
        adversarial.slopes(lambda x: (3 * x[:, 0, 1, 5] - 4 * x[:, 1, 2, 7])[:, None], notes),
        np.full(4, 5.0),
        rtol=1e-6,
    )
    two_scales = adversarial.slopes(lambda x: tf.reduce_sum(x**2, [1, 2, 3])[:, None] * [1.0, -3.0], notes)
    wanted = [2, 6, 2, 6] * np.linalg.norm(notes.numpy().reshape(4, -1), axis=1)
    np.testing.assert_allclose(two_scales, wanted, rtol=1e-5)
    with tf.GradientTape() as tape:  # Where there is no slope the penalty still has a gradient.
        weight = tf.Variable(0.0)
        loss = adversarial.slopes(lambda x: weight * x[:, 0, 0, :1], notes)
    assert np.isfinite(tape.gradient(loss, weight))


def test_the_penalty_by_hand(batch, monkeypatch):
    """f(x) = 3 x[0, 1, 5] - 4 x[1, 2, 7]: (5 - 1)^2 for Wasserstein, 5^2 / 2 for minimax, each times its weight."""
    wanted = {"wasserstein": 10.0 * 16, "minimax": 10.0 * 12.5}
    for objective, penalty in wanted.items():
        model = small(objective, gradient_penalty=10.0)
        free = small(objective, gradient_penalty=0.0)
        losses = []
        for one in (model, free):
            one.build()
            real, fake = (tf.cast(np.random.default_rng(i).random((6, 8, 4, 88)) < 0.1, tf.float32) for i in (0, 1))

            def critic(notes, known, mask, training=None, iterate=None):
                score = 3 * notes[:, 0, 1, 5] - 4 * notes[:, 1, 2, 7]
                return models.discriminators.Verdict(score[:, None], None)

            monkeypatch.setattr(one, "discriminator", critic)
            losses.append(float(one._critic_loss(real, fake, batch, batch["mask"])[0]))
        assert losses[0] - losses[1] == pytest.approx(penalty, rel=1e-5)


@pytest.mark.parametrize(("share", "penalised"), [(1.0, 6), (0.5, 3), (0.01, 1)])
def test_a_share_of_the_windows_is_penalised(share, penalised, batch, monkeypatch):
    """f(x) = sum x^2 has the slope 2 ||x||: the mean over the first windows alone."""
    model = small("minimax", gradient_penalty=10.0, penalty_share=share)
    free = small("minimax", gradient_penalty=0.0)
    real = model._real(batch) * tf.reshape(tf.range(1.0, 7.0), (6, 1, 1, 1))

    def critic(notes, known, mask, training=None, iterate=None):
        assert len(known["tonic"]) == len(mask) == len(notes)
        return models.discriminators.Verdict(tf.reduce_sum(notes**2, [1, 2, 3])[:, None], None)

    losses = []
    for one in (model, free):
        monkeypatch.setattr(one, "discriminator", critic)
        losses.append(float(one._critic_loss(real, real, batch, batch["mask"])[0]))
    slopes = 2 * np.linalg.norm(real.numpy().reshape(6, -1), axis=1)
    assert losses[0] - losses[1] == pytest.approx(10 * np.mean(slopes[:penalised] ** 2) / 2, rel=1e-4)


def test_slopes_are_those_of_the_critic_that_learns(batch, monkeypatch):
    """With dropout in training; and spectral normalisation makes no further step, which would change the kernels."""
    model = small(discriminator_dropout=0.5, spectral_normalization=True)
    model.build()
    real, layer = model._real(batch), model.discriminator.input_dense
    found = []

    def slopes(score, notes):
        before = layer.vector_u.numpy()
        found.append((score(notes).numpy(), score(notes).numpy()))
        np.testing.assert_array_equal(layer.vector_u, before)
        return tf.ones(len(notes))

    monkeypatch.setattr(adversarial, "slopes", slopes)
    for training in (True, False):
        model._critic_loss(real, real, batch, batch["mask"], training)
    (one, other), (same, again) = found
    assert np.any(one != other)
    np.testing.assert_array_equal(same, again)


def test_a_point_between_is_uniform_on_the_line():
    real, fake = tf.ones((2000, 3, 2, 88)), tf.zeros((2000, 3, 2, 88))
    points = adversarial.between(real, fake, tf.constant([1, 2])).numpy()
    assert np.all(points == points[:, :1, :1, :1])  # One share for a whole example.
    shares = np.sort(points[:, 0, 0, 0])
    np.testing.assert_allclose(shares, np.linspace(0, 1, 2000), atol=0.04)


def test_the_losses_by_hand():
    real, fake = np.array([0.5, -1.0]), np.array([2.0, 0.0])
    minimax, wasserstein = adversarial.objective("minimax"), adversarial.objective("wasserstein")
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    entropy = -(0.9 * np.log(sigmoid(real)) + 0.1 * np.log(1 - sigmoid(real))) - np.log(1 - sigmoid(fake))
    np.testing.assert_allclose(minimax.critic_loss(real, fake, 0.1), entropy, rtol=1e-6)
    np.testing.assert_allclose(minimax.generator_loss(fake), -np.log(sigmoid(fake)), rtol=1e-6)
    np.testing.assert_allclose(wasserstein.critic_loss(real, fake, 0.0), fake - real)
    np.testing.assert_allclose(wasserstein.generator_loss(fake), -fake)


def test_the_critic_makes_more_steps(batch):
    model = small(critic_steps=3)
    step(model, batch, 2)
    assert int(model.optimizer.iterations) == 2
    assert int(model.discriminator_optimizer.iterations) == 6


def test_the_average_follows_the_generator(batch):
    for ema in (0.0, 0.9):
        model = small(ema=ema)
        model.build()
        before = model.averaged.get_weights()
        step(model, batch)
        for mean, old, now in zip(model.averaged.get_weights(), before, model.generator.get_weights(), strict=True):
            np.testing.assert_allclose(mean, ema * old + (1 - ema) * now, rtol=1e-5, atol=1e-7)


def test_clipped_weights(batch):
    model = small(weight_clip=0.02, gradient_penalty=0.0)
    step(model, batch)
    assert max(np.abs(weight).max() for weight in model.discriminator.get_weights()) == pytest.approx(0.02)


@pytest.mark.parametrize("discriminator", ["bilstm", "multiscale"])
def test_kernels_are_normalised_but_recurrent_ones(discriminator, batch):
    model = small(discriminator=discriminator, spectral_normalization=True)
    step(model, batch)
    for _ in range(20):  # Each call does one step of the power iteration.
        model.discriminator(model._real(batch), batch, batch["mask"], training=True)
    norms = {
        variable.path: np.linalg.norm(variable.numpy().reshape(-1, variable.shape[-1]), 2)
        for variable in model.discriminator.trainable_variables
        if variable.name == "kernel"
    }
    plain = {path for path in norms if "lstm_cell" in path}
    assert bool(plain) == ("lstm" in discriminator)
    for path in norms.keys() - plain:
        assert norms[path] == pytest.approx(1.0, abs=0.1), path


def test_minibatch_stddev_hears_that_all_are_alike(batch):
    model = small(minibatch_stddev=True)
    model.build()
    alike = {name: tf.repeat(value[:1], 6, 0) for name, value in batch.items()}
    assert np.any(np.abs(model.scores(alike) - model.scores(batch)[:1]) > 1e-4)
    plain = small()
    np.testing.assert_allclose(plain.scores(alike), tf.repeat(plain.scores(batch)[:1], 6), rtol=1e-4, atol=1e-6)


def test_a_discriminator_drops_in_its_own_steps(batch):
    model = small(discriminator="multiscale", discriminator_dropout=0.5)
    model.build()
    notes = model._real(batch)
    again = [
        model.discriminator(notes, batch, batch["mask"], training=learns).scores for learns in (False, False, True)
    ]
    np.testing.assert_array_equal(again[0], again[1])
    assert np.all(np.abs(again[2] - again[0]).max(0) > 1e-5)


def test_feature_matching_and_instance_noise_are_in_the_losses(batch):
    keras.utils.set_random_seed(0)
    losses = []
    for more in ({}, {"feature_matching": 100.0}, {"instance_noise": 1.0}):
        keras.utils.set_random_seed(0)
        losses.append(step(small(**more), batch))
    assert losses[1]["generator_loss"] > losses[0]["generator_loss"]
    assert losses[1]["critic_loss"] == pytest.approx(losses[0]["critic_loss"])
    assert losses[2]["critic_loss"] != pytest.approx(losses[0]["critic_loss"], rel=1e-3)


def test_likelihood_in_the_loss_of_a_generator(batch):
    """Weight times minus the log probability of a real frame, padded ones left out; nothing of it in the critic's."""
    padded = {**batch, "mask": tf.tile(tf.constant([[1.0] * 5 + [0.0] * 3]), (6, 1))}
    losses = []
    for weight in (0.0, 2.0):
        keras.utils.set_random_seed(0)
        model = small(generator="autoregressive", likelihood_weight=weight)
        model.build()
        nats = -np.mean(model.generator(padded)["frame"][:, :5])
        losses.append(step(model, padded))
    difference = losses[1]["generator_loss"] - losses[0]["generator_loss"]
    assert difference == pytest.approx(2 * nats, rel=0.03)  # With dropout.
    assert losses[1]["critic_loss"] == pytest.approx(losses[0]["critic_loss"])
    keras.utils.set_random_seed(0)
    model = small(generator="autoregressive", likelihood_weight=1e4)
    before = np.mean(model.log_prob(batch))
    step(model, batch, 3)
    model.averaged.set_weights(model.generator.get_weights())
    assert np.mean(model.log_prob(batch)) > before


def test_temperature_and_instance_noise_fall(batch):
    model = small(temperature=1.0, final_temperature=0.5, anneal_steps=4)
    step(model, batch, 2)
    assert float(model._progress()) == 0.5
    step_more = [model.train_step(batch) for _ in range(4)]
    assert float(model._progress()) == 1.0
    assert len(step_more) == 4


def test_padded_frames_are_not_heard(batch):
    model = small(discriminator="multiscale")
    mask = tf.tile(tf.constant([[1.0] * 5 + [0.0] * 3]), (6, 1))
    other = tf.concat([batch["pianoroll"][:, :6], 1 - batch["pianoroll"][:, 6:]], 1)
    padded = {**batch, "mask": mask}
    np.testing.assert_array_equal(model.scores(padded), model.scores({**padded, "pianoroll": other}))


def test_frames_share_a_vector_of_noise():
    noise = np.random.default_rng(0).normal(size=(2, 2, 4)).astype(np.float32)
    other = noise.copy()
    other[:, 1] += 1
    for generator, span in (("lstm", 1), ("latent", 4), ("hierarchical", 3)):
        model = small(generator=generator)
        model.build()
        known = {name: np.full(2, value) for name, value in (("tonic", 12), ("mode", 2), ("timestep", 99))}
        known["position"] = np.full((2, 2 * span), -1)
        before, after = model.averaged._signal(noise, known), model.averaged._signal(other, known)
        assert model(noise).shape == (2, 2 * span, 88)
        np.testing.assert_array_equal(before[:, :span], after[:, :span])
        assert np.all(np.abs(before[:, span:] - after[:, span:]).max(-1) > 0)


def test_noise_may_be_told():
    model = small()
    noise = model.averaged.draw_noise(2, 6, tf.constant([3, 4]))
    told = model.generate(2, 6, conditions={"noise": noise}, seed=0)["events"]
    np.testing.assert_array_equal(told, model.generate(2, 6, conditions={"noise": noise}, seed=0)["events"])
    assert np.any(told != model.generate(2, 6, seed=0)["events"])
    with pytest.raises(ValueError, match=r"noise is \(2, 7, 4\) .* Received: noise\.shape=\(2, 6, 4\)"):
        model.generate(2, 7, conditions={"noise": noise})


def test_a_language_model_as_generator(batch):
    """Nothing of it is lost: likelihood, music, ways to write."""
    keras.utils.set_random_seed(0)
    language = models.LSTMAttention(
        8, attention_heads=2, attention_window=5, frame=models.ChainedVoices(units=8, reach=3)
    )
    language.build()
    model = models.LSTMGAN(generator=language, discriminator_hidden=6)
    assert (model.likelihood, model.can_continue, model.can_complete) == ("exact", True, True)
    np.testing.assert_allclose(model.log_prob(batch), language.log_prob(batch), rtol=1e-5)
    np.testing.assert_array_equal(model.generate(2, 9, seed=1)["events"], language.generate(2, 9, seed=1)["events"])
    weights = language.get_weights()
    step(model, batch)
    assert np.any(np.abs(model.log_prob(batch) - language.log_prob(batch)) > 1e-6)
    for before, after in zip(weights, language.get_weights(), strict=True):  # It was copied.
        np.testing.assert_array_equal(before, after)


def test_an_autoregressive_generator_is_heard_as_it_writes(batch, monkeypatch):
    """What it draws frame by frame and hears again all at once: the frames are the same, silence before the first."""
    lengths = set()
    for notes, events in heard_again("autoregressive", batch, monkeypatch):
        np.testing.assert_allclose(notes, models.ChainedVoices().notes(events[:, -8:]), atol=1e-6)
        lengths.add(events.shape[1])
    assert min(lengths) >= 9
    assert max(lengths) <= 17
    assert len(lengths) > 2


def test_frames_from_noise_know_the_frame_before(batch, monkeypatch):
    for notes, events in heard_again("latent", batch, monkeypatch):
        np.testing.assert_allclose(notes, models.ChainedVoices().notes(events[:, 1:]), atol=1e-6)
    model = small(generator="latent")
    model.build()
    model.averaged.frame.interval_kernel.assign(tf.random.stateless_normal((4, 8, 14), [1, 2], stddev=9.0))
    noise = model.averaged.draw_noise(1, 8, tf.constant([3, 4]))
    start = model.averaged.start({**{name: value[:1] for name, value in batch.items()}, "noise": noise})
    events = tf.constant([[50, 40, 30, 88]])
    silent, heard = (model.frame.features(Sounding(x, x > 88, tf.ones_like(x))) for x in (0 * events + 88, events))
    context, _ = model.step(start, silent)
    assert np.any(np.abs(context - model.step(start, heard)[0]) > 1e-3)
    near = model.frame.log_prob(context, events, previous=tf.constant([[51, 39, 30, 88]]))
    assert np.any(np.abs(near - model.frame.log_prob(context, events, previous=tf.constant([[48, 42, 30, 88]]))) > 1e-3)


def heard_again(generator, batch, monkeypatch):
    """Relaxed notes of a generator, and the events that it had drawn, silence first; six times."""
    model = small(generator=generator)
    model.build()
    known = {name: batch[name] for name in ("tonic", "mode", "timestep", "position")}
    drawn, written = [], generators._written
    monkeypatch.setattr(generators, "_written", lambda *arguments: drawn.append(written(*arguments)) or drawn[-1])
    for number in range(6):
        noise = model.generator.draw_noise(6, 8, tf.constant([number, 1]))
        notes = model.generator.relaxed(noise, known, temperature=1.0, seed=tf.constant([number, 5]))
        events = drawn[-1].events
        assert np.all(events[:, 0] == 88)
        yield notes, events


def test_what_is_refused():
    for arguments, problem in (
        ({"objective": "hinge"}, "Objectives are minimax, wasserstein. Received: objective='hinge'"),
        ({"generator": "gru"}, "Received: generator='gru'"),
        ({"discriminator": "mlp"}, "Received: discriminator='mlp'"),
        ({"critic_steps": 0}, "critic_steps is at least 1"),
        ({"ema": 1.0}, "ema is 0 or more and below 1"),
        ({"final_temperature": 0.0}, "Temperatures are above 0"),
        ({"frame": models.ChainedVoices(onsets=True)}, "Received: onsets=True"),
        ({"likelihood_weight": 1.0}, "A generator from noise has no likelihood: likelihood_weight is 0"),
        ({"likelihood_weight": -1.0}, "likelihood_weight is at least 0"),
        ({"dtype": "mixed_bfloat16"}, "computes in float32"),
    ):
        with pytest.raises(ValueError, match=problem):
            small(**arguments)
    with pytest.raises(ValueError, match="no likelihood"):
        small().log_prob({})


@pytest.mark.slow
@pytest.mark.parametrize("objective", adversarial.OBJECTIVES)
def test_it_learns_a_chord(objective):
    """From noise alone to the one chord that all music has."""
    keras.utils.set_random_seed(0)
    roll = np.zeros((16, 88), bool)
    roll[:, [30, 34, 37]] = True
    ds = from_arrays([roll] * 16).windows(8).batch(8)
    model = small(objective, discriminator="multiscale", discriminator_hidden=16, gradient_penalty=1.0, ema=0.9)
    model.compile(keras.optimizers.Adam(1e-2, beta_1=0.0), keras.optimizers.Adam(1e-2, beta_1=0.0))
    model.fit(ds, epochs=50, verbose=0, shuffle=False)
    written = model.generate(8, 16, seed=0)["pianoroll"]
    assert np.mean(np.all(written == roll, -1)) > 0.8
