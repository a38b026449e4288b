"""What an exported model answers to: a SavedModel with named endpoints, for which TensorFlow alone is needed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from bachkeras import _files as files
from bachkeras.data.pipeline import TIMESTEPS, UNKNOWN
from bachkeras.generation import constrained, loop
from bachkeras.layers.frame.base import END, FREE
from bachkeras.models.base import FrameModel, Sampling
from bachkeras.models.endpoint import Endpoint, Input, Tensors, check, optional, required
from bachkeras.music.pianoroll import KEYS, LOWEST

FORMAT = 1
"""Number of the export's format: names and shapes of what goes in and comes out."""

NEW = -1
"""The seed that stands for a new one at each call."""

WHOLE = -1
"""The length that stands for all there is."""

PARTICLES = 64
"""Those of `harmonize` where nobody says how many."""

TOLD = ("model", "data", "seed", "sounding_shift", "mean_length", "settings", "ranges", "trained_on")
"""What `metadata` has of the card of the model's run."""


def save(model: FrameModel, folder: Path) -> None:
    """Write a model as a SavedModel, whole or not at all; see `FrameModel.export`."""
    if os.path.lexists(folder):
        raise ValueError(f"There is something already: choose another folder. Received: out={str(folder)!r}")
    files.check_folder(folder)
    model.ensure_built()
    module, functions = tf.Module(), endpoints(model)
    for name, function in functions.items():
        setattr(module, name, function)
    traced = [function.get_concrete_function() for function in functions.values()]
    module.weights = [variable for function in traced for variable in function.variables]
    # What TensorFlow Serving takes where a request names no signature.
    signatures = {**functions, "serving_default": functions["generate"]}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(folder) as unfinished:
        tf.saved_model.save(module, str(unfinished), signatures=signatures)


