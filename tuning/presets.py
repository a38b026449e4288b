"""Train the released models again, and release them: `python tuning/presets.py [NAME ...]`.

Each run is a folder NAME-SEED of `--runs`; what is finished there is not trained again, what was broken off goes on. Of
several seeds the best by validation becomes the preset. Its weights are halved, and its figures are measured on the
test split from the halved weights.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from bachkeras import _files as files
from bachkeras import _presets, _start

TABLE = Path(__file__).with_suffix(".toml")
"""The presets, see `table`."""

KEPT = ("config.json", "history.csv")
"""The files of a run that its preset has as they are."""

WEIGHTS = "model.weights.h5"
"""Where a model.keras has its weights."""

BACH = "The music is in the public domain."

LICENCES = {
    "jsb_quarter": f"{BACH} The benchmark's encoding has no licence of its own.",
    "chorales_16th": f"{BACH} The encodings come with music21 by permission, some for non-commercial use only.",
}
"""Of the data, by corpus."""


def table() -> dict[str, dict]:
    """The presets: what each is, the command that trains it, and with which seeds."""
    return tomllib.loads(TABLE.read_text())


def main(arguments: list[str] | None = None) -> None:
    """Train and release the presets of a command line."""
    rows = table()
    parser = argparse.ArgumentParser(description="Train the released models again, and release them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(rows)} (all)")
    parser.add_argument("--runs", type=Path, default=Path("runs/presets"), help="the folder of the runs")
    parser.add_argument("--manual-dir", type=Path, help="a folder that holds the benchmark's file already")
    parsed = parser.parse_args(arguments)
    for name in parsed.names:
        if name not in rows:
            parser.error(f"there is no preset {name!r}")
    _start.tensorflow()
    for name in parsed.names or rows:
        row = rows[name]
        runs = {seed: parsed.runs / f"{name}-{seed}" for seed in row["seeds"]}
        for seed, run in runs.items():
            train(row["command"], seed, run, parsed.manual_dir)
        seeds = {seed: measured(run) for seed, run in runs.items()}
        best = min(seeds, key=lambda seed: seeds[seed]["validation"])
        release(
            runs[best],
            _presets.FOLDER / name,
            about=row["about"],
            command=f"bachkeras train {row['command']} --seed {best}",
            seeds=seeds,
            manual_dir=parsed.manual_dir,
        )


def train(command: str, seed: int, run: Path, manual_dir: Path | None) -> None:
    """Train a run, or go on with it; one that is finished stays as it is."""
    options = ["--seed", str(seed), "--out", str(run), "--resume"]
    options += ["--manual-dir", str(manual_dir)] if manual_dir else []
    subprocess.run([sys.executable, "-m", "bachkeras", "train", *shlex.split(command), *options], check=True)


def measured(run: Path) -> dict[str, float | None]:
    """What a run's training has come to: the figure that chose its epoch, and its nats a frame on the test split."""
    from bachkeras.training import directory, figures
    from bachkeras.training.run import MODELS

    model = MODELS[directory.card(run)["model"]]
    monitor = [*model.monitors.values()][-1]
    test = json.loads((run / "evaluation.json").read_text())[0]["test_nats_per_frame"]
    return {"validation": figures.best_epoch(run, model)[monitor], "test_nats_per_frame": test}


def release(run: Path, folder: Path, *, about: str, command: str, seeds: dict, manual_dir: Path | None) -> None:
    """Make a preset of a run.

    Args:
        run: a finished run directory.
        folder: of the preset; one that is there is replaced.
        about: a sentence.
        command: that trains it again.
        seeds: what `measured` says of each.
        manual_dir: see `catalog.build`.
    """
    from bachkeras.training import directory, evaluate

    content = directory.card(run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(folder) as made, tempfile.TemporaryDirectory() as scratch:
        made.mkdir()
        for name in KEPT:
            shutil.copyfile(run / name, made / name)
        halve(run / "model.keras", made / "model.keras")
        card = {"format": _presets.FORMAT, "about": about, "command": command}
        card |= {"licence": LICENCES[content["data"]["name"]], "seeds": {str(seed): seeds[seed] for seed in seeds}}
        files.write_json(made / "card.json", card)
        rows = evaluate.evaluate([made], Path(scratch), manual_dir=manual_dir)
        files.write_json(made / "evaluation.json", rows[:1])
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
    print(f"{folder.name}: {sum(path.stat().st_size for path in folder.iterdir()) / 2**20:.1f} MiB")


def halve(model: Path, halved: Path) -> None:
    """Write a model.keras with weights in half precision and without its optimizers.

    Keras reads it as it reads any other: each weight is cast to its variable's own type.

    Raises:
        ValueError: if a weight is too large for half precision.
    """
    import keras

    import bachkeras.models  # noqa: F401 - Keras must know the classes of a saved model.

    with tempfile.TemporaryDirectory() as scratch:
        single = Path(scratch) / "model.keras"
        keras.saving.load_model(model, compile=False).save(single)
        with zipfile.ZipFile(single) as source, zipfile.ZipFile(halved, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                content = source.read(name)
                target.writestr(name, in_half(content) if name == WEIGHTS else content)


def in_half(weights: bytes) -> bytes:
    """An HDF5 file with its single-precision numbers in half precision."""
    import h5py
    import numpy as np

    written = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(written, "w") as target:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                target.require_group(name)
            elif item.dtype == np.float32:
                with np.errstate(over="ignore"):
                    half = item[()].astype(np.float16)
                if not np.isfinite(half).all():
                    raise ValueError(f"Half precision has no such number. Received: {name}={item[()]}"[:500])
                target[name] = half
            else:
                target[name] = item[()]
            target[name].attrs.update(item.attrs)

        source.visititems(copy)
    return written.getvalue()


if __name__ == "__main__":
    main()
