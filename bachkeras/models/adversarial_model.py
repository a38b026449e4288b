"""What generative adversarial networks share: how generator and discriminator are trained against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import keras
import tensorflow as tf

from bachkeras.layers.conditions import Conditions
from bachkeras.models import adversarial
from bachkeras.models.discriminators import Discriminator
from bachkeras.models.generators import AutoregressiveGenerator, NoiseGenerator
from bachkeras.models.two_optimizers import TwoOptimizers

FIGURES = (
    "generator_loss",
    "critic_loss",
    "critic_gap",
    "critic_slope",
    "generator_gradient_norm",
    "critic_gradient_norm",
)
"""Means over the steps of an epoch; see `AdversarialModel`."""


class AdversarialModel(TwoOptimizers):
    """A generative adversarial network (Goodfellow et al. 2014) over windows of frames.

    The discriminator D gives a score on each of its scales; with real notes x and generated ones g, summed over the
    scales, the losses of D and of the generator are

        "minimax":      softplus(-D(x)) + softplus(D(g)) + P / 2 ||grad D(x)||^2,       softplus(-D(g))
        "wasserstein":  D(g) - D(x) + P (||grad D(y)|| - 1)^2,                          -D(g)

    means over the batch, P = `gradient_penalty`, y between x and g, norms over all frames, lines and keys, of one scale
    an example: each scale is held to its own slope (see `adversarial.slopes`). "minimax" is the non-saturating
    form; its penalty is R1 (Mescheder, Geiger and Nowozin 2018). "wasserstein" is WGAN-GP (Gulrajani et al. 2017,
    equation 3), y = u x + (1 - u) g with u uniform; the historical way is `weight_clip` instead (Arjovsky, Chintala
    and Bottou 2017). The two time scales of Heusel et al. (2017) are two learning rates, see `compile`.

    `fit` takes batches of windows. It tells the losses; `critic_gap`, D(x) - D(g); `critic_slope`, the mean of
    ||grad D|| where the penalty is taken, an estimate of D's Lipschitz constant; the norms of the gradients of all
    weights together; `updates`, the generator's steps so far.

    A subclass makes the layers `generator`, `averaged`, whose weights are the moving average of the generator's, and
    `discriminator`.

    Args:
        objective: "minimax" or "wasserstein".
        gradient_penalty: P; 0: none.
        penalty_share: share of a batch's windows, the first ones, at which slopes are penalised. Second derivatives
            take much of a step's time, and fewer windows say the same on average.
        weight_clip: after each step of the discriminator its weights are cut to this size; 0: never.
        critic_steps: steps of the discriminator for each of the generator, on the same real windows.
        label_smoothing: share by which the label of real windows is less than 1, "minimax" alone (Salimans et al. 2016,
            section 3.4).
        instance_noise: standard deviation of noise on all that the discriminator hears (Arjovsky and Bottou 2017),
            falling to 0 over `anneal_steps`.
        feature_matching: weight of the squared distance of the mean features of real and generated windows in the
            generator's loss (Salimans et al. 2016, section 3.1).
        likelihood_weight: weight of the nats a frame of the real windows in the loss of a generator that has a
            likelihood, as in professor forcing (Lamb et al. 2016, section 2.2): so it keeps what it has learnt by it.
        ema: decay of the moving average of the generator's weights (Yazici et al. 2019); 0: the weights as they are.
        temperature: of the gradient through the draws, at the beginning.
        final_temperature: after `anneal_steps`.
        anneal_steps: steps in which temperature and instance noise fall.
        condition_dropout: share of the examples for which training makes a condition unknown, see `Conditions`.
    """

    second_optimizer = "discriminator_optimizer"
    monitors: ClassVar = {"model": "val_distance"}
    optimizers: ClassVar = ("training", "discriminator")
    judged_by_samples = True
    generator: NoiseGenerator | AutoregressiveGenerator
    averaged: NoiseGenerator | AutoregressiveGenerator
    discriminator: Discriminator

    def __init__(
        self,
        objective: str,
        gradient_penalty: float = 10.0,
        penalty_share: float = 1.0,
        weight_clip: float = 0.0,
        critic_steps: int = 1,
        label_smoothing: float = 0.0,
        instance_noise: float = 0.0,
        feature_matching: float = 0.0,
        likelihood_weight: float = 0.0,
        ema: float = 0.995,
        temperature: float = 1.0,
        final_temperature: float = 1.0,
        anneal_steps: int = 1000,
        condition_dropout: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if self.compute_dtype != "float32":
            raise ValueError(f"A GAN computes in float32. Received: precision={self.dtype_policy.name!r}")
        self.supports_jit = False  # A generator's loop has no fixed length.
        self.objective = adversarial.objective(objective)
        self.gradient_penalty = gradient_penalty
        self.penalty_share = penalty_share
        self.weight_clip = weight_clip
        self.critic_steps = critic_steps
        self.label_smoothing = label_smoothing
        self.instance_noise = instance_noise
        self.feature_matching = feature_matching
        self.likelihood_weight = likelihood_weight
        self.ema = ema
        self.temperature = temperature
        self.final_temperature = final_temperature
        self.anneal_steps = anneal_steps
        self._check()
        self.conditions = Conditions(condition_dropout, dtype=self.dtype_policy, name="conditions")
        self.discriminator_optimizer = None
        self.random = keras.random.SeedGenerator()
        self.figures = {name: keras.metrics.Mean(name=name) for name in FIGURES}
        self.loss_mean = keras.metrics.Mean(name="loss")

    def get_config(self):
        """Constructor arguments."""
        names = (
            *("gradient_penalty", "penalty_share", "weight_clip", "critic_steps", "label_smoothing", "instance_noise"),
            *("feature_matching", "likelihood_weight", "ema", "temperature", "final_temperature", "anneal_steps"),
        )
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "objective": self.objective.name,
            "condition_dropout": self.conditions.drop,
        }

    def _check(self):
        """Refuse arguments that are out of their range."""
        weights = ("gradient_penalty", "weight_clip", "instance_noise", "feature_matching", "likelihood_weight")
        for name, limit in {**dict.fromkeys(weights, 0), "critic_steps": 1}.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} is at least {limit}. Received: {name}={getattr(self, name)}")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is 0 or more and below 1. Received: {name}={getattr(self, name)}")
        if not 0 < self.penalty_share <= 1:
            raise ValueError(f"penalty_share is above 0, 1 at most. Received: penalty_share={self.penalty_share}")
        if min(self.temperature, self.final_temperature) <= 0:
            raise ValueError(
                "Temperatures are above 0. "
                f"Received: temperature={self.temperature}, final_temperature={self.final_temperature}"
            )

    def scores(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What the discriminator says of a batch, float32 `(batch,)`, the higher the more real; a sum over scales."""
        self.ensure_built()
        notes = self.frame.notes(self.frame.events(batch)[0][:, 1:])
        return tf.reduce_sum(self.discriminator(notes, batch, batch["mask"]).scores, -1)

    def build_optimizers(self):
        """See `FrameModel`."""
        self.optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def train_step(self, batch):
        """Steps of the discriminator, then one of the generator against it; and the figures of both.

        The last step of the discriminator and that of the generator are on the same generated notes.
        """
        known = self.conditions.forget(batch)
        real = self._real(batch)
        for _ in range(self.critic_steps - 1):
            self._critic_step(real, self._fake(self.generator, known), known, batch["mask"])
        with tf.GradientTape() as tape:
            fake = self._fake(self.generator, known)
            figures = self._critic_step(real, tf.stop_gradient(fake), known, batch["mask"])
            verdict = self._hear(fake, known, batch["mask"])
            loss = tf.reduce_mean(tf.reduce_sum(self.objective.generator_loss(verdict.scores), -1))
            if self.feature_matching:
                wanted = self._hear(real, known, batch["mask"]).features
                distance = tf.reduce_mean(tf.stop_gradient(wanted), 0) - tf.reduce_mean(verdict.features, 0)
                loss += self.feature_matching * tf.reduce_sum(distance**2)
            if self.likelihood_weight:
                log_p = self.generator(batch, training=True)["frame"]
                loss -= self.likelihood_weight * tf.reduce_sum(log_p * batch["mask"]) / tf.reduce_sum(batch["mask"])
            scaled = self.optimizer.scale_loss(loss)
        variables = self.generator.trainable_variables
        gradients = tape.gradient(scaled, variables, unconnected_gradients="zero")
        self.optimizer.apply(gradients, variables)
        for mean, now in zip(self.averaged.weights, self.generator.weights, strict=True):
            mean.assign(self.ema * mean + (1 - self.ema) * now)
        figures |= {"generator_loss": loss, "generator_gradient_norm": tf.linalg.global_norm(gradients)}
        return self._results(batch, figures) | {"updates": tf.cast(self.optimizer.iterations, tf.float32)}

    def test_step(self, batch):
        """The losses and the gap on held-out windows, of the averaged generator; where it has one, its likelihood."""
        real, fake = self._real(batch), self._fake(self.averaged, batch)
        loss, figures = self._critic_loss(real, fake, batch, batch["mask"])
        scores = self._hear(fake, batch, batch["mask"]).scores
        figures |= {"generator_loss": tf.reduce_mean(tf.reduce_sum(self.objective.generator_loss(scores), -1))}
        results = self._results(batch, figures | {"critic_loss": loss})
        if self.likelihood:
            nats = -tf.reshape(self.averaged(batch, training=False)["frame"], [-1])
            self.nats_per_frame.update_state(nats, sample_weight=tf.reshape(batch["mask"], [-1]))
            results |= {"nats_per_frame": self.nats_per_frame.result()}
        return results

    def _critic_step(self, real, fake, known, mask) -> dict[str, tf.Tensor]:
        """A step of the discriminator, and its figures."""
        with tf.GradientTape() as tape:
            loss, figures = self._critic_loss(real, fake, known, mask, training=True)
            scaled = self.discriminator_optimizer.scale_loss(loss)
        variables = self.discriminator.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.discriminator_optimizer.apply(gradients, variables)
        if self.weight_clip:
            for variable in variables:
                variable.assign(tf.clip_by_value(variable, -self.weight_clip, self.weight_clip))
        return figures | {"critic_loss": loss, "critic_gradient_norm": tf.linalg.global_norm(gradients)}

    def _critic_loss(self, real, fake, known, mask, training=False):
        """The discriminator's loss, its penalty included, and its figures."""
        scores = [self._hear(notes, known, mask, training).scores for notes in (real, fake)]
        loss = tf.reduce_mean(tf.reduce_sum(self.objective.critic_loss(*scores, self.label_smoothing), -1))
        gap = tf.reduce_mean(tf.reduce_sum(scores[0] - scores[1], -1))
        some = tf.cast(tf.math.ceil(self.penalty_share * tf.cast(tf.shape(mask)[0], tf.float32)), tf.int32)
        real, fake, known, mask = tf.nest.map_structure(lambda x: x[:some], (real, fake, dict(known), mask))
        at = self.objective.penalized(real, fake, self._seed())
        # With dropout, which would make the slopes steeper than those held down. Spectral normalisation stays as it is:
        # it changes kernels, and there would be no one function to derive.
        slopes = adversarial.slopes(
            lambda notes: self.discriminator(notes, known, mask, training=training, iterate=False).scores, at
        )
        loss += self.gradient_penalty * tf.reduce_mean(self.objective.penalty(slopes))
        return loss, {"critic_gap": gap, "critic_slope": tf.reduce_mean(slopes)}

    def _hear(self, notes, known, mask, training=False):
        """What the discriminator says, through instance noise."""
        if self.instance_noise:
            noise = tf.random.stateless_normal(tf.shape(notes), self._seed())
            notes += self.instance_noise * (1 - self._progress()) * noise
        return self.discriminator(notes, known, mask, training=training)

    def _fake(self, generator, known):
        """Generated notes for the conditions of a batch, that gradients pass through."""
        noise = generator.draw_noise(*tf.unstack(tf.shape(known["position"])), self._seed())
        temperature = self.temperature + self._progress() * (self.final_temperature - self.temperature)
        return generator.relaxed(noise, known, temperature=temperature, seed=self._seed())

    def _progress(self):
        """How much of `anneal_steps` is over, 0 to 1."""
        return tf.minimum(1.0, tf.cast(self.optimizer.iterations, tf.float32) / max(self.anneal_steps, 1))

    def _real(self, batch):
        """The notes of a batch without those for which the generator has no voice."""
        events, _, dropped = self.frame.events(batch)
        self.dropped_notes.update_state(dropped[:, 1:])
        return self.frame.notes(events[:, 1:])

    def _seed(self):
        """A seed for one draw, int32 `(2,)`."""
        return tf.cast(self.random.next(), tf.int32)

    def _results(self, batch, figures) -> dict[str, tf.Tensor]:
        """Metrics after the figures of a step, means over examples."""
        count = tf.shape(batch["mask"])[0]
        for name, figure in figures.items():
            self.figures[name].update_state(figure, sample_weight=count)
        self.loss_mean.update_state(figures["generator_loss"] + figures["critic_loss"], sample_weight=count)
        found = [self.loss_mean, *(self.figures[name] for name in figures), self.dropped_notes]
        return {metric.name: metric.result() for metric in found}
