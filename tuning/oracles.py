"""Which values are tried next: KerasTuner's oracles, made to survive a kill at any moment, and a grid."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import trial as trials
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus
from sklearn.exceptions import ConvergenceWarning
from spaces import Values

from bachkeras import _files as files

OVER = (TrialStatus.COMPLETED, TrialStatus.FAILED)
"""A trial of these is not run again."""

EPOCHS = "tuner/epochs"
"""Where Hyperband says for how many epochs a trial is trained."""


_STOPPED = {"status": TrialStatus.STOPPED, "values": None}
"""What an oracle answers that has nothing more to try."""


class Resumable(keras_tuner.Oracle):
    """An oracle over combinations of values that goes on after a kill at any moment; no finished trial is run again.

    Its state are `oracle.json` and each trial's `trial.json`. KerasTuner writes them in place, one after the other, so
    that a kill leaves half a file, or files that contradict each other. Here each is whole at every moment, and of two
    that disagree `trial.json` tells whether a trial is over, `oracle.json` which trials there are, and with which
    values: a trial whose files are damaged or gone is run again.

    Attributes:
        on_end: is called with the name of each trial that has ended.
    """

    on_end: Callable[[str], None] = staticmethod(lambda name: None)

    def get_state(self):
        """KerasTuner's state, and the values of each trial."""
        return super().get_state() | {"values": {name: t.hyperparameters.values for name, t in self.trials.items()}}

    def save(self):
        """Write oracle.json."""
        _write(Path(self._get_oracle_fname()), self.get_state())

    def reload(self):
        """Read all that is there; what was not over is tried again, first.

        Raises:
            ValueError: if oracle.json cannot be read.
        """
        path = Path(self._get_oracle_fname())
        try:
            state = json.loads(path.read_text())
            known = state["values"]
            self.set_state({**state, "ongoing_trials": {}})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"The state of the search cannot be read ({error!r}): begin another one by --name. "
                f"Received: {str(path)!r}"
            ) from None
        self.trials = {name: self._trial(name, values) for name, values in known.items()}
        self.end_order = [name for name in self.start_order if self.trials[name].status in OVER]
        # The queue is read from its end.
        self._retry_queue = [name for name in reversed(self.start_order) if name not in self.end_order]
        for folder in path.parent.glob("trial_*"):
            name = folder.name.removeprefix("trial_")
            if name.isdecimal() and name not in known:  # Killed before anybody was told of it.
                shutil.rmtree(folder)

    @property
    def waiting(self) -> bool:
        """Whether there are trials that were begun and are not over."""
        return any(trial.status not in OVER for trial in self.trials.values())

    def end_trial(self, trial):
        """End a trial and tell of it; one that two workers were given, as one was thought dead, ends once."""
        name = trial.trial_id
        if name in self.end_order:
            self.ongoing_trials = {who: t for who, t in self.ongoing_trials.items() if t.trial_id != name}
            return
        self._retry_queue = [other for other in self._retry_queue if other != name]
        if trial.status == TrialStatus.COMPLETED and not self.trials[name].metrics.exists(self.objective.name):
            trial.status = TrialStatus.INVALID  # The worker told a chief that was killed.
        super().end_trial(trial)
        if name in self.end_order:
            self.on_end(name)

    def combinations(self) -> list[dict[str, Any]]:
        """All combinations of values that have not been begun, in the order of a grid."""
        space = {hyperparameter.name: hyperparameter.values for hyperparameter in self.hyperparameters.space}
        begun = {tuple(trial.hyperparameters.values[key] for key in space) for trial in self.trials.values()}
        every = itertools.product(*space.values())
        return [dict(zip(space, values, strict=True)) for values in every if values not in begun]

    def _random_values(self):
        """One of them at random; KerasTuner's own draw gives up before the last ones are tried."""
        left = self.combinations()
        self._seed_state += 1
        return random.Random(self._seed_state).choice(left) if left else None

    def _trial(self, name: str, values: dict[str, Any]) -> Trial:
        file = self._file(name)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            trial = read(file)
            whole = trial.status == TrialStatus.FAILED or json.loads((file.parent / trials.FIGURES).read_text())
            if trial.status in OVER and whole and trial.hyperparameters.values == values:
                return trial
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = dict(values)
        trial = Trial(hyperparameters, name)
        self._save_trial(trial)
        return trial

    def _save_trial(self, trial):
        _write(self._file(trial.trial_id), trial.get_state())

    def _file(self, name: str) -> Path:
        return Path(self._get_trial_dir(name)) / "trial.json"


