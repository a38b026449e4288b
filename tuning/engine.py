"""A search, from what is asked to the finished run of the best trial."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import inspect
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import oracles
import spaces
import trial as trials
import tuner
from results import CSV, PICTURE, Results, text
from spaces import Search

from bachkeras import _files as files
from bachkeras.data import catalog
from bachkeras.training import run as runs

FINISH = [sys.executable, "-m", "bachkeras"]
"""The program that finishes the best run, in a process of its own: this one keeps off the GPU."""

OVER = "over.json"
"""In the search's folder once all trials are over: what was asked for then."""


def run(search: Search, folder: Path, manual_dir: Path | None = None) -> int:
    """Run a search, or go on with it, or take part in it as a worker; returns the exit status.

    Raises:
        ValueError: if a hyperparameter is none, or the corpus or the space is, or the folder has another search.
        RuntimeError: if another process runs it, or there is an error in a trial's program.
        OSError: if something cannot be written.
    """
    _check_names(search)
    objective = trials.objective(runs.MODELS[search.model])
    oracle = oracles.make(
        search.oracle,
        search.values,
        objective,
        trials=search.trials,
        epochs=search.config.training.epochs,
        seed=search.seed,
    )
    data = search.config.data  # It is built before all trials fail for want of it.
    validation = catalog.load(data.name, "validation", keep_performances=data.keep_performances, manual_dir=manual_dir)
    search = dataclasses.replace(search, corpus=validation.version)
    folder.mkdir(parents=True, exist_ok=True)
    if tuner.is_worker():
        return _work(search, oracle, folder, manual_dir)
    with files.locked(folder):
        if (folder / tuner.SEARCH).exists():
            search.check(folder / tuner.SEARCH)
        files.write_json(folder / tuner.SEARCH, search.to_dict())
        (folder / tuner.ERROR).unlink(missing_ok=True)
        oracle.on_end = lambda name: _tell(Results(folder, search, objective), name)
        engine = tuner.Tuner(oracle, search, folder, manual_dir)
        if not (tuner.is_chief() and _over(search, folder) and not oracle.waiting):  # No worker would come.
            (folder / OVER).unlink(missing_ok=True)
            with _heeding_workers(folder):
                engine.search()
        files.write_json(folder / OVER, search.to_dict())
        return _finish(Results(folder, search, objective), manual_dir)


def _work(search: Search, oracle: oracles.Resumable, folder: Path, manual_dir: Path | None) -> int:
    """Take part in a search; returns the exit status."""
    if _over(search, folder):
        print("This search is over.")
        return 0
    try:
        tuner.Tuner(oracle, search, folder, manual_dir).search()
    except grpc.RpcError as error:
        raise RuntimeError(f"The chief does not answer: {error.details()}") from None
    return 0


def _over(search: Search, folder: Path) -> bool:
    """Whether the chief has seen the end of all trials."""
    return (folder / OVER).exists() and json.loads((folder / OVER).read_text()) == search.to_dict()


@contextlib.contextmanager
def _heeding_workers(folder: Path) -> Iterator[None]:
    """Give up where a worker has: a chief would wait for it for ever.

    Raises:
        RuntimeError: with the worker's reason.
    """
    error, done = folder / tuner.ERROR, threading.Event()

    def watch():
        while not done.wait(1):
            if error.exists():
                signal.raise_signal(signal.SIGINT)  # The main thread, which serves the workers, wakes up by it.
                return

    if tuner.is_chief():
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if error.exists():
            raise RuntimeError(error.read_text()) from None
        raise
    finally:
        done.set()


def _check_names(search: Search) -> None:
    """Raises ValueError if a hyperparameter is no argument of the model, or of its frame distribution."""
    frame = runs.FRAMES.get(search.config.frame.get("class", "ChainedVoices"))
    kinds = {"model": [runs.MODELS[search.model]], "frame": [frame] if frame else runs.FRAMES.values()}
    known = {
        section: {name for kind in of for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}
        for section, of in kinds.items()
    }
    known["frame"].add("class")
    for key in search.values:
        for place in spaces.places(search.model, key):
            section, _, name = place.partition(".")
            if section in known and name not in known[section]:
                raise ValueError(f"{search.model} has no such hyperparameter. Received: {key!r}")


def _tell(found: Results, name: str) -> None:
    """Say and write what a trial has found that has just ended."""
    (row,) = (row for row in found.rows if row["trial"] == name)
    values = ", ".join(f"{key} {text(row[key])}" for key in found.search.values)
    objective, best = found.objective, found.trained[:1]
    said = (
        f"failed: {row['failed']}" if row["failed"] else f"{objective} {row[objective]:.4f}, {row['minutes']:.1f} min"
    )
    so_far = f"; best {best[0][objective]:.4f} (trial {best[0]['trial']})" if best else ""
    count = _count(found.search)
    number = f"{len(found.rows)} of {count}" if count else str(len(found.rows))
    print(f"{time.strftime('%H:%M')}  {number}  trial {name}: {values}: {said}{so_far}", flush=True)
    try:
        found.write()
    except OSError as error:  # In the end they are written again.
        print(f"The results could not be written: {error}", flush=True)


def _count(search: Search) -> int:
    """How many trials there will be; 0 where nobody knows."""
    everything = math.prod(len(tried) for tried in search.values.values())
    return {"grid": everything, "hyperband": 0}.get(search.oracle, min(search.trials, everything))


def _finish(found: Results, manual_dir: Path | None) -> int:
    """Tell of all trials, and finish the best one's run: it alone sees the test split."""
    folder = found.folder
    found.write()
    if found.failed:
        print(f"{len(found.failed)} of {len(found.rows)} trials failed:")
        print("\n".join(f"  trial {row['trial']}: {row['failed']}" for row in found.failed))
    if not found.trained:
        print("search.py: no trial could be trained", file=sys.stderr)
        return 1
    found.draw()
    print(found.table())
    name = found.trained[0]["trial"]
    trial, out = folder / f"trial_{name}", folder / "best"
    if not _same(trial / trials.RUN, out):
        shutil.rmtree(out, ignore_errors=True)
        with files.whole(out) as unfinished:
            shutil.copytree(trial / trials.RUN, unfinished)
    files.replace(folder / "best.toml", (trial / trials.CONFIG).read_bytes())
    print(f"The best one, trial {name}, beside the test split:", flush=True)
    command = [*FINISH, "train", found.search.model, "--out", str(out), "--resume"]
    command += ["--manual-dir", str(manual_dir)] if manual_dir else []
    status = subprocess.run(command, check=False).returncode
    if status == 130:
        raise KeyboardInterrupt
    print(f"All trials: {folder / CSV}, {folder / PICTURE}. The best: {folder / 'best.toml'}, {out}")
    return int(bool(status))


def _same(trained: Path, best: Path) -> bool:
    """Whether the best run is that one, finished or not."""
    names = ("config.json", "history.csv")
    return all((best / name).exists() for name in names) and not any(filecmp.cmpfiles(trained, best, names, False)[1:])
