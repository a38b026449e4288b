"""What VAEs share: the objective with its devices against collapse, the bounds, the verbs of a Gaussian z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from bachkeras.layers import posterior as gaussian
from bachkeras.layers.frame.base import between
from bachkeras.models.latent import LatentModel
from bachkeras.models.latent_metrics import ActiveUnits


class VAE(LatentModel):
    """A variational autoencoder over windows of some bars (Kingma and Welling 2014).

    A piece is a row of windows, counted from its first frame, each with a z of its own:

        log p(x) >= sum_w E_q [log p(x_w | z_w, x_{<w}, z_{<w})] - KL(q(z_w|x_w) || N(0, 1))

    A decoder that is told every frame before may learn to do without z, and then q(z|x) falls back to N(0, 1):
    posterior collapse. The devices against it in the objective, each off at its default:

    * `beta`, the weight of the KL (Higgins et al. 2017), and `warmup`, the training steps in which it rises to that
      from 0 (Bowman et al. 2016);
    * `free_bits`: below so many nats a window the KL costs as if it were that many, and `free_bits_per_dimension`,
      likewise in each dimension of z (Kingma et al. 2016, equation 15); both of the batch's mean.

    A bar is `frames_per_bar` frames, counted from the beginning of an example; where the music's own bar lines fall is
    told by the condition `position` alone. The best epoch is the one with the lowest validation loss: the objective
    with the whole `beta`.

    A subclass encodes and decodes: `_posterior(batch, tonic, training)`, mean and log variance `(batch, windows,
    latent)`; `_encoded(sounding, mask, tonic, training)`, those of frames; its `call` returns `frame`,
    `mean` and `log_variance`.

    Args:
        latent: dimensions of z.
        bars: bars of a window.
        frames_per_bar: frames of a bar.
        beta: see above.
        warmup: see above.
        free_bits: see above.
        free_bits_per_dimension: see above.

    Attributes:
        window: frames of a window.
    """

    latent_name = "z"
    part_name = "window"
    monitors: ClassVar = {"model": "val_loss"}
    more_conditions: ClassVar = {"z": tf.TensorSpec((None, None, None), tf.float32)}

    def __init__(
        self,
        latent: int,
        bars: int,
        frames_per_bar: int,
        beta: float = 1.0,
        warmup: int = 0,
        free_bits: float = 0.0,
        free_bits_per_dimension: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if min(latent, bars, frames_per_bar) < 1 or min(beta, warmup, free_bits, free_bits_per_dimension) < 0:
            raise ValueError(
                "latent, bars and frames_per_bar are at least 1, beta, warmup and free bits at least 0. Received: "
                f"latent={latent}, bars={bars}, frames_per_bar={frames_per_bar}, beta={beta}, warmup={warmup}, "
                f"free_bits={free_bits}, free_bits_per_dimension={free_bits_per_dimension}"
            )
        self.latent = latent
        self.bars = bars
        self.frames_per_bar = frames_per_bar
        self.window = self.span = bars * frames_per_bar
        self.beta = beta
        self.warmup = warmup
        self.free_bits = free_bits
        self.free_bits_per_dimension = free_bits_per_dimension
        self.reconstruction_nats = keras.metrics.Mean(name="reconstruction_nats")
        self.kl_nats = keras.metrics.Mean(name="kl_nats")
        self.active_units = ActiveUnits(latent)
        self._encode = tf.function(self._encode_graph, autograph=False, reduce_retracing=True)
        self._weigh = tf.function(self._weigh_graph, autograph=False, reduce_retracing=True)

    def get_config(self):
        """Constructor arguments."""
        names = ("latent", "bars", "frames_per_bar", "beta", "warmup", "free_bits", "free_bits_per_dimension")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Reconstruction and KL of a batch in nats per frame, the KL as the devices weigh it; see the class.

        The metric `nats_per_frame` has the bound, the KL at weight 1, `reconstruction_nats` its first part, per frame,
        `kl_nats` the KL of a window.
        """
        mask = tf.cast(x["mask"], tf.float32)
        counted = self._counted(mask)
        frames, windows = (tf.maximum(tf.reduce_sum(w), 1.0) for w in (mask, counted))
        nats = -tf.reduce_sum(tf.cast(y_pred["frame"], tf.float32) * mask)
        dimensions = gaussian.kl(y_pred["mean"], y_pred["log_variance"]) * counted[..., None]
        dimensions = tf.reduce_sum(dimensions, [0, 1]) / windows
        kl = tf.reduce_sum(dimensions)
        self.dropped_notes.update_state(self.frame.events(x)[2][:, 1:])
        self.nats_per_frame.update_state((nats + kl * windows) / frames, sample_weight=frames)
        self.reconstruction_nats.update_state(nats / frames, sample_weight=frames)
        self.kl_nats.update_state(kl, sample_weight=windows)
        self.active_units.update_state(y_pred["mean"], sample_weight=counted)
        paid = tf.reduce_sum(tf.maximum(dimensions, self.free_bits_per_dimension))
        weighed = self._beta(training) * tf.maximum(paid, self.free_bits) * windows
        return tf.add_n([(nats + weighed) / frames, *(tf.cast(penalty, tf.float32) for penalty in self.losses)])

    def _beta(self, training) -> tf.Tensor | float:
        """The weight of the KL: while training it rises for `warmup` steps."""
        if not training or not self.warmup:
            return self.beta
        return self.beta * tf.minimum(1.0, tf.cast(self.optimizer.iterations, tf.float32) / self.warmup)

    def log_prob(self, batch: Mapping[str, tf.Tensor], samples: int = 1, seed: int = 0) -> tf.Tensor:
        """A lower bound of the log probability of what sounds in each example, in nats, float32 `(batch,)`.

        With one sample the evidence lower bound, an estimate of it from one draw of z; with K the importance-weighted
        one, tighter (Burda et al. 2016, equation 8): log 1/K sum_k p(x, z_k) / q(z_k|x). Padded frames do not count.
        The draws of an example depend on its place in the batch.

        Args:
            batch: see `call`.
            samples: K, the draws of z.
            seed: of the draws.

        Raises:
            ValueError: if a frame has more notes than the model has voices, or there is no sample.
        """
        if samples == 1:
            terms = self.log_probs(batch, seed)
            return terms["frame"] + terms["latent"]
        if samples < 1:
            raise ValueError(f"There is at least one sample. Received: samples={samples}")
        encoded = self._fitting(batch)
        ratios = [self._weigh(dict(batch), *encoded, tf.constant([seed, k]))[1] for k in range(samples)]
        return tf.reduce_logsumexp(tf.stack(ratios), 0) - tf.math.log(float(samples))

    def log_probs(self, batch: Mapping[str, tf.Tensor], seed: int = 0) -> dict[str, tf.Tensor]:
        """The two parts of the bound, float32 `(batch,)` each: `frame`, log p(x|z), and `latent`, -KL(q || p)."""
        return self._weigh(dict(batch), *self._fitting(batch), tf.constant([seed, 0]))[0]

    def _fitting(self, batch):
        """The posteriors of a batch whose notes fit the voices."""
        self._check_fit("batch", batch)
        return self.posteriors(batch)

    def _encode_graph(self, batch):
        return self._posterior(batch, batch["tonic"], training=False)

    def _weigh_graph(self, batch, mean, log_variance, seed):
        """The parts of the bound from one draw of z, and log p(x, z) / q(z|x)."""
        z = mean + tf.random.stateless_normal(tf.shape(mean), seed) * tf.exp(log_variance / 2)
        counted = self._counted(batch["mask"])
        frame = tf.reduce_sum(self._decoded(z, batch, batch) * batch["mask"], 1)
        kl = tf.reduce_sum(gaussian.kl(mean, log_variance), -1)
        ratio = gaussian.log_density(z) - gaussian.log_density(z, mean, log_variance)
        parts = {"frame": frame, "latent": -tf.reduce_sum(kl * counted, 1)}
        return parts, frame + tf.reduce_sum(ratio * counted, 1)

    def posterior(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """q(z|x) of each example: mean and logarithm of the variance, float32 `(batch, latent)` each.

        Args:
            batch: examples of one window at the most; longer music is cut by `Corpus.windows(model.window)`.

        Raises:
            ValueError: if they are longer.
        """
        frames = batch["mask"].shape[1]
        if frames > self.window:
            raise ValueError(
                f"A z is that of a window, {self.window} frames: cut the music into windows. Received: time={frames}"
            )
        mean, log_variance = self.posteriors(batch)
        return mean[:, 0], log_variance[:, 0]

    def posteriors(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """q(z|x) of each window of examples of any length, float32 `(batch, windows, latent)` each; see `posterior`.

        Those of padded windows do not matter.
        """
        self.ensure_built()
        return self._encode(dict(batch))

    def _checked(self, z) -> tf.Tensor:
        """Latents as float32 `(count, windows, latent)`."""
        z = tf.cast(z, tf.float32)
        z = z[:, None] if z.shape.rank == 2 else z
        if z.shape.rank != 3 or z.shape[-1] != self.latent:
            raise ValueError(
                f"z is (count, {self.latent}) or (count, windows, {self.latent}). Received: z.shape={z.shape}"
            )
        return z

    def interpolate(self, a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
        """Points from one z to another, both ends included, float32 `(steps, ..., latent)`; see `decode`.

        On the great circle (White 2016): between two draws from N(0, 1) the points of a straight line are shorter
        than any draw.

        Args:
            a: z, `(latent,)`, or `(windows, latent)` for a piece of several windows.
            b: z of the same shape.
            steps: number of points, at least 2.
        """
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        if a.shape != b.shape or a.shape[-1:] != (self.latent,) or steps < 2:
            raise ValueError(
                f"Two z of one shape, (..., {self.latent}), and two steps or more. "
                f"Received: a.shape={a.shape}, b.shape={b.shape}, steps={steps}"
            )
        return np.stack([_slerp(a, b, t) for t in np.linspace(0, 1, steps)])

    def attribute_vector(self, having: Mapping[str, tf.Tensor], lacking: Mapping[str, tf.Tensor]) -> np.ndarray:
        """What a z gains where music has an attribute: add it to a z, or subtract it; float32 `(latent,)`.

        The difference of the mean z of two sets of windows (MusicVAE, Roberts et al. 2018, section 5.4), such as
        pieces in major and in minor, or with many notes and with few.

        Args:
            having: a batch of windows with the attribute.
            lacking: one without.
        """
        means = [tf.reduce_mean(self.posterior(batch)[0], 0) for batch in (having, lacking)]
        return (means[0] - means[1]).numpy()

    def _inferred(self, batch):
        return self.posteriors(batch)[0]

    def _drawn(self, primed, known, parts, sampling):
        """The means of the posteriors of the primer's windows, then draws from the prior."""
        count, frames = tf.shape(primed.events)[0], tf.shape(primed.events)[1] - 1
        z = tf.random.stateless_normal((count, parts, self.latent), [sampling.seed, -1])

        def begun():
            now = between(primed, 1, None)
            own = self._encoded(now, tf.ones((count, frames)), known["tonic"], training=False)[0]
            return tf.concat([own, z[:, tf.shape(own)[1] :]], 1)

        return tf.cond(frames > 0, begun, lambda: z)


def _slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """The point at `t` of the arc from a to b, `(..., latent)`, of a length between theirs."""
    lengths = [np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9) for x in (a, b)]
    units = [x / length for x, length in zip((a, b), lengths, strict=True)]
    angle = np.arccos(np.clip(np.sum(units[0] * units[1], -1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    straight = sine < 1e-4  # On one line there is no arc, or no single one.
    weights = [np.where(straight, s, np.sin(s * angle) / np.where(straight, 1, sine)) for s in (1 - t, t)]
    length = lengths[0] ** (1 - t) * lengths[1] ** t
    return (length * (weights[0] * units[0] + weights[1] * units[1])).astype(np.float32)
