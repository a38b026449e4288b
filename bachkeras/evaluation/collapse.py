"""Is a latent space alive? What a model's latents carry, and whether its decoder listens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from bachkeras.evaluation import codes
from bachkeras.models.latent_metrics import ACTIVE

if TYPE_CHECKING:
    from bachkeras.data.pipeline import Corpus
    from bachkeras.models.base import FrameModel


class Diverged(ArithmeticError):
    """A model's weights or its probabilities are not finite: it is not quoted."""


RESAMPLES = 5000
"""Bootstrap samples behind an interval."""

_BLOCK = 256
"""Rows of a matrix over all pairs that are in memory together."""


def kl(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """KL(q(z|x) || N(0, 1)) of each example in nats, summed over the dimensions: float64 `(n,)`.

        KL = 1/2 sum_d (mean_d^2 + variance_d - 1 - log variance_d)

    Kingma and Welling 2014, appendix B.

    Args:
        mean: posterior means `(n, latent)`.
        log_variance: logarithms of the posterior variances `(n, latent)`.
    """
    mean, log_variance = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    return 0.5 * np.sum(mean**2 + np.expm1(log_variance) - log_variance, axis=1)


def active_units(mean: np.ndarray) -> int:
    """Dimensions with Var_x(E[z|x]) >= 0.01 over examples, after Burda et al. 2016, section 5.2.

    Args:
        mean: posterior means `(n, latent)`. One example has no active unit.
    """
    return int(np.sum(np.var(np.asarray(mean, np.float64), axis=0) >= ACTIVE))


def draw(mean: np.ndarray, log_variance: np.ndarray, seed: int = 0) -> np.ndarray:
    """One z from each example's posterior: float64 `(n, latent)`."""
    noise = np.random.default_rng(seed).standard_normal(np.shape(mean))
    return np.asarray(mean, np.float64) + noise * np.exp(0.5 * np.asarray(log_variance, np.float64))


def mutual_information(mean: np.ndarray, log_variance: np.ndarray, seed: int = 0) -> float:
    """I(x; z) in nats under the aggregate posterior of N examples, from one draw z_n of each.

        1/N sum_n [log q(z_n|x_n) - log (1/N sum_m q(z_n|x_m))]

    (Hoffman and Johnson 2016.) It cannot exceed log N: quote N beside it. At 0 it may come out a little below.

    Args:
        mean: posterior means `(n, latent)`.
        log_variance: logarithms of the posterior variances `(n, latent)`.
        seed: of the draws.
    """
    z = draw(mean, log_variance, seed)
    mean, log_variance = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    precision = np.exp(-log_variance)
    constant = np.sum(mean**2 * precision + log_variance, axis=1)
    total = 0.0
    for start in range(0, len(z), _BLOCK):
        rows = z[start : start + _BLOCK]
        # log q(z_n|x_m) up to what all m share, (block, n): the square is multiplied out into two products.
        log_q = -0.5 * (rows**2 @ precision.T - 2 * rows @ (mean * precision).T + constant)
        total += np.sum(log_q.diagonal(start) - special.logsumexp(log_q, axis=1))
    return float(total / len(z) + math.log(len(z)))


def shuffle_gap(
    true: np.ndarray, shuffled: np.ndarray, frames: np.ndarray, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """What the decoder learns from z: log p(x|z) less log p(x|z of another example), in nats per frame.

    A ratio of sums over examples, so that every frame has the same weight. 0: the decoder ignores z.

    Args:
        true: log p(x|z) of each example in nats `(n,)`.
        shuffled: the same with the latents of other examples.
        frames: frames of each example that count `(n,)`.
        seed: of the bootstrap.

    Returns:
        The gap and its 95% interval, the percentiles of a bootstrap over examples.

    Raises:
        ValueError: if there are fewer than two examples.
    """
    difference = np.asarray(true, np.float64) - np.asarray(shuffled, np.float64)
    low, high = stats.bootstrap(
        (difference, frames),
        _ratio,
        paired=True,
        method="percentile",  # The default has no value where all examples agree.
        n_resamples=RESAMPLES,
        batch=_BLOCK,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(_ratio(difference, frames)), (float(low), float(high))


def _ratio(difference: np.ndarray, frames: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.sum(difference, axis=axis) / np.sum(frames, axis=axis)


def f1(real: np.ndarray, reconstructed: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Micro F1 over cells (frame, key): 2 TP / (2 TP + FP + FN); 1 where both are silent.

    Args:
        real: bool `(..., 88)`.
        reconstructed: bool `(..., 88)`.
        mask: `(...)`, 0 for frames that do not count; None: all do.
    """
    real, reconstructed = np.asarray(real, bool), np.asarray(reconstructed, bool)
    if mask is not None:
        real, reconstructed = real[np.asarray(mask, bool)], reconstructed[np.asarray(mask, bool)]
    cells = real.sum() + reconstructed.sum()
    return float(2 * np.sum(real & reconstructed) / cells) if cells else 1.0


def figures(
    model: FrameModel, corpus: Corpus, window: int | None, batch_size: int = 64, seed: int = 0
) -> dict[str, Any]:
    """What a model's verbs allow to say of its latents; the verbs are those of a latent `FrameModel`.

    The examples are the windows of each piece end to end; the last one may be shorter, and its KL counts whole. Only
    frames that are not padded count as frames.

    Args:
        model: any model.
        corpus: held-out pieces, as a quoted likelihood may see them; see `likelihood.quoted`.
        window: frames of an example; None: whole pieces.
        batch_size: examples that are computed together; changes no figure.
        seed: of the draws, the shuffle and the bootstrap.

    Returns:
        {} for a model without latents; a figure whose verbs the model has not is left out.

        With `posterior`: `active_units` and `latent_size`; `kl_nats`, the mean KL of an example;
        `mutual_information_nats`, at most the logarithm of `latent_examples`; `rate_nats_per_frame`, the KL.

        With `codes`: `codebook_perplexity` and `codes_used` (a share), the least of any codebook, over the groups of
        all phases, see `codes.phases`; with `code_log_prob`: `prior_nats_per_code`, and `rate_nats_per_frame`, the
        codes under the prior.

        With `reconstruction_log_prob`: `reconstruction_nats_per_frame` from one draw of each posterior or from the
        codes, so rate and reconstruction add up to the bound; with two examples or more `shuffle_gap_nats` per frame
        and its 95% `shuffle_gap_interval` [low, high], with the posterior means of other examples or the codes of
        other groups. With `reconstruct`: `reconstruction_f1`, from the posterior means or the codes.

    Raises:
        Diverged: if a figure would not be finite.
    """
    verbs = {"posterior": _gaussian, "codes": _coded}
    kind = next((kind for verb, kind in verbs.items() if hasattr(model, verb)), None)
    if kind is None:
        return {}
    batches = corpus.windows(window, shuffle=False).batch(batch_size)
    frames = np.concatenate([np.sum(batch["mask"], axis=1, dtype=np.float64) for batch in batches])
    found, latents = kind(model, batches, frames, seed)
    if kind is _coded:
        used = np.concatenate(codes.phases(model, corpus, batch_size))
        found["codebook_perplexity"] = float(codes.perplexity(used, model.code_sizes).min())
        found["codes_used"] = float(codes.share_used(used, model.code_sizes).min())
    if len(frames) < 2:
        del latents["shuffled"]
    found |= _reconstruction(model, batches, latents, frames, seed)
    for name, figure in found.items():
        _check_finite(name, figure)
    return found


_Found = tuple[dict[str, Any], dict[str, list[np.ndarray]]]
"""Figures, and the latents `true`, `shuffled` and, where not the true ones, `drawn`: an array a batch."""


def _gaussian(model: FrameModel, batches: Iterable[Mapping], frames: np.ndarray, seed: int) -> _Found:
    """The figures of a Gaussian posterior."""
    posteriors = [model.posterior(batch) for batch in batches]
    mean, log_variance = (np.concatenate([np.asarray(p[i], np.float64) for p in posteriors]) for i in (0, 1))
    nats = kl(mean, log_variance)
    found = {
        "active_units": active_units(mean),
        "latent_size": mean.shape[1],
        "latent_examples": len(mean),
        "kl_nats": float(nats.mean()),
        "mutual_information_nats": mutual_information(mean, log_variance, seed),
        "rate_nats_per_frame": float(nats.sum() / frames.sum()),
    }
    latents = {"true": mean, "shuffled": mean[_others(len(mean), seed)], "drawn": draw(mean, log_variance, seed)}
    cuts = np.cumsum([len(p[0]) for p in posteriors])[:-1]
    return found, {name: np.split(z.astype(np.float32), cuts) for name, z in latents.items()}


def _coded(model: FrameModel, batches: Iterable[Mapping], frames: np.ndarray, seed: int) -> _Found:
    """The figures of discrete codes; groups without a frame do not count, and groups are what is shuffled."""
    true = [np.asarray(model.codes(batch)) for batch in batches]
    sounding = [codes.groups(batch["mask"], model.group_size) for batch in batches]
    used = np.concatenate([c[g] for c, g in zip(true, sounding, strict=True)])
    found = {}
    if hasattr(model, "code_log_prob"):
        nats = -sum(float(np.sum(model.code_log_prob(batch), dtype=np.float64)) for batch in batches)
        found = {"prior_nats_per_code": nats / used.size, "rate_nats_per_frame": nats / float(frames.sum())}
    shuffled = [c.copy() for c in true]
    cuts = np.cumsum([g.sum() for g in sounding])[:-1]
    for c, g, other in zip(shuffled, sounding, np.split(used[_others(len(used), seed)], cuts), strict=True):
        c[g] = other
    return found, {"true": true, "shuffled": shuffled}


def _others(count: int, seed: int) -> np.ndarray:
    """For each of `count` examples another one, int `(count,)`: a random cycle through all, so none keeps its own."""
    cycle = np.random.default_rng(seed).permutation(count)
    others = np.empty_like(cycle)
    others[cycle] = np.roll(cycle, 1)
    return others


def _reconstruction(
    model: FrameModel, batches: Iterable[Mapping], latents: dict[str, list], frames: np.ndarray, seed: int
) -> dict[str, Any]:
    """The figures of a decoder."""
    found = {}
    if hasattr(model, "reconstruction_log_prob"):
        log_p = {
            name: np.concatenate(
                [np.asarray(model.reconstruction_log_prob(*pair), np.float64) for pair in zip(batches, z, strict=True)]
            )
            for name, z in latents.items()
        }
        for nats in log_p.values():
            _check_finite("reconstruction_log_prob", nats)
        found["reconstruction_nats_per_frame"] = float(-log_p.get("drawn", log_p["true"]).sum() / frames.sum())
        if "shuffled" in log_p:
            gap, interval = shuffle_gap(log_p["true"], log_p["shuffled"], frames, seed)
            found |= {"shuffle_gap_nats": gap, "shuffle_gap_interval": list(interval)}
    if hasattr(model, "reconstruct"):
        real, reconstructed = [], []
        for batch, z in zip(batches, latents["true"], strict=True):
            mask = np.asarray(batch["mask"], bool)
            real.append(np.asarray(batch["pianoroll"])[:, 1:][mask] > 0.5)
            reconstructed.append(np.asarray(model.reconstruct(batch, z))[mask])
        found["reconstruction_f1"] = f1(np.concatenate(real), np.concatenate(reconstructed))
    return found


def _check_finite(name: str, value: np.ndarray | float) -> None:
    if not np.all(np.isfinite(value)):
        raise Diverged(f"A model that diverged has no figures. Received: {name}={value}")
