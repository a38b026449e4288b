"""`python tuning/trial.py FOLDER`: a trial of a search, in a process of its own, so that nothing of it stays behind.

FOLDER holds config.toml. The run goes to FOLDER/run; where it is there already it goes on. In the end there is either
figures.json, or failed.txt with the reason why the combination cannot be trained, and the exit status is 0. An error in
the program is none of a combination: it ends the process with its traceback. The process ends with the one that
started it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bachkeras import _files as files
from bachkeras import _start
from bachkeras.training import config

if TYPE_CHECKING:
    import keras

CONFIG, RUN, FIGURES, FAILED = "config.toml", "run", "figures.json", "failed.txt"
"""Names in the folder."""


class Unfit(RuntimeError):
    """Why a combination of values cannot be trained."""


def main(arguments: list[str] | None = None) -> int:
    """Run a trial; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--manual-dir", type=Path, metavar="DIR")
    parsed = parser.parse_args(arguments)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _start.tensorflow()
    from bachkeras.training import interrupt

    try:
        with interrupt.enabled(), _alone(parsed.folder):
            try:
                _train(parsed.folder, parsed.model, parsed.seed, parsed.manual_dir)
                files.write_json(parsed.folder / FIGURES, figures(parsed.folder / RUN))
            except Unfit as error:
                files.replace(parsed.folder / FAILED, f"{' '.join(str(error).split())}\n".encode())
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with(parent: int) -> None:
    """End this process soon after its parent."""
    while os.getppid() == parent:
        time.sleep(0.5)
    signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process runs the trial: one whose search was killed ends soon."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(files.locked(folder))
                break
            except RuntimeError:
                time.sleep(0.5)
        yield


def _train(folder: Path, model: str, seed: int, manual_dir: Path | None) -> None:
    """Train a trial's run to the end of its epochs; one that is damaged is begun anew.

    Raises:
        Unfit: if that cannot be.
    """
    from bachkeras.training import checkpoint, run

    out = folder / RUN
    with _memory():
        if out.exists() and not all((out / name).exists() for name in ("config.json", checkpoint.NAME)):
            shutil.rmtree(out)
        if not out.exists():
            try:
                run.begin(model, config.read(model, folder / CONFIG), out, seed=seed, manual_dir=manual_dir)
            except ValueError as error:  # The values do not go together.
                raise Unfit(str(error)) from error
        try:
            run.resume(out, manual_dir=manual_dir, finish=False)
        except run.Untrained as error:
            raise Unfit(str(error)) from error


def figures(out: Path) -> dict[str, Any]:
    """What a trained run is worth on the validation split, by its best epoch.

    Of a model that has a likelihood `nats_per_frame`, over whole pieces, all frames, so that no window matters; as
    `bachkeras evaluate` scores a test split. Of one that is judged by its samples `ngram_jsd_2`, theirs.

    Raises:
        Unfit: if it cannot be scored.
    """
    from bachkeras.evaluation import likelihood
    from bachkeras.training import directory
    from bachkeras.training import figures as all_figures

    model = directory.load(out)
    best = all_figures.best_epoch(out, type(model))
    if model.judged_by_samples:
        value = best.get("val_ngram_jsd_2", math.nan)
    else:
        validation = likelihood.quoted(directory.corpus(model.card, "validation"))
        dropped = likelihood.dropped_notes(model, validation.pieces)
        if dropped:
            raise Unfit(f"{dropped} notes of the validation split do not fit the model's voices")
        with _memory():
            log_p = likelihood.log_probs(model, validation)
        value = likelihood.nats_per_frame(log_p["frame"] + log_p.get("latent", 0.0), validation)
    if not math.isfinite(value):
        raise Unfit(f"{objective(type(model))} is not finite")
    return {
        objective(type(model)): value,
        "epochs": len(all_figures.history(out)["epoch"]),
        "best_epoch": int(best["epoch"]) + 1,
        "minutes": all_figures.minutes(out),
        "parameters": all_figures.parameters(model),
    }


def objective(model: type[keras.Model]) -> str:
    """The figure of a class of models that a search makes small."""
    return "ngram_jsd_2" if model.judged_by_samples else "nats_per_frame"


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Of memory that is too short a trial can say so."""
    import tensorflow as tf

    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise Unfit(f"out of memory: {str(error)[:200]}") from error


if __name__ == "__main__":
    sys.exit(main())
