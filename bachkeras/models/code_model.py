"""What models with codes share: the verbs of codes, and how a prior goes on from a primer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow as tf

from bachkeras.data.pipeline import UNKNOWN
from bachkeras.layers.frame.base import FREE, Sounding, between
from bachkeras.layers.quantizer import VectorQuantizer
from bachkeras.models.code_prior import CodePrior
from bachkeras.models.latent import LatentModel

CANDIDATES = 64
"""Codes that are tried for a group of which a primer has a part."""


class CodeModel(LatentModel):
    """A model that writes codes first, one of each codebook for a group of frames; see `FrameModel`, codes.

    A subclass makes `quantizers` and `prior` and answers `_quantized(sounding, mask, tonic, training)`: the vectors of
    the codes of frames, `(batch, groups, codebooks, size)`, the codes, and the sum of the quantizers' losses.

    Attributes:
        group_size: frames of a group.
        quantizers: one for each codebook.
        prior: of the codes.
    """

    latent_name = "codes"
    part_name = "group"
    more_conditions: ClassVar = {"codes": tf.TensorSpec((None, None, None), tf.int32)}
    group_size: int
    quantizers: Sequence[VectorQuantizer]
    prior: CodePrior

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._encode = tf.function(self._encode_graph, autograph=False, reduce_retracing=True)
        self._prior_log_p = tf.function(self._prior_graph, autograph=False, reduce_retracing=True)
        self._weigh = tf.function(self._weigh_graph, autograph=False, reduce_retracing=True)

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """Codes of each codebook."""
        return tuple(quantizer.codes for quantizer in self.quantizers)

    def log_prob(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """A lower bound of the log probability of what sounds, in nats, float32 `(batch,)`; see `log_probs`."""
        parts = self.log_probs(batch)
        return parts["frame"] + parts["latent"]

    def log_probs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The two parts of the bound, float32 `(batch,)` each: `frame`, log p(x|codes), and `latent`, log p(codes).

        Padded frames do not count.

        Raises:
            ValueError: if a frame has more notes than the model has voices.
        """
        self._check_fit("batch", batch)
        codes = self.codes(batch)
        frame = self._weigh(codes, self.frame.read(batch), conditions_in(batch))
        return {"frame": tf.reduce_sum(frame * batch["mask"], 1), "latent": self._prior_sums(batch, codes)}

    def codes(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The codes of a batch's groups, int32 `(batch, groups, codebooks)`; see `FrameModel`."""
        self.ensure_built()
        return self._encode(dict(batch))

    def code_log_prob(self, batch: Mapping[str, tf.Tensor], codes: tf.Tensor | None = None) -> tf.Tensor:
        """Log probability of a batch's codes under the prior, in nats, float32 `(batch,)`; see `FrameModel`.

        Args:
            batch: of `codes` its mask and conditions alone are read.
            codes: int32 `(batch, groups, codebooks)`; None: the batch's own.
        """
        codes = self.codes(batch) if codes is None else self._enough(codes, *batch["mask"].shape)
        return self._prior_sums(batch, codes)

    def _prior_sums(self, batch, codes):
        return tf.reduce_sum(self._prior_log_p(codes, conditions_in(batch)) * self._counted(batch["mask"]), 1)

    def _encode_graph(self, batch):
        return self._coded(batch, batch["tonic"])[1]

    def _prior_graph(self, codes, known, training=False):
        """Log probability of each group's codes, float32 `(batch, groups)`."""
        return self.prior({"codes": codes, **self._by_group(known)}, training=training)

    def _weigh_graph(self, codes, sounding, known):
        return self._log_p(self._vectors(codes), sounding, known)

    def _by_group(self, known):
        """The conditions of groups: those of their first frames."""
        known = conditions_in(known)
        return known | {"position": known["position"][:, :: self.group_size]}

    def _coded(self, batch, tonic, training=False):
        """Vectors of codes `(batch, groups, codebooks, size)`, codes, and the losses of all codebooks."""
        now = between(self.frame.read(batch), 1, None)
        return self._quantized(now, tf.cast(batch["mask"], tf.float32), tonic, training)

    def _decoded(self, latent, batch, known, training=None):
        return self._log_p(self._vectors(latent), self.frame.read(batch), known, training)

    def _inferred(self, batch):
        return self.codes(batch)

    def _checked(self, codes) -> tf.Tensor:
        """Codes as int32 `(count, groups, codebooks)`."""
        codes = tf.convert_to_tensor(codes)
        codes = codes[:, None] if codes.shape.rank == 2 else codes
        books = len(self.quantizers)
        if not codes.dtype.is_integer or codes.shape.rank != 3 or codes.shape[-1] != books:
            raise ValueError(
                f"Codes are whole numbers (count, {books}) or (count, groups, {books}). "
                f"Received: codes.shape={codes.shape}, codes.dtype={codes.dtype.name}"
            )
        codes, sizes = tf.cast(codes, tf.int32), tf.constant(self.code_sizes)
        if tf.reduce_any((codes < 0) | (codes >= sizes)):
            found = f"{int(tf.reduce_min(codes))} to {int(tf.reduce_max(codes))}"
            raise ValueError(f"A code is 0 to {min(self.code_sizes) - 1}. Received: codes={found}")
        return codes

    def _drawn(self, primed, known, parts, sampling):
        """The codes of the primer's groups, then draws from the prior.

        Of a group that the primer has begun, some draws are tried, and one is kept by how well it fits the frames that
        are there (sampling importance resampling, Rubin 1987): a draw from p(codes | codes before, frames).
        """
        count, heard = tf.shape(primed.events)[0], tf.shape(primed.events)[1] - 1
        groups = heard // self.group_size
        given = tf.fill((count, parts, len(self.quantizers)), FREE)

        def whole():
            frames = groups * self.group_size
            own = self._quantized(between(primed, 1, frames + 1), tf.ones((count, frames)), known["tonic"])[1]
            return tf.concat([own, given[:, groups:]], 1)

        given = tf.cond(groups > 0, whole, lambda: given)
        begun = heard % self.group_size > 0
        given = tf.cond(begun, lambda: self._fitted(primed, known, given, heard, sampling), lambda: given)
        return self._write_codes(known, given, sampling, sampling.seed)

    def _write_codes(self, known, given, sampling, seed):
        return self.prior.write(self._by_group(known), given, sampling.temperature, sampling.top_p, seed)

    def _fitted(self, primed, known, given, heard, sampling):
        """`given`, with codes for the group that the primer has begun; see `_drawn`."""
        groups = heard // self.group_size

        def fit(i):
            rows = tf.fill([CANDIDATES], i)
            many = {name: tf.gather(value, rows) for name, value in known.items()}
            many["position"] = many["position"][:, :heard]
            seed = tf.random.experimental.stateless_fold_in([sampling.seed, -2], i)
            drawn = self._write_codes(many, tf.gather(given, rows)[:, : groups + 1], sampling, seed[0] & 0x7FFFFFFF)
            music = Sounding(*(tf.gather(x, rows) for x in primed))
            log_p = self._weigh(drawn, music, many)[:, groups * self.group_size :]
            kept = tf.random.stateless_categorical(tf.reduce_sum(log_p, 1)[None], 1, seed, tf.int32)[0, 0]
            return drawn[kept, groups]

        # One by one: the candidates of all would not fit into memory.
        fitted = tf.map_fn(fit, tf.range(tf.shape(given)[0]), parallel_iterations=1)
        return tf.concat([given[:, :groups], fitted[:, None], given[:, groups + 1 :]], 1)


def conditions_in(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The conditions in a batch."""
    return {name: tf.cast(batch[name], tf.int32) for name in UNKNOWN}
