"""Named configurations: TOML files beside the code, or the user's own. Data, not code."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from bachkeras import _files as files

GANS = {"gan": "minimax", "wgan": "wasserstein"}
"""The models that have a generator and a discriminator, and their objectives."""

STAGES = ("training", "prior", "discriminator")
"""The sections that are a `Training`."""

SCHEDULES = ("cosine", "constant")
"""How a learning rate goes on after the warm-up."""


@dataclasses.dataclass(frozen=True)
class Config:
    """How to train a model; the sections of a configuration file.

    Attributes:
        model: constructor arguments of the model.
        frame: constructor arguments of its frame distribution, and its `class`. `voices` comes from the data.
        data: see `Data`.
        training: see `Training`; of a model that is trained in two stages, the first one.
        prior: the second stage of `vq-vae`; None: like the first one.
        discriminator: the optimizer of a GAN's discriminator; what it does not say is as in `training`. None: all is.
    """

    model: dict[str, Any]
    frame: dict[str, Any]
    data: Data
    training: Training
    prior: Training | None = None
    discriminator: Training | None = None

    def to_dict(self) -> dict[str, Any]:
        """The sections as plain values, as `from_dict` takes them."""
        return {name: section for name, section in dataclasses.asdict(self).items() if section is not None}

    def changed(self, settings: Mapping[str, Any]) -> Config:
        """The same with other settings, by section and name: `{"model.hidden": 128}`.

        Raises:
            ValueError: as of `from_dict`, or if a name is not a section's.
        """
        sections = self.to_dict()
        for place, value in settings.items():
            section, _, key = place.partition(".")
            if section not in sections or not key:
                raise ValueError(f"A setting is one of a section, such as model.hidden. Received: {place!r}")
            sections[section][key] = value
        return from_dict(sections)

    def every_stage(self, **changes: Any) -> Config:
        """The same with other values of `Training` in every stage."""
        stages = {name: getattr(self, name) for name in STAGES}
        return dataclasses.replace(
            self, **{name: dataclasses.replace(stage, **changes) for name, stage in stages.items() if stage}
        )


@dataclasses.dataclass(frozen=True)
class Data:
    """What is trained on.

    Attributes:
        name: the corpus, or the path of a folder of MIDI files.
        window: frames of an example; 0: whole pieces.
        batch_size: examples in a batch, at least 1.
        transpose: largest transposition in semitones.
        untransposed: share of the examples left as they are.
        overhang: share of the windows that may run over the end of their piece, see `Corpus.windows`.
        keep_performances: of a folder, whether pieces that were played live are in it, see `folder.read`.
    """

    name: str = "chorales"
    window: int = 0
    batch_size: int = 16
    transpose: int = 0
    untransposed: float = 0.3
    overhang: float = 0.0
    keep_performances: bool = False


@dataclasses.dataclass(frozen=True)
class Training:
    """How it is optimised: AdamW (Loshchilov and Hutter 2019), a warm-up, then a `schedule`.

    Attributes:
        epochs: passes over the data, at least 1.
        learning_rate: the highest.
        warmup: share of all steps in which it rises.
        weight_decay: AdamW's.
        clipnorm: largest norm of each variable's gradient; 0: any.
        beta_1: AdamW's decay of the gradients' mean.
        schedule: of the learning rate after the warm-up, "cosine", down to zero, or "constant".
        patience: stop after so many epochs without a better validation; 0: never.
        minutes: stop after the epoch in which so many are over; 0: never.
        evaluate_every: epochs from one validation to the next.
        precision: Keras's name of a dtype policy, "float32" or "mixed_bfloat16".
    """

    epochs: int = 60
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    clipnorm: float = 1.0
    beta_1: float = 0.9
    schedule: str = "cosine"
    patience: int = 0
    minutes: float = 0.0
    evaluate_every: int = 1
    precision: str = "float32"


def names(model: str) -> list[str]:
    """The named configurations of a model, as on the command line."""
    return sorted(path.name.removesuffix(".toml") for path in _folder(model).iterdir() if path.name.endswith(".toml"))


def read(model: str, name_or_file: str | os.PathLike = "default") -> Config:
    """A configuration.

    Args:
        model: the model's name on the command line, "lstm-attention".
        name_or_file: one of `names(model)`, or a file, whose path holds a separator or ends in `.toml`.

    Raises:
        ValueError: if there is no such configuration, or it says something unknown.
    """
    text = os.fspath(name_or_file)
    is_file = os.sep in text or text.endswith(".toml")
    if not is_file and text not in names(model):
        raise ValueError(f"{model} has the configurations {', '.join(names(model))}. Received: config={text!r}")
    path = Path(text) if is_file else _folder(model) / f"{text}.toml"
    try:
        return from_dict(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ValueError(f"Cannot read the configuration file: {error.strerror}. Received: config={text!r}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The configuration file is no TOML: {error}. Received: config={text!r}") from None


def write(path: Path, config: Config) -> None:
    """Write a configuration as a file that `read` takes."""
    lines = []
    for section, values in config.to_dict().items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    files.replace(path, "\n".join(lines).encode())


def from_dict(sections: dict[str, Any]) -> Config:
    """A configuration from its sections.

    Raises:
        ValueError: if a section or a key of `data` or of one of the `STAGES` is unknown.
    """
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise ValueError(f"A configuration is made of sections, [{name}] on a line. Received: {name}={section!r}")
    unknown = set(sections) - {field.name for field in dataclasses.fields(Config)}
    if unknown:
        raise ValueError(
            f"A configuration has model, frame, data, {', '.join(STAGES)}. Received: section {sorted(unknown)[0]!r}"
        )
    training = _section(Training, sections.get("training", {}), "training")
    others = {
        # Another model or the same steps: an optimizer of its own, or the first one's but for what it says.
        "prior": {"precision": training.precision},
        "discriminator": dataclasses.asdict(training),
    }
    for name in others.keys() & sections.keys():
        others[name] = _section(Training, others[name] | sections[name], name)
        if others[name].precision != training.precision:
            raise ValueError(
                f"[{name}] has the precision of [training]. Received: precision={others[name].precision!r}"
            )
    others = {name: stage for name, stage in others.items() if name in sections}
    return Config(
        model=dict(sections.get("model", {})),
        frame=dict(sections.get("frame", {})),
        data=_section(Data, sections.get("data", {}), "data"),
        training=training,
        **others,
    )


def _section(cls, values: dict[str, Any], name: str):
    known = {field.name: type(field.default) for field in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"[{name}] knows {', '.join(known)}. Received: {key}={value!r}")
        fits = {float: (int, float)}.get(known[key], known[key])
        if isinstance(value, bool) != (known[key] is bool) or not isinstance(value, fits):
            raise ValueError(f"[{name}] {key} is a {known[key].__name__}. Received: {key}={value!r}")
        least = 1 if key in ("epochs", "batch_size", "evaluate_every") else 0
        if value < least if known[key] is not str else not value:
            raise ValueError(f"[{name}] {key} is too small or empty. Received: {key}={value!r}")
        if key == "schedule" and value not in SCHEDULES:
            raise ValueError(f"[{name}] schedule is {' or '.join(SCHEDULES)}. Received: schedule={value!r}")
    return cls(**values)


def _folder(model: str):
    folder = resources.files("bachkeras.configs").joinpath(model)
    if not folder.is_dir():
        available = sorted(path.name for path in resources.files("bachkeras.configs").iterdir() if path.is_dir())
        available = [name for name in available if not name.startswith("_")]
        raise ValueError(f"There is no such model; there are {', '.join(available)}. Received: model={model!r}")
    return folder
