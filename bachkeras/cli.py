"""`bachkeras ...`: thin commands over the library. TensorFlow is imported inside them, so that `--help` is quick."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bachkeras
from bachkeras import _arguments, _presets, _start


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, 1 for failed work, 2 for bad arguments or input."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.run not in (_generate, _list_presets):  # One refuses bad input before this takes its seconds.
            _start.tensorflow()
        parsed.run(parsed)
    except ValueError as error:
        return _fail(error, 2)
    except (OSError, RuntimeError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow"):
            raise  # A bug: its traceback is wanted.
        return _fail(error, 1)  # Out of memory, a damaged file: TensorFlow's errors have a tree of their own.
    return 0


def _fail(error: object, status: int) -> int:
    print(f"bachkeras: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _data_build(arguments) -> None:
    from bachkeras.data import catalog

    builder = catalog.build(
        arguments.name, keep_performances=arguments.keep_performances, manual_dir=arguments.manual_dir
    )
    sizes = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    print(f"{arguments.name}: {sizes} pieces in {builder.data_path}")


def _data_info(arguments) -> None:
    from bachkeras.data import catalog, info

    options = {"keep_performances": arguments.keep_performances, "manual_dir": arguments.manual_dir}
    corpora = {name: catalog.load(arguments.name, name, **options) for name in catalog.SPLITS}
    builder = catalog.build(arguments.name, **options)
    print("\n".join(info.describe(arguments.name, corpora, builder.info.metadata)))
    if arguments.plot:
        info.draw(arguments.plot, arguments.name, corpora)
        print(f"The picture: {arguments.plot}")


def _train(arguments) -> None:
    from bachkeras.training import directory, interrupt, run
    from bachkeras.training.request import Request

    given = vars(arguments)
    request = Request(**{field.name: given[field.name] for field in dataclasses.fields(Request)})
    out = arguments.out or Path("runs") / f"{arguments.model}-{time.strftime('%Y%m%d-%H%M%S')}"
    if arguments.resume and not arguments.out:
        raise ValueError("--resume goes on with the run that --out names. Received: out=None")
    with interrupt.enabled():
        if arguments.resume and out.exists():
            request.check(directory.card(out))
            run.resume(out, manual_dir=arguments.manual_dir)
        else:
            if arguments.resume:
                print(f"There is no run in {out}: it begins now.")
            run.train(
                request.model,
                request.configuration(),
                out,
                seed=request.seed or 0,
                init=request.init,
                judge=request.judge,
                manual_dir=arguments.manual_dir,
            )


def _generate(arguments) -> None:
    from bachkeras.music import instruments, reading, saving
    from bachkeras.music.score import Tempo

    task, heard = _task(arguments)
    saving.check(arguments.out)
    program = instruments.program(arguments.instrument) if arguments.instrument else 0
    pieces = [reading.read(file) for file in heard]
    names = ("model", "key", "temperature", "top_p", *OPTIONS[task])
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if "count" in OPTIONS[task]:
        options.setdefault("count", COUNT)
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    if arguments.model:
        _presets.place(arguments.model)
    _start.tensorflow()
    with _interruptible():
        scores = getattr(bachkeras, task)(*pieces, seed=seed, **options)
    if arguments.tempo:
        scores = [dataclasses.replace(score, tempos=(Tempo(0, arguments.tempo),)) for score in scores]
    paths = saving.write(arguments.out, scores, program=program, as_musicxml=arguments.musicxml, as_wav=arguments.wav)
    print(f"Seed {seed}: {', '.join(str(path) for path in paths)}")


COUNT = 4
"""Pieces to write where nobody says how many."""

FILES = {"continue_": "primer", "harmonize": "melody", "inpaint": "inpaint", "interpolate": "interpolate"}
"""What `generate` does with files, and the flag that names them."""

OPTIONS = {
    "compose": ("count", "length"),
    "continue_": ("count", "length", "keep_primer"),
    "harmonize": ("count", "melody_voice"),
    "inpaint": ("count", "bars", "voices"),
    "interpolate": ("steps",),
}
"""The options that belong to some of what it does only."""


def _task(arguments) -> tuple[str, list[Path]]:
    """What a command line asks for, and the files that it begins with."""
    task = next((task for task, flag in FILES.items() if getattr(arguments, flag)), "compose")
    for name in dict.fromkeys(name for names in OPTIONS.values() for name in names):
        if getattr(arguments, name) and name not in OPTIONS[task]:
            flags = [f"--{FILES[other]}" for other in FILES if name in OPTIONS[other]]
            where = " or ".join(["new pieces", *flags] if name in OPTIONS["compose"] else flags)
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} goes with {where} alone. Received: {name}={getattr(arguments, name)!r}")
    if task == "inpaint" and not arguments.bars:
        raise ValueError("--inpaint needs the bars to write, as in --bars 5-8. Received: bars=None")
    files = getattr(arguments, FILES[task]) if task in FILES else []
    return task, [files] if isinstance(files, Path) else files


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once. Python would hear of it only after the graph that writes the music."""
    if threading.current_thread() is not threading.main_thread():  # It alone may handle signals.
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _evaluate(arguments) -> None:
    from bachkeras.evaluation import tables
    from bachkeras.training import evaluate

    if arguments.tasks:
        _evaluate_tasks(arguments)
        return
    runs = arguments.runs
    out = arguments.out or _into(runs)
    rows = evaluate.evaluate(
        runs,
        out,
        data=arguments.data,
        count=arguments.samples,
        seed=arguments.seed,
        judge=arguments.judge,
        manual_dir=arguments.manual_dir,
    )
    print(tables.table(rows))
    print(f"The page: {out / 'report.html'}")


