"""What a command line asks of a training run, and whether it agrees with the run that it goes on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bachkeras import _presets as presets
from bachkeras.data import folder
from bachkeras.training import config
from bachkeras.training.config import Config

FOLDER = "folder"
"""The configuration for a folder of MIDI files, of models whose default one is for another corpus."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The arguments of `bachkeras train` that decide what comes out; None: not given.

    Attributes:
        model: the model's name.
        config: a named configuration or a file.
        data: the corpus, by name or folder, instead of the configuration's.
        keep_performances: of a folder, instead of the configuration's, see `folder.read`.
        epochs: instead of the configuration's.
        seed: see `run.train`.
        init: see `run.train`.
        judge: see `run.train`.
        generator: of a GAN, instead of the configuration's.
        discriminator: likewise.
    """

    model: str
    config: str | None = None
    data: str | None = None
    keep_performances: bool | None = None
    epochs: int | None = None
    seed: int | None = None
    init: str | None = None
    judge: str | None = None
    generator: str | None = None
    discriminator: str | None = None

    def configuration(self) -> Config:
        """What a new run trains; a folder has a configuration of its own where the default one needs more than it has.

        Raises:
            ValueError: if there is no such model or configuration, or it does not go with the other arguments.
        """
        name = self.config or "default"
        if self.config is None and self.data and folder.is_folder(self.data) and FOLDER in config.names(self.model):
            name = FOLDER
        return self._over(config.read(self.model, name))

    def check(self, card: Mapping[str, Any]) -> None:
        """Refuse to go on with a run that was begun otherwise.

        Args:
            card: its config.json.

        Raises:
            ValueError: naming each argument that differs; those that were not given agree with any run.
        """
        begun = {"model": card["model"]}
        asked = {"model": self.model}
        if self.seed is not None:
            begun["seed"], asked["seed"] = card["seed"], self.seed
        if self.init is not None:
            begun["init"], asked["init"] = card.get("init", {}).get("run"), presets.reference(self.init)
        if self.judge is not None:
            begun["judge"], asked["judge"] = card.get("judge"), presets.reference(self.judge)
        if card["model"] == self.model:
            there = config.from_dict(card["config"])
            here = config.read(self.model, self.config) if self.config else there
            if self.data is None:
                here = dataclasses.replace(here, data=dataclasses.replace(here.data, name=there.data.name))
            if self.keep_performances is None:
                keep = there.data.keep_performances
                here = dataclasses.replace(here, data=dataclasses.replace(here.data, keep_performances=keep))
            if self.epochs is None:
                for name in config.STAGES:
                    stage, before = getattr(here, name), getattr(there, name)
                    if stage and before:
                        stage = dataclasses.replace(stage, epochs=before.epochs)
                        here = dataclasses.replace(here, **{name: stage})
            if "init" in card:  # Its model and precision are those of the run that it began from.
                here = here.every_stage(precision=there.training.precision)
                here = dataclasses.replace(here, model=there.model, frame=there.frame)
            begun |= _flat(there)
            asked |= _flat(self._over(here))
        different = [name for name in begun | asked if begun.get(name) != asked.get(name)]
        if different:
            raise ValueError(
                f"The run goes on as it was begun, with {_listed(different, begun)}: leave that out, or train another. "
                f"Received: {_listed(different, asked)}"
            )

    def _over(self, base: Config) -> Config:
        data = base.data
        if self.data is not None:
            keep = data.keep_performances and folder.is_folder(self.data)
            data = dataclasses.replace(data, name=folder.canonical(self.data), keep_performances=keep)
        if self.keep_performances is not None:
            data = dataclasses.replace(data, keep_performances=self.keep_performances)
        base = base if self.epochs is None else base.every_stage(epochs=self.epochs)
        parts = {name: getattr(self, name) for name in ("generator", "discriminator") if getattr(self, name)}
        if parts and self.model not in config.GANS:
            raise ValueError(f"{' and '.join(config.GANS)} have these parts. Received: {_listed([*parts], parts)}")
        return dataclasses.replace(base, data=data, model=base.model | parts)


def _flat(sections: Config) -> dict[str, Any]:
    """Every setting by its section and name."""
    return {
        f"[{section}] {name}": value for section, values in sections.to_dict().items() for name, value in values.items()
    }


def _listed(names: list[str], values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={values.get(name)!r}" for name in names)
