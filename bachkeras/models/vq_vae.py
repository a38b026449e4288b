"""The VQ-VAE: groups of frames as codes, and a prior that writes codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import keras
import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.layers.conditions import Conditions
from bachkeras.layers.core import RecurrentCore
from bachkeras.layers.frame import ChainedVoices, FrameDistribution
from bachkeras.layers.group_encoder import GroupEncoder
from bachkeras.layers.quantizer import VectorQuantizer
from bachkeras.models.code_metrics import CodePerplexity, CodesUsed
from bachkeras.models.code_model import CodeModel
from bachkeras.models.code_prior import CodePrior
from bachkeras.models.latent import SIGNAL
from bachkeras.models.two_optimizers import TwoOptimizers

CODEC, PRIOR = "codec", "prior"


@keras.saving.register_keras_serializable(package="bachkeras")
class VQVAE(TwoOptimizers, CodeModel):
    """A vector-quantised variational autoencoder over groups of frames, with an LSTM prior over the codes.

    A group of `group_size` frames, counted from a piece's first, becomes `codebooks` codes, each one of `codes`; each
    codebook stands for its share of the group's frames, so `codebooks=1` is one code for the whole group. The encoder
    (`GroupEncoder`) hears a group moved to the tonic C, where the tonic is known, so that the same music has the same
    codes in every key; the decoder (`LatentModel`) hears the codes, the frames before and the key.

    What a piece costs is a bound of its log probability, codes first (van den Oord et al. 2017, section 3.2):

        log p(x) >= sum_g log p(codes_g | codes_{<g}) + sum_t log p(x_t | codes, x_{<t}),   codes = codes(x)

    It is trained in two stages (`stage`). "codec": encoder, codebooks and decoder, by equation 3 of the paper,

        -log p(x|codes) / frames + sum over codebooks of [||sg[z] - e||^2 +] commitment ||z - sg[e]||^2 / groups

    "prior": the codec stays as it is, and the prior learns its codes.

    Args:
        hidden: width of encoder and decoder.
        layers: LSTMs of the decoder.
        codes: codes of each codebook.
        codebooks: codes of a group; divides `group_size`.
        group_size: frames of a group.
        size: numbers of a code's vector.
        commitment: see `VectorQuantizer`.
        codebook: see `VectorQuantizer`.
        decay: see `VectorQuantizer`.
        reseed: see `VectorQuantizer`.
        data_start: see `VectorQuantizer`.
        frame_dropout: share of the past frames that training hides from the decoder, so that it listens to the codes.
        dropout: share dropped in the decoder.
        condition_dropout: share of the examples for which training makes mode, timestep or position unknown.
        tonic_dropout: likewise the tonic; the codes of such an example are those of the key that it is in.
        l2: L2 penalty of the kernels of decoder and prior.
        prior_hidden: width of the prior.
        prior_layers: LSTMs of the prior.
        prior_dropout: see `CodePrior`.
        frame: the frame distribution; None: `ChainedVoices()`, four voices.

    Attributes:
        prior: the `CodePrior`.
        stage: which part `fit` trains, "codec" or "prior".
    """

    second_optimizer = "prior_optimizer"
    optimizers: ClassVar = ("training", "prior")
    monitors: ClassVar = {CODEC: "val_reconstruction_nats", PRIOR: "val_nats_per_frame"}

    def __init__(
        self,
        hidden: int = 256,
        layers: int = 1,
        codes: int = 512,
        codebooks: int = 4,
        group_size: int = 4,
        size: int = 32,
        commitment: float = 0.25,
        codebook: str = "ema",
        decay: float = 0.99,
        reseed: float = 0.1,
        data_start: bool = True,
        frame_dropout: float = 0.8,
        dropout: float = 0.1,
        condition_dropout: float = 0.1,
        tonic_dropout: float = 0.0,
        l2: float = 0.0,
        prior_hidden: int = 256,
        prior_layers: int = 2,
        prior_dropout: float = 0.4,
        frame: FrameDistribution | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if min(codebooks, group_size) < 1 or group_size % codebooks:
            raise ValueError(
                "Each codebook has the same share of a group's frames. "
                f"Received: codebooks={codebooks}, group_size={group_size}"
            )
        if not 0 <= frame_dropout <= 1 or not 0 <= tonic_dropout <= 1:
            raise ValueError(
                "frame_dropout and tonic_dropout are shares. "
                f"Received: frame_dropout={frame_dropout}, tonic_dropout={tonic_dropout}"
            )
        policy = self.dtype_policy  # A reload has no global policy to inherit it from.
        self.group_size = self.span = group_size
        self.frame_dropout = frame_dropout
        self.tonic_dropout = tonic_dropout
        self.random = keras.random.SeedGenerator()
        self.conditions = Conditions(condition_dropout, dtype=policy, name="conditions")
        self.encoder = GroupEncoder(codebooks, size, hidden, dtype=policy, name="encoder")
        self.quantizers = [
            VectorQuantizer(codes, commitment, codebook, decay, reseed, data_start, name=f"quantizer_{c}")
            for c in range(codebooks)
        ]
        self.signal_dense = keras.layers.Dense(group_size * SIGNAL, dtype=policy, name="signals")
        self.core = RecurrentCore(hidden, layers, 0, dropout=dropout, l2=l2, dtype=policy, name="core")
        self.frame = ChainedVoices(dropout=dropout, dtype=policy, name="frame") if frame is None else frame
        self.prior = CodePrior(
            codes, codebooks, size, prior_hidden, prior_layers, prior_dropout, 0.0, l2, dtype=policy, name="prior"
        )
        self._stage = CODEC
        self.prior_optimizer = None
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.reconstruction_nats = keras.metrics.Mean(name="reconstruction_nats")
        self.commitment_loss = keras.metrics.Mean(name="commitment")
        self.prior_nats = keras.metrics.Mean(name="prior_nats_per_code")
        self.code_figures = [CodePerplexity(codebooks, codes), CodesUsed(codebooks, codes)]

    def get_config(self):
        """Constructor arguments."""
        first, prior = self.quantizers[0], self.prior
        return {
            **super().get_config(),
            **{name: getattr(self.core, name) for name in ("hidden", "layers", "dropout", "l2")},
            **{name: getattr(self.encoder, name) for name in ("codebooks", "size")},
            **{name: getattr(first, name) for name in ("codes", "commitment", "codebook", "decay", "reseed")},
            "data_start": first.data_start,
            "group_size": self.group_size,
            "frame_dropout": self.frame_dropout,
            "tonic_dropout": self.tonic_dropout,
            "condition_dropout": self.conditions.drop,
            **{f"prior_{name}": getattr(prior.core, name) for name in ("hidden", "layers", "dropout")},
            "frame": keras.saving.serialize_keras_object(self.frame),
        }

    def build(self, input_shape=None):
        """Create every weight; they depend on no input's shape."""
        vectors = (None, self.encoder.size)
        self.encoder.build((None, self.group_size, self.frame.feature_size))
        for quantizer in self.quantizers:
            quantizer.build(vectors)
        self.signal_dense.build((None, None, len(self.quantizers) * self.encoder.size))
        self.core.build((None, None, self.frame.feature_size + self.conditions.size + SIGNAL))
        if not self.frame.built:  # Keras restores a saved frame with its weights already made.
            self.frame.build((None, None, self.core.hidden))
        self.prior.build()
        self.built = True

    @property
    def stage(self) -> str:
        """Which part `fit` trains; the prior learns the codes of the codec as it is when its stage begins."""
        return self._stage

    @stage.setter
    def stage(self, stage: str):
        if stage not in self.monitors:
            raise ValueError(f"The stages are {', '.join(self.monitors)}. Received: stage={stage!r}")
        self.ensure_built()
        self._stage = stage
        self.train_function = self.test_function = None  # Keras keeps compiled steps: they are the other stage's.
        if stage == PRIOR:
            self.prior.frame.vectors.assign(tf.stack([tf.convert_to_tensor(q.embeddings) for q in self.quantizers]))

    def get_compile_config(self):
        """Both optimizers, and the stage."""
        config = super().get_compile_config()
        return config and config | {"stage": self.stage}

    def compile_from_config(self, config):
        """Both optimizers, with their variables, and the stage."""
        config = dict(config)
        stage = config.pop("stage", CODEC)
        super().compile_from_config(config)
        self.stage = stage

    def build_optimizers(self):
        """See `FrameModel`."""
        self.optimizer.build(self._codec_variables())
        self.prior_optimizer.build(self.prior.trainable_variables)

    def _codec_variables(self):
        own = {id(variable) for variable in self.prior.trainable_variables}
        return [variable for variable in self.trainable_variables if id(variable) not in own]

    def call(self, batch: Mapping[str, tf.Tensor], training=None) -> dict[str, tf.Tensor]:
        """The parts of the bound.

        Args:
            batch: see `FrameModel.call`; of any length.
            training: whether to drop; the codebooks learn in `fit` alone.

        Returns:
            `frame` float32 `(batch, time)`, log p of what sounds given the codes and the frames before; `latent`
            float32 `(batch, groups)`, log p of the codes; `codes` int32 `(batch, groups, codebooks)`. Those of padded
            groups do not matter.
        """
        known = self._forget(batch) if training else batch
        codes = self._coded(batch, known["tonic"])[1]
        return {
            "frame": self._decoded(codes, batch, known, training),
            "latent": self._prior_graph(codes, known, training),
            "codes": codes,
        }

    def train_step(self, batch):
        """A step of the stage: its loss, its gradients, its optimizer; and its figures."""
        return self._codec_step(batch) if self.stage == CODEC else self._prior_step(batch)

    def _codec_step(self, batch):
        known = self._forget(batch)
        with tf.GradientTape() as tape:
            loss, *_ = self._codec_loss(batch, known, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self._codec_variables()
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        reseeded = tf.add_n([tf.convert_to_tensor(quantizer.reseeded) for quantizer in self.quantizers])
        return self._results(loss, batch, *self._codec_figures()) | {"reseeded_codes": reseeded}

    def _prior_step(self, batch):
        known = self._forget(batch)
        codes = self._coded(batch, known["tonic"])[1]
        with tf.GradientTape() as tape:
            loss, _ = self._prior_loss(codes, batch, known, training=True)
            scaled = self.prior_optimizer.scale_loss(loss)
        variables = self.prior.trainable_variables
        self.prior_optimizer.apply(tape.gradient(scaled, variables), variables)
        return self._results(loss, batch, self.prior_nats)

    def test_step(self, batch):
        """The figures of both stages and the loss of this one; before its own stage the prior knows nothing."""
        codec_loss, codes, nats = self._codec_loss(batch, batch)
        prior_loss, code_nats = self._prior_loss(codes, batch, batch)
        frames = tf.maximum(tf.reduce_sum(batch["mask"]), 1.0)
        self.nats_per_frame.update_state((nats + code_nats) / frames, sample_weight=frames)
        loss = codec_loss if self.stage == CODEC else prior_loss
        return self._results(loss, batch, self.nats_per_frame, *self._codec_figures(), self.prior_nats)

    def _codec_loss(self, batch, known, training=False):
        """The loss of the first stage, the codes, and the nats of the frames."""
        quantized, codes, commitment = self._coded(batch, known["tonic"], training)
        log_p = self._log_p(quantized, self.frame.read(batch), known, training)
        nats = -tf.reduce_sum(log_p * batch["mask"])
        frames = tf.maximum(tf.reduce_sum(batch["mask"]), 1.0)
        self.reconstruction_nats.update_state(nats / frames, sample_weight=frames)
        self.commitment_loss.update_state(commitment)
        self.dropped_notes.update_state(self.frame.events(batch)[2][:, 1:])
        for figure in self.code_figures:
            figure.update_state(codes, sample_weight=self._counted(batch["mask"]))
        return tf.add_n([nats / frames, commitment, *_penalties(self.core)]), codes, nats

    def _prior_loss(self, codes, batch, known, training=False):
        """The loss of the second stage, per group, and the nats of the codes."""
        counted = self._counted(batch["mask"])
        groups = tf.maximum(tf.reduce_sum(counted), 1.0)
        nats = -tf.reduce_sum(self._prior_graph(codes, known, training) * counted)
        books = len(self.quantizers)
        self.prior_nats.update_state(nats / groups / books, sample_weight=groups * books)
        return tf.add_n([nats / groups, *_penalties(self.prior)]), nats

    def _codec_figures(self):
        return self.reconstruction_nats, self.commitment_loss, self.dropped_notes, *self.code_figures

    def _forget(self, batch):
        """Conditions made unknown for training: the tonic, in which the codes are, by a rate of its own."""
        tonic = tf.cast(batch["tonic"], tf.int32)
        gone = keras.random.uniform(tf.shape(tonic), seed=self.random) < self.tonic_dropout
        return self.conditions.forget(batch) | {"tonic": tf.where(gone, UNKNOWN["tonic"], tonic)}

    def _results(self, loss, batch, *figures):
        self.loss_mean.update_state(loss, sample_weight=tf.reduce_sum(batch["mask"]))
        return {figure.name: figure.result() for figure in (self.loss_mean, *figures)}

    def _quantized(self, sounding, mask, tonic, training=False):
        counted = self._counted(mask)
        flat = tf.reshape(counted > 0, [-1])
        groups = tf.reshape(self._in_c(sounding, mask, tonic), (-1, self.group_size, self.frame.feature_size))
        vectors = self.encoder(groups, flat, training=training)
        parts = [
            q(v, flat, training=training) for q, v in zip(self.quantizers, tf.unstack(vectors, axis=1), strict=True)
        ]
        quantized, codes, losses = zip(*parts, strict=True)
        shape = tf.concat([tf.shape(counted), [len(parts)]], 0)
        losses = tf.add_n([loss for each in losses for loss in each.values()])
        return (
            tf.reshape(tf.stack(quantized, 1), tf.concat([shape, [self.encoder.size]], 0)),
            tf.reshape(tf.stack(codes, 1), shape),
            losses,
        )

    def _vectors(self, codes):
        """The vectors of codes, `(batch, groups, codebooks, size)`."""
        return tf.stack([q.lookup(codes[..., c]) for c, q in enumerate(self.quantizers)], -2)

    def _signals(self, latent, known, training=None):
        """What the decoder hears in each frame of codes, or of their vectors: `(batch, frames, SIGNAL)`."""
        latent = tf.convert_to_tensor(latent)
        vectors = latent if latent.shape.rank == 4 else self._vectors(latent)
        batch, groups = tf.unstack(tf.shape(vectors)[:2])
        flat = tf.reshape(vectors, (batch, groups, len(self.quantizers) * self.encoder.size))
        return tf.reshape(self.signal_dense(tf.cast(flat, self.compute_dtype)), (batch, -1, SIGNAL))


def _penalties(part: keras.layers.Layer) -> list[tf.Tensor]:
    return [tf.cast(penalty, tf.float32) for penalty in part.losses]