def _evaluate_tasks(arguments) -> None:
    from bachkeras.tasks import measures

    run, *others = arguments.runs
    if others:
        raise ValueError(f"--tasks takes one run. Received: {len(others) + 1} runs")
    rows = measures.evaluate(
        run,
        arguments.out or _into([run]),
        data=arguments.data,
        count=arguments.samples,
        seed=arguments.seed,
        judge=arguments.judge,
        manual_dir=arguments.manual_dir,
    )
    print(measures.table(rows))


def _list_presets(arguments) -> None:
    for name, card in bachkeras.presets().items():
        print(f"{name}: {card['about']}")
        print(f"    {card['command']}: {card['minutes']} minutes on {card['data']['name']}")


def _into(runs: list[str]) -> Path:
    """Where an evaluation goes if nobody says: into the one run that it is of. Presets stay as they are."""
    if len(runs) == 1 and not _presets.is_preset(_presets.place(runs[0])):
        return Path(runs[0])
    return Path("evaluation")


def _export(arguments) -> None:
    from bachkeras.training import directory

    model = directory.load(arguments.run_or_preset)
    model.export(arguments.out)
    print(f"A SavedModel: {arguments.out}")


def _codes(arguments) -> None:
    from bachkeras.tasks import codebook

    paths = codebook.draw(arguments.run_or_preset, arguments.out, manual_dir=arguments.manual_dir)
    print(f"{len(paths)} codes: {arguments.out / 'codes.png'}, {arguments.out / 'codes.csv'}, {paths[0]} ...")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bachkeras", description=bachkeras.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"bachkeras {bachkeras.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="build a corpus, look at one").add_subparsers(required=True, metavar="WHAT")
    for name, run, text in (
        ("build", _data_build, "prepare a corpus"),
        ("info", _data_info, "what a corpus holds, and a SHA-256 over its examples"),
    ):
        command = data.add_parser(name, help=text, description=text)
        text = "chorales, chorales_8th, chorales_16th, jsb_quarter, jsb_16th, or a folder of MIDI files, as in ./music"
        command.add_argument("name", metavar="NAME_OR_FOLDER", help=text)
        _keep_performances(command, False)
        _manual_dir(command)
        command.set_defaults(run=run)
    command.add_argument("--plot", type=Path, metavar="F.png", help="draw it, too")

    train = commands.add_parser("train", help="train a model, score it, write four pieces")
    train.add_argument("model", metavar="MODEL", help="lstm-attention, lstm-vae, hierarchical-vae, vq-vae, gan or wgan")
    text = "the corpus, or a folder of MIDI files, as in ./music; else the configuration's"
    train.add_argument("--data", metavar="NAME_OR_FOLDER", help=text)
    _keep_performances(train, None)  # Not given, it is as the configuration says.
    train.add_argument("--config", metavar="NAME_OR_FILE", help="a named configuration or a TOML file (default)")
    train.add_argument(
        "--init",
        metavar="RUN_OR_PRESET",
        help="train this model further; --config gives data and training. For a GAN also a run of lstm-attention",
    )
    text = "its model says how probable it finds the samples; of a GAN it helps to choose the epoch"
    train.add_argument("--judge", metavar="RUN_OR_PRESET", help=text)
    text = "of a GAN: lstm, latent, hierarchical, or autoregressive (with --init)"
    train.add_argument("--generator", metavar="G", help=text)
    train.add_argument("--discriminator", metavar="D", help="of a GAN: lstm, bilstm, conv or multiscale")
    train.add_argument("--out", type=Path, metavar="RUN", help="the new run directory (runs/MODEL-date-time)")
    train.add_argument("--resume", action="store_true", help="go on with RUN where it broke off, if it is there")
    train.add_argument("--epochs", type=_arguments.positive, metavar="N", help="instead of the configuration's")
    train.add_argument("--seed", type=_arguments.seed, metavar="S", help="of weights, data order, samples (0)")
    _manual_dir(train)
    train.set_defaults(run=_train)

    text = "write new music as MIDI: pieces, a continuation, a harmonisation, bars anew, what lies between two pieces"
    generate = commands.add_parser("generate", help=text, description=text)
    text = f"a run directory, or a preset: {', '.join(_presets.names())} (chorales; to interpolate, lstm-vae)"
    generate.add_argument("--model", metavar="RUN_OR_PRESET", help=text)
    generate.add_argument("--count", type=_arguments.positive, metavar="N", help="pieces (4)")
    generate.add_argument(
        "--length",
        type=_arguments.length,
        metavar="FRAMES",
        help='frames of each, or "auto": until the model ends it (auto; after a primer 64)',
    )
    generate.add_argument("--temperature", type=float, default=1.0, metavar="X", help="above 1 bolder, below safer (1)")
    generate.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw from the likeliest P (1)")
    generate.add_argument("--seed", type=_arguments.seed, metavar="S", help="the same seed gives the same music")
    generate.add_argument("--key", metavar="K", help='such as "D minor"; else keys of the corpus, or what is found')
    what = generate.add_mutually_exclusive_group()
    what.add_argument("--primer", type=Path, metavar="FILE", help="continue this piece: MIDI, MusicXML or ABC")
    what.add_argument("--melody", type=Path, metavar="FILE", help="harmonise this melody")
    what.add_argument("--inpaint", type=Path, metavar="FILE", help="write some bars of this piece anew")
    text = "what lies between two pieces, by a VAE"
    what.add_argument("--interpolate", type=Path, nargs=2, metavar=("A", "B"), help=text)
    generate.add_argument(
        "--steps", type=_arguments.steps, metavar="N", help="pieces on the way from A to B, both included (8)"
    )
    generate.add_argument("--keep-primer", action="store_true", help="put the primer before its continuation")
    generate.add_argument("--melody-voice", metavar="V", help='the melody among others: a part, or "top"')
    generate.add_argument("--bars", metavar="A-B", help="those to write, such as 5-8")
    generate.add_argument(
        "--voices", type=_arguments.names, metavar="LIST", help="those to write, such as alto,tenor (all)"
    )
    generate.add_argument("--instrument", metavar="I", help='such as "church organ", or a number (piano)')
    generate.add_argument("--tempo", type=_arguments.tempo, metavar="BPM", help="quarters a minute (the file's, or 80)")
    generate.add_argument("--musicxml", action="store_true", help="write 001.musicxml ... too")
    generate.add_argument("--wav", action="store_true", help="write 001.wav ... too")
    generate.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for 001.mid ... (out)")
    generate.set_defaults(run=_generate)

    text = "the released models: what each is, and the command that trains it again"
    commands.add_parser("presets", help=text, description=text).set_defaults(run=_list_presets)

    text = "write a model as a SavedModel, for which TensorFlow alone is needed"
    export = commands.add_parser("export", help=text, description=text)
    export.add_argument("run_or_preset", metavar="RUN_OR_PRESET", help="a run directory, or a preset's name")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    export.set_defaults(run=_export)

    text = "what the codes of a VQ-VAE mean: the most used ones as small piano rolls and as MIDI"
    codes = commands.add_parser("codes", help=text, description=text)
    codes.add_argument("run_or_preset", metavar="RUN_OR_PRESET", help="of vq-vae")
    codes.add_argument("--out", type=Path, default=Path("codes"), metavar="DIR", help="a new folder (codes)")
    _manual_dir(codes)
    codes.set_defaults(run=_codes)

    evaluate = commands.add_parser("evaluate", help="what models are worth: a table, evaluation.json, report.html")
    evaluate.add_argument("runs", nargs="+", metavar="RUN_OR_PRESET", help="run directories, names of presets")
    text = "instead: harmonise test sopranos, write bars of test pieces anew, or interpolate (VAEs); makes tasks.json"
    evaluate.add_argument("--tasks", action="store_true", help=text)
    evaluate.add_argument("--data", metavar="NAME_OR_FOLDER", help="the corpus; else the one that each was trained on")
    evaluate.add_argument("--samples", type=_arguments.positive, metavar="N", help="of each (as many as test pieces)")
    evaluate.add_argument("--seed", type=_arguments.seed, default=0, metavar="S", help="of the samples (0)")
    text = "its model says how probable it finds the samples"
    evaluate.add_argument("--judge", metavar="RUN_OR_PRESET", help=text)
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="folder for both files (one run: RUN; evaluation)")
    _manual_dir(evaluate)
    evaluate.set_defaults(run=_evaluate)
    return parser


def _keep_performances(command, default: bool | None) -> None:
    text = "of a folder, keep what was played live: its ticks say nothing of beats"
    command.add_argument("--keep-performances", action="store_true", default=default, help=text)


def _manual_dir(command) -> None:
    command.add_argument(
        "--manual-dir", type=Path, metavar="DIR", help="a folder that holds the benchmark's file already"
    )