class Grid(Resumable):
    """All combinations of values in their order. KerasTuner's own grid cannot be resumed (keras-tuner issue 1055)."""

    def populate_space(self, trial_id):
        """The first combination that has not been begun."""
        left = self.combinations()
        return {"status": TrialStatus.RUNNING, "values": left[0]} if left else _STOPPED


class Random(Resumable, oracles.RandomSearchOracle):
    """Combinations drawn at random, none twice."""


class Bayesian(Resumable, oracles.BayesianOptimizationOracle):
    """After some at random, the combination of which a Gaussian process over those tried expects most.

    KerasTuner's looks for it between the values and rounds, so that it tries combinations again and again. Here it is
    that of the least lower confidence bound (Srinivas et al. 2010, equation 6) among those that have not been begun.
    """

    def populate_space(self, trial_id):
        """The next combination."""
        over = [trial for trial in self.trials.values() if trial.status in OVER]
        scores = [trial.score for trial in over if trial.status == TrialStatus.COMPLETED]
        left = self.combinations()
        if not left:
            return _STOPPED
        if len(over) < self.num_initial_points or not scores:
            return {"status": TrialStatus.RUNNING, "values": self._random_values()}
        # What failed is as bad as the worst that did not.
        found = [max(scores) if trial.status == TrialStatus.FAILED else trial.score for trial in over]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # Few points say little of how fast the figure changes.
            self.gpr.fit([self._point(trial.hyperparameters.values) for trial in over], found)
        mean, deviation = self.gpr.predict([self._point(values) for values in left], return_std=True)
        return {"status": TrialStatus.RUNNING, "values": left[int(np.argmin(mean - self.beta * deviation))]}

    def _point(self, values: dict[str, Any]) -> list[float]:
        """A combination in the unit cube."""
        return [
            hyperparameter.value_to_prob(values[hyperparameter.name]) for hyperparameter in self.hyperparameters.space
        ]


class Hyperband(Resumable, oracles.HyperbandOracle):
    """Many combinations for few epochs, the best of them again for more (Li et al. 2018, algorithm 1).

    Those that are tried again begin anew: a learning rate that falls to zero in a few epochs has no more to give.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        needed = sum(self._get_size(bracket, 0) for bracket in range(self._get_num_brackets()))
        there = math.prod(len(hyperparameter.values) for hyperparameter in self.hyperparameters.space)
        if there < needed:  # KerasTuner would stop in the middle.
            raise ValueError(
                f"With so many epochs hyperband tries {needed} combinations: let it have fewer, or try the grid. "
                f"Received: epochs={self.max_epochs}, a space of {there}"
            )


def make(name: str, values: Values, objective: str, *, trials: int, epochs: int, seed: int) -> Resumable:
    """An oracle.

    Args:
        name: "grid", "random", "bayesian" or "hyperband".
        values: of each hyperparameter.
        objective: name of the figure to be made small.
        trials: how many combinations "random" and "bayesian" try at most.
        epochs: of a trial; "hyperband" tries with fewer first.
        seed: of what is drawn at random, 0 or more.

    Raises:
        ValueError: if the space is too small for "hyperband".
    """
    kinds = {
        "grid": (Grid, {}),
        "random": (Random, {"max_trials": trials}),
        "bayesian": (Bayesian, {"max_trials": trials, "num_initial_points": max(3, trials // 3)}),
        "hyperband": (Hyperband, {"max_epochs": epochs}),
    }
    kind, arguments = kinds[name]
    hyperparameters = keras_tuner.HyperParameters()
    for key, tried in values.items():
        hyperparameters.Choice(key, list(tried))
    return kind(
        objective=keras_tuner.Objective(objective, "min"),
        hyperparameters=hyperparameters,
        seed=seed + 1,  # KerasTuner takes 0 for none.
        max_retries_per_trial=3,  # A worker that could not reach its chief says that its trial is invalid.
        max_consecutive_failed_trials=None,  # However many do not fit, the others are tried.
        **arguments,
    )


def read(path: Path) -> Trial:
    """A trial from its trial.json; what is wrong with the file is an error of JSON's, or a KeyError."""
    return Trial.from_state(json.loads(path.read_text()))


def tried(trial: Trial, values: Values) -> dict[str, Any]:
    """The values of a trial as the space has them: KerasTuner turns True into 1."""
    return {key: next(v for v in values[key] if v == trial.hyperparameters.values[key]) for key in values}


def _write(path: Path, state: dict[str, Any]) -> None:
    files.replace(path, json.dumps(state).encode())
