"""What can be searched: the hyperparameters of each model, the values that are tried, and their places."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bachkeras.training import config

Values = Mapping[str, Sequence[Any]]
"""The values of each hyperparameter, all of one type."""


@dataclasses.dataclass(frozen=True)
class Space:
    """What is searched of a model where nobody says more.

    Attributes:
        values: of each hyperparameter.
        epochs: of a trial; of a model that is trained in stages, of each stage.
        config: the configuration that stays as it is in everything else; None: the one for the data.
    """

    values: Values
    epochs: int
    config: str | None = None


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        model: its name on the command line.
        config: the configuration that trials change, its epochs those of a trial.
        values: of each hyperparameter.
        oracle: one of `search.ORACLES`.
        trials: how many are tried at most, "random" and "bayesian" alone.
        seed: of what the oracle draws, and of the trials.
        corpus: the state of the data, see `catalog.version`; known once it is built.
    """

    model: str
    config: config.Config
    values: Values
    oracle: str
    trials: int
    seed: int
    corpus: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return json.loads(json.dumps(vars(self) | {"config": self.config.to_dict()}))

    def check(self, path: Path) -> None:
        """Raises ValueError if a file holds another search. More trials may be asked for."""
        asked, begun = self.to_dict(), json.loads(path.read_text())
        different = [key for key in asked if key != "trials" and begun.get(key) != asked[key]]
        if different:
            raise ValueError(
                f"There is another search of that name, with other {', '.join(different)}: choose a --name. "
                f"Received: {str(path.parent)!r}"
            )


_VAE = {
    "hidden": (128, 256),
    "latent": (16, 32, 64),
    "beta": (0.2, 0.5, 1.0),
    "free_bits": (0.0, 13.0),
    "dropout": (0.0, 0.25),
}
_GAN = {
    "generator": ("lstm", "latent", "hierarchical"),
    "discriminator": ("lstm", "bilstm", "conv", "multiscale"),
    "hidden": (64, 128),
    "gradient_penalty": (1.0, 10.0),
    "learning_rate": (1e-3, 3e-3),
}

SPACES: Mapping[str, Space] = {
    "lstm-attention": Space(
        {"window": (32, 64, 96), "hidden": (128, 256), "batch_size": (8, 16), "l2": (0.0, 1e-4, 1e-2)}, epochs=6
    ),
    "lstm-vae": Space(_VAE, epochs=15),
    "hierarchical-vae": Space(_VAE, epochs=10),
    "vq-vae": Space(
        {
            "codes": (128, 512),
            "codebooks": (1, 2, 4),
            "hidden": (128, 256),
            "commitment": (0.1, 0.25),
            "prior_hidden": (128, 256),
        },
        epochs=10,
    ),
    "gan": Space(_GAN, epochs=10),
    "wgan": Space(_GAN, epochs=10),
}
"""By the models' names on the command line."""

GRIDS: Mapping[str, tuple[str, Space]] = {
    "source": (
        "lstm-attention",
        Space(
            {
                "window": (32, 64, 96),
                "hidden": (128, 256),
                "batch_size": (32, 64),
                "l2": (0.0, 1e-4, 1e-2),
                "dropout": (0.0, 0.4),
            },
            epochs=9,
            config="source",
        ),
    )
}
"""Named grids: the model and all that is tried. `source` lies around the best point of the source's grid."""

PLACES = {
    "window": ("data.window",),
    "batch_size": ("data.batch_size",),
    "learning_rate": ("training.learning_rate",),
    "dropout": ("model.dropout", "frame.dropout"),
}
"""Where a hyperparameter stands in a configuration, if it is not the model's argument of its name."""

MORE_PLACES = {
    ("lstm-attention", "window"): ("model.attention_window",),  # Attention sees the whole example, and no more.
    ("gan", "learning_rate"): ("discriminator.learning_rate",),
    ("wgan", "learning_rate"): ("discriminator.learning_rate",),
}
"""Where else one of a model stands."""


def read(path: Path) -> Values:
    """The values of a TOML file, a list for each hyperparameter.

    Raises:
        ValueError: if it cannot be read, or something is no list of values.
    """
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"The space cannot be read: {error}. Received: {str(path)!r}") from None
    return {key: _alike(key, values) for key, values in found.items()}


def places(model: str, key: str) -> tuple[str, ...]:
    """Where a hyperparameter of a model stands in a configuration."""
    if "." in key:
        return (key,)
    return PLACES.get(key, (f"model.{key}",)) + MORE_PLACES.get((model, key), ())


def configured(base: config.Config, model: str, values: Mapping[str, Any]) -> config.Config:
    """A configuration with values of hyperparameters.

    Raises:
        ValueError: if it has no place for one.
    """
    return base.changed({place: value for key, value in values.items() for place in places(model, key)})


def check(base: config.Config, model: str, values: Values) -> None:
    """Raises ValueError if the configuration has no place for a value, or one place for two hyperparameters."""
    taken: dict[str, str] = {}
    for key, tried in values.items():
        for place in places(model, key):
            if place in taken:
                raise ValueError(f"{taken[place]} sets {place}, too: leave out one of them. Received: {key!r}")
            taken[place] = key
        for value in tried:
            configured(base, model, {key: value})


def _alike(key: str, values: Any) -> list[Any]:
    """Values as KerasTuner takes them: not empty, of one type, each once."""
    if not isinstance(values, list) or not values or any(isinstance(value, (list, dict)) for value in values):
        raise ValueError(f"A hyperparameter has a list of values, window = [32, 64]. Received: {key} = {values!r}")
    if {type(value) for value in values} == {int, float}:
        values = [float(value) for value in values]
    if len({type(value) for value in values}) > 1 or len(set(values)) < len(values):
        raise ValueError(f"A hyperparameter's values are of one type, each once. Received: {key} = {values!r}")
    return values
