"""How trials are run: KerasTuner's engine, which hands them to this process or to workers, and a process for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import oracles
import spaces
import trial as trials
from keras_tuner import errors
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial

from bachkeras import _files as files
from bachkeras.training import config

TRIAL = [sys.executable, str(Path(__file__).with_name("trial.py"))]
"""The program that runs a trial."""

LOG = "log.txt"
"""What it says, in the trial's folder."""

SEARCH = "search.json"
"""What was asked for, in the search's folder."""

ERROR = "error.txt"
"""Why the search was given up, there."""

MEMORY = ("SIGKILL", "SIGABRT")
"""The signals that end a process that takes too much memory."""

INTERRUPTIONS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Those by which somebody ends it."""


class Tuner(BaseTuner):
    """Runs each trial in a process of its own, so that one that takes too much memory ends that process alone.

    Trials lie in `folder/trial_NAME`, which all workers share.

    Args:
        oracle: an `oracles.Resumable`.
        search: what is searched.
        folder: of the search.
        manual_dir: see `catalog.build`.
    """

    def __init__(self, oracle: oracles.Resumable, search: spaces.Search, folder: Path, manual_dir: Path | None):
        self.asked = search
        self.folder = folder
        self.manual_dir = manual_dir
        oracle.verbose = 0
        super().__init__(oracle, directory=str(folder.parent), project_name=folder.name)
        # KerasTuner would look for a file of the tuner's: it has none.
        if not is_worker() and (folder / "oracle.json").exists():
            self.oracle.reload()

    def save(self):
        """Save the oracle; the tuner has no state of its own."""
        if not is_worker():
            self.oracle.save()

    def pre_create_trial(self):
        """Wait a little: an oracle that has nothing to run as yet would be asked again at once."""
        time.sleep(0.1)

    def run_trial(self, trial):
        """Run a trial's process, or take up what it left.

        Returns:
            The objective.

        Raises:
            FailedTrialError: if the combination cannot be trained; FOLDER/failed.txt says why.
            FatalError: if the search cannot go on, here or in another worker; error.txt says why. KerasTuner would take
                any other error for a trial that failed.
        """
        error = self.folder / ERROR
        if error.exists():
            raise errors.FatalRuntimeError(error.read_text())
        try:
            self.asked.check(self.folder / SEARCH)
        except ValueError as other:
            raise errors.FatalValueError(str(other)) from None
        try:
            return self._result(trial)
        except errors.FailedTrialError:
            raise
        except OSError as trouble:
            raise errors.FatalRuntimeError(str(trouble)) from trouble
        except errors.FatalError as mistake:
            files.replace(error, str(mistake).encode())
            raise
        except Exception as mistake:
            files.replace(error, repr(mistake).encode())
            raise errors.FatalError(repr(mistake)) from mistake

    def _result(self, trial: Trial) -> dict[str, float]:
        """The objective of a trial; errors as of `run_trial`."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        values = oracles.tried(trial, self.asked.values)
        changed = spaces.configured(self.asked.config, self.asked.model, values)
        epochs = trial.hyperparameters.values.get(oracles.EPOCHS)
        config.write(folder / trials.CONFIG, changed.every_stage(epochs=epochs) if epochs else changed)
        if not any((folder / name).exists() for name in (trials.FIGURES, trials.FAILED)):
            self._train(folder, seed(self.asked.seed, values))
        if (folder / trials.FAILED).exists():
            raise errors.FailedTrialError((folder / trials.FAILED).read_text())
        name = self.oracle.objective.name
        return {name: json.loads((folder / trials.FIGURES).read_text())[name]}

    def _train(self, folder: Path, seed: int) -> None:
        """Run the process of a trial; errors as of `run_trial`."""
        command = [*TRIAL, str(folder), "--model", self.asked.model, "--seed", str(seed)]
        command += ["--manual-dir", str(self.manual_dir)] if self.manual_dir else []
        with open(folder / LOG, "a") as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        by = signal.Signals(-status).name if status < 0 else ""
        if status == 130 or by in INTERRUPTIONS:
            raise KeyboardInterrupt
        if by in MEMORY:
            reason = f"its process was ended by {by}: perhaps it took too much memory"
            files.replace(folder / trials.FAILED, f"{reason}\n".encode())
        elif status:
            raise errors.FatalRuntimeError(_last_words(folder / LOG, status))


def seed(base: int, values: dict[str, Any]) -> int:
    """The seed of a trial, 0 to 2^31 - 1: the same wherever and whenever it is run."""
    return zlib.crc32(json.dumps([base, values], sort_keys=True).encode()) >> 1


def is_worker() -> bool:
    """Whether another process is the chief, by KerasTuner's environment variables."""
    return _in_cluster() and not is_chief()


def is_chief() -> bool:
    """Whether this process hands trials to workers."""
    return _in_cluster() and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def _in_cluster() -> bool:
    return "KERASTUNER_ORACLE_IP" in os.environ


def _last_words(log: Path, status: int) -> str:
    """The last line of a log, and where it is."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no output'} (exit status {status}; see {log})"