def endpoints(model: FrameModel) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The functions of an export by their names, as far as the model has what they need."""
    made = {"generate": _generate, "metadata": _metadata}
    if model.can_complete and model.frame.labelled:
        made["harmonize"] = _harmonize
    if model.likelihood:
        made["log_prob"] = _log_prob
    if hasattr(model, "posterior"):
        made["posterior"] = _posterior
    if hasattr(model, "codes"):
        made["codes"] = _codes
    if hasattr(model, "decode"):
        made["decode"] = _decode
    return {name: make(model).function() for name, make in made.items()}


def _generate(model: FrameModel) -> Endpoint:
    """`FrameModel.generate`, `lengths` where the model ends pieces."""
    frame = model.frame
    what, *struck = _arrays(model)
    primer = [optional("primer", what.dtype, tf.zeros((1, 0, what.size)), None, None, what.size)]
    # Without onsets a primer's notes begin where they were not before, as in a batch without onsets.
    primer += [optional("primer_onsets", array.dtype, [[[False]]], None, None, None) for array in struck]
    ending = [optional("until_end", tf.bool, False)] if model.ending else []

    def generate(given: Tensors) -> Tensors:
        count, length = _positive(given["count"], "count"), _positive(given["length"], "length")
        heard = tf.shape(given["primer"])[1]
        music = {
            array.name: tf.broadcast_to(given[spec.name], [count, heard, array.size])
            for array, (spec, _) in zip(_arrays(model), primer, strict=True)
        }
        events, onsets = _fitting(model, music)
        until_end = given.get("until_end", tf.constant(False))
        known = _known(given, count, heard + length)
        free = tf.fill([count, length, frame.voices], FREE)
        events, onsets, lengths = _written(model, given, known, (events, onsets), free, until_end)
        return model.music(events, onsets) | ({"lengths": lengths} if model.ending else {})

    inputs = [required("count", tf.int32), required("length", tf.int32)]
    return Endpoint([*inputs, *primer, *_conditions(), *ending, _ranges(model), *_sampling()], generate)


def _harmonize(model: FrameModel) -> Endpoint:
    """`FrameModel.complete` around a melody in the first voice, `melody` int32 `(count, length)`."""
    onsets = [optional("melody_onsets", tf.bool, [[False]], None, None)] if model.frame.onsets else []
    ending = [optional("ends", tf.bool, True)] if model.ending else []

    def harmonize(given: Tensors) -> Tensors:
        melody = given["melody"]
        fits = tf.reduce_all((melody >= FREE) & (melody <= END))
        with tf.control_dependencies([check(fits, f"A melody holds 0 to {END}, or {FREE} for what is free", melody)]):
            melody = tf.identity(melody)
        count, length = tf.unstack(tf.shape(melody))
        struck = tf.broadcast_to(given.get("melody_onsets", tf.constant([[False]])), [count, length])
        lower = [[0, 0], [0, 0], [0, model.frame.voices - 1]]
        nothing = tf.fill([count, 0, model.frame.voices], END)
        primer = nothing, tf.cast(nothing, tf.bool)
        sampling = _drawing(given)
        events, struck, log_given = constrained.complete(
            model,
            model.told(_known(given, count, length), primer, sampling),
            primer,
            tf.pad(melody[..., None], lower, constant_values=FREE),
            tf.pad(struck[..., None], lower),
            given["allowed"],
            given.get("ends", tf.constant(False)),
            _positive(given["particles"], "particles"),
            *sampling,
        )
        return model.music(events, struck) | {"log_given": log_given}

    particles = optional("particles", tf.int32, PARTICLES)
    inputs = [required("melody", tf.int32, None, None), *onsets, *_conditions(), *ending, particles]
    return Endpoint([*inputs, _ranges(model), *_sampling()], harmonize)


def _log_prob(model: FrameModel) -> Endpoint:
    """`FrameModel.log_prob`, of whole pieces."""
    return Endpoint(_pieces(model), lambda given: {"log_prob": model.log_prob(_batch(model, given))})


def _posterior(model: FrameModel) -> Endpoint:
    """Mean and log variance of each window of pieces, float32 `(batch, windows, latent)`."""

    def posterior(given: Tensors) -> Tensors:
        mean, log_variance = model.posteriors(_batch(model, given))
        return {"mean": mean, "log_variance": log_variance}

    return Endpoint(_pieces(model), posterior)


def _codes(model: FrameModel) -> Endpoint:
    """`CodeModel.codes`."""
    return Endpoint(_pieces(model), lambda given: {"codes": model.codes(_batch(model, given))})


def _decode(model: FrameModel) -> Endpoint:
    """`LatentModel.decode`; the latent is called as the model calls it, `z` or `codes`."""
    name = model.latent_name
    spec = model.more_conditions[name]
    size = len(model.code_sizes) if hasattr(model, "codes") else model.latent

    def decode(given: Tensors) -> Tensors:
        latent = given[name]
        count, parts, _ = tf.unstack(tf.shape(latent))
        most = parts * model.span
        length = tf.where(given["length"] == WHOLE, most, given["length"])
        checks = [check((length > 0) & (length <= most), f"The length is 1 to {model.span} a part", length)]
        if hasattr(model, "codes"):
            fits = tf.reduce_all((latent >= 0) & (latent < model.code_sizes))
            checks.append(check(fits, f"A code is 0 to {min(model.code_sizes) - 1}", latent))
        with tf.control_dependencies(checks):
            known = _known(given, count, length) | {name: tf.identity(latent)}
        free = tf.fill([count, length, model.frame.voices], FREE)
        nothing = free[:, :0], tf.cast(free[:, :0], tf.bool)
        events, onsets, _ = _written(model, given, known, nothing, free, tf.constant(False))
        return model.music(events, onsets)

    inputs = [required(name, spec.dtype, None, None, size), optional("length", tf.int32, WHOLE)]
    return Endpoint([*inputs, *_conditions(), _ranges(model), *_sampling()], decode)


def _metadata(model: FrameModel) -> Endpoint:
    """What the model is and what its numbers mean, as JSON in a scalar string."""
    frame, card = model.frame, getattr(model, "card", {})
    content = {
        "format": FORMAT,
        "class": type(model).__name__,
        "voices": frame.voices,
        "labelled": frame.labelled,
        "onsets": frame.onsets,
        "ending": model.ending is not None,
        "likelihood": model.likelihood,
        "lowest_pitch": LOWEST,  # Key 0 as a MIDI pitch.
        "rest": END,
        "timesteps": [str(timestep) for timestep in TIMESTEPS],
        "unknown": UNKNOWN,
        **{name: getattr(model, name) for name in ("span", "latent", "code_sizes") if hasattr(model, name)},
        **{name: card[name] for name in TOLD if name in card},
    }
    text = json.dumps(content)
    return Endpoint([], lambda given: {"metadata": tf.constant(text)})


def _written(model: FrameModel, given: Tensors, known: Tensors, primer, free, until_end) -> tuple[tf.Tensor, ...]:
    """What `loop.write` writes."""
    sampling = _drawing(given)
    told = model.told(known, primer, sampling)
    return loop.write(model, told, primer, free, given["allowed"], until_end, *sampling)


class _Array(NamedTuple):
    """An array that a model reads: its name in a batch, dtype, last dimension, and what silence is in it."""

    name: str
    dtype: tf.DType
    size: int
    silence: int


def _arrays(model: FrameModel) -> list[_Array]:
    """What a model reads: what sounds, and the onsets where they are modelled."""
    if model.frame.labelled:
        size = model.frame.voices
        arrays = [_Array("voices", tf.int32, size, END), _Array("voice_onsets", tf.bool, size, 0)]
    else:
        arrays = [_Array("pianoroll", tf.bool, KEYS, 0), _Array("onsets", tf.bool, KEYS, 0)]
    return arrays if model.frame.onsets else arrays[:1]


def _pieces(model: FrameModel) -> list[Input]:
    """Pieces from their first frame on, and what is known of them."""
    arrays = [required(name, dtype, None, None, size) for name, dtype, size, _ in _arrays(model)]
    return [*arrays, optional("lengths", tf.int32, [WHOLE], None), *_conditions()]


def _batch(model: FrameModel, given: Tensors) -> Tensors:
    """Such pieces as a batch, see `Windows.batch`: silence comes first."""
    music = {
        name: tf.pad(given[name], [[0, 0], [1, 0], [0, 0]], constant_values=silence)
        for name, _, _, silence in _arrays(model)
    }
    _fitting(model, music)
    count, time = tf.unstack(tf.shape(given[_arrays(model)[0].name])[:2])
    lengths = tf.where(given["lengths"] == WHOLE, time, given["lengths"])
    fits = tf.reduce_all((lengths >= 0) & (lengths <= time))
    with tf.control_dependencies([check(fits, "Lengths are 0 to the number of frames", lengths)]):
        mask = tf.sequence_mask(tf.broadcast_to(lengths, [count]), time, tf.float32)
    if "pianoroll" in music:
        music["pianoroll"] = tf.cast(music["pianoroll"], tf.float32)
    return {**music, "mask": mask, **_known(given, count, time)}


def _fitting(model: FrameModel, music: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
    """Events and onsets of frames; refuses those that the model has no voices for."""
    events, onsets, dropped = model.frame.events(music)
    checks = [
        check(tf.reduce_all(dropped == 0), f"A frame has at most {model.frame.voices} notes", dropped),
        check(tf.reduce_all((events >= 0) & (events <= END)), f"A voice holds 0 to {END}", events),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(events), tf.identity(onsets)


def _conditions() -> list[Input]:
    """What is known of pieces, of all alike or of each."""
    return [
        optional(name, tf.int32, [[unknown]], None, None)
        if name == "position"
        else optional(name, tf.int32, [unknown], None)
        for name, unknown in UNKNOWN.items()
    ]


def _known(given: Tensors, count: tf.Tensor, frames: tf.Tensor) -> Tensors:
    """The inputs of `_conditions` of so many pieces."""
    known = {}
    for name, unknown in UNKNOWN.items():
        value, shape = given[name], [count, frames] if name == "position" else [count]
        if name == "position":
            each = (tf.shape(value)[1] == frames) | (value == unknown)
            fits, rule = (value >= unknown) & each, f"position has a number a frame, {unknown} or more"
        else:
            fits, rule = (value >= 0) & (value <= unknown), f"{name} is 0 to {unknown}"
        with tf.control_dependencies([check(tf.reduce_all(fits), rule, value)]):
            known[name] = tf.broadcast_to(value, shape)
    return known


def _ranges(model: FrameModel) -> Input:
    """What each voice may sing where it is free, see `FrameModel.generate`."""
    shape = (model.frame.voices, END + 1)
    return optional("allowed", tf.bool, tf.ones(shape), *shape)


def _sampling() -> list[Input]:
    """How events are drawn."""
    return [
        optional("temperature", tf.float32, 1.0),
        optional("top_p", tf.float32, 1.0),
        optional("seed", tf.int32, NEW),
    ]


def _drawing(given: Tensors) -> Sampling:
    """The inputs of `_sampling`; a seed for `NEW`."""
    temperature, top_p, seed = (given[spec.name] for spec, _ in _sampling())
    checks = [
        check((temperature > 0) & tf.math.is_finite(temperature), "The temperature is above 0", temperature),
        check((top_p > 0) & (top_p <= 1), "top_p is in (0, 1]", top_p),
        check(seed >= NEW, f"A seed is 0 to 2^31 - 1, or {NEW} for a new one", seed),
    ]
    # Seeds of 0 mean here that no two runs draw the same; tf.random would take the seed of the exporting process.
    new = tf.raw_ops.RandomUniformInt(shape=tf.constant([], tf.int32), minval=0, maxval=tf.int32.max, seed=0, seed2=0)
    with tf.control_dependencies(checks):
        return Sampling(tf.identity(temperature), tf.identity(top_p), tf.where(seed == NEW, new, seed))


def _positive(number: tf.Tensor, name: str) -> tf.Tensor:
    """An input of at least 1."""
    with tf.control_dependencies([check(number > 0, f"{name} is at least 1", number)]):
        return tf.identity(number)
