"""``mesascope train``: train a model into a run folder, many at once, or go on with them."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from workbench.cli.output import clock, note, number, print_json, say, training_progress
from workbench.cli.parse import default_root, options_given, parse
from workbench.cli.record import Verb
from workbench.errors import FailedElsewhere, InputError, ProcessGone
from workbench.processes import leads, n_together

if TYPE_CHECKING:
    from workbench.runs import RunFolder
    from workbench.training.config import RunConfig
    from workbench.training.distributed import World

FINISHED, STOPPED = "finished", "stopped"
FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130
_VARY = (
    "Train one run for each of these values: train.seed=0..7, train.lr=1e-3,3e-3 or task.noise-std=0,0.5. Given "
    "several times, one for every combination."
)
_ABOUT = """{help}; or go on with runs:
    mesascope train {name} --preset demo --out first
    mesascope train {name} --preset demo --vary train.seed=0..3 --vary train.lr=1e-3,3e-3 --out sweep
    mesascope train --resume first

{lists}"""


@dataclass(frozen=True)
class Arguments:
    """Where a run comes from and where it goes."""

    preset: str = "small"
    """Settings to start from: demo, small, paper, or another of the task's. Options given beside it win."""
    config: str | None = None
    """Start from a config.json instead, such as that of another run."""
    out: str | None = None
    """Name or path of the new run; made from date, task and config if not given. With --vary, the names of all runs
    start so."""
    resume: tuple[str, ...] = ()
    """Go on with these runs from their last checkpoints; nothing else can be changed. A pattern such as 'sweep-*'
    means all runs with such a name."""
    runs: str = field(default_factory=default_root)
    """The runs folder."""
    json: bool = False
    """Print one JSON document at the end."""


def run(arguments: Sequence[str]) -> int:
    """Train, and say what came out; where several processes train one run, the first speaks, as long as it lives."""
    if leads():
        return _run(arguments)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            return _run(arguments)
    except InputError:
        return WRONG_INPUT
    except RuntimeError as error:
        from workbench.training.loop import MemoryRanOut, TrainingFailed

        told_by_first = isinstance(error, FailedElsewhere | TrainingFailed) and not isinstance(error, MemoryRanOut)
        if told_by_first and not (isinstance(error, ProcessGone) and error.told_here):
            return FAILED
        raise


def _run(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    task = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if {"-h", "--help"} & set(arguments) or task is None:
        return _help_or_resume(arguments, task)
    from workbench.training.config import preset_config
    from workbench.training.distributed import joined

    base = _base(arguments)
    config = preset_config(task, base.preset) if base.config is None else _config_from_file(base.config, task)
    given = parse(_arguments_class(config, base), arguments, f"{VERB.name} {task}", VERB.help, repeated=("vary",))
    if given.resume:
        raise InputError("--resume must stand without a TASK; the run knows its task.")
    if given.vary:
        _check_not_given_too(given.vary, arguments)
        return _train_varied(dataclasses.replace(config, task=given.task, model=given.model, train=given.train), given)
    resolved = dataclasses.replace(config, task=given.task, model=given.model, train=given.train).resolved()
    with joined(resolved.train.device) as world:
        folder = _made_once(resolved, given, world)
        _note_too_short([resolved])
        return report_training(folder, as_json=given.json)


def _made_once(config: "RunConfig", given: Arguments, world: "World") -> "RunFolder":
    """The new run's folder, made by the first of the processes that train it."""
    from workbench.run_names import new_run_path
    from workbench.runs import RunFolder

    path = new_run_path(world.of_first(_name(config)) if given.out is None else given.out, given.runs)
    with world.as_one():
        if world.rank == 0:
            create_run(config, path, world)
    return RunFolder.open(path)


def _note_too_short(configs: "Sequence[RunConfig]") -> None:
    """Note in one line how many of the runs are too short for their settings, and what the first of them misses."""
    from workbench.training.too_short import too_short

    told = [text for text in map(too_short, configs) if text]
    if told:
        of_many = f"{len(told)} of {len(configs)} runs are short; of the first, " if len(configs) > 1 else ""
        note(f"notice: {of_many}{told[0]}")


def _config_from_file(path: str, task: str) -> "RunConfig":
    """The run config in a file, without the model's shapes that the task gives: they follow the task's options."""
    from workbench.files import read_object
    from workbench.models.config import TransformerConfig
    from workbench.registry import find
    from workbench.tasks import TASKS
    from workbench.training.config import run_config_from_data

    find(TASKS, task, "task")
    data = read_object(Path(path))
    try:
        config = run_config_from_data(data).resolved()
    except InputError as error:
        raise InputError(f"--config {path}: {error}") from error
    if config.task.name != task:
        raise InputError(f"--config must be of task {task!r}; it is of {config.task.name!r}.")
    plain = {name: getattr(TransformerConfig(), name) for name in config.task.model_shape()}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **plain))


def _help_or_resume(arguments: list[str], task: str | None) -> int:
    from workbench.cli.many import report_many
    from workbench.registry import find
    from workbench.run_names import run_paths
    from workbench.runs import RunFolder
    from workbench.tasks import TASKS
    from workbench.training.config import preset_config

    if task is not None or {"-h", "--help"} & set(arguments):
        name = find(TASKS, task, "task").name if task else next(iter(TASKS))
        config = preset_config(name, Arguments.preset)
        about = _ABOUT.format(help=VERB.help, name=name, lists=_lists(name))
        parse(_arguments_class(config, Arguments()), ["--help"], f"{VERB.name} {task or 'TASK'}", about)
    _check_settings_kept(arguments)
    given = parse(Arguments, arguments, VERB.name, VERB.help)
    if not given.resume:
        raise InputError(f"train needs a TASK or --resume RUN; known tasks: {', '.join(TASKS)}.")
    paths = [path for run in given.resume for path in run_paths(run, given.runs)]
    folders = [RunFolder.open(path) for path in {path.resolve(): path for path in paths}.values()]
    if len(folders) == 1:
        return report_training(folders[0], as_json=given.json)
    _check_alone()
    return report_many(folders, as_json=given.json)


def _lists(task: str) -> str:
    """The tasks, the presets of one, and where the defaults come from."""
    from workbench.tasks import TASKS

    lists = {"Tasks": TASKS, f"Presets of {task}": TASKS[task].presets}
    told = [
        f"{title}:\n{textwrap.indent(textwrap.fill(', '.join(names), 74), '    ')}" for title, names in lists.items()
    ]
    return "\n\n".join([*told, f"Defaults below are those of {task} with preset {Arguments.preset}."])


def _train_varied(config: "RunConfig", given: Any) -> int:
    """Train the config with every combination of the values given for some of its fields."""
    from workbench.cli.many import create_runs, report_many
    from workbench.training.varying import variation, varied

    _check_alone()
    configs = varied(config, [variation(text) for text in given.vary])
    folders = create_runs(configs, _name(configs[0]) if given.out is None else given.out, given.runs)
    _note_too_short(configs)
    return report_many(folders, as_json=given.json)


def _check_not_given_too(vary: Sequence[str], arguments: Sequence[str]) -> None:
    """Refuse a field that is varied and given a value of its own, which would be lost."""
    given = set(options_given(arguments))
    for text in vary:
        name = text.partition("=")[0].strip().replace("_", "-")
        if name in given:
            raise InputError(f"--{name} must be left out beside --vary {text}, which gives its values.")


def _check_settings_kept(arguments: Sequence[str]) -> None:
    """Refuse whatever would set something beside --resume."""
    given = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    parts, others = ("--task.", "--model.", "--train."), ("--preset", "--config", "--out", "--vary")
    changed = [option for option in given if option.startswith(parts) or option in others]
    if "--resume" in given and changed:
        raise InputError(
            f"a resumed run keeps its settings and its name; got {', '.join(changed)}. Leave out what is not --resume, "
            "--runs or --json, or start another run with mesascope train TASK --config RUNS/RUN/config.json."
        )


def _check_alone() -> None:
    if n_together() > 1:
        raise InputError(f"several runs must be trained by one process; got {n_together()}. Leave torchrun out.")


def _base(arguments: Sequence[str]) -> Arguments:
    """Preset and config file alone: they decide the defaults of everything else."""
    taken: dict[str, Any] = {}
    for name in ("preset", "config"):
        for position, argument in enumerate(arguments):
            following = arguments[position + 1 : position + 2]
            if argument == f"--{name}" and following and not following[0].startswith("-"):
                taken[name] = following[0]
            elif argument.startswith(f"--{name}="):
                taken[name] = argument.partition("=")[2]
    return Arguments(**taken)


def _arguments_class(config: "RunConfig", base: Arguments) -> type[Any]:
    """Arguments with the task's, the model's and the training's own options."""
    import tyro

    vary = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(help=_VARY, metavar="FIELD=VALUES")]
    fields: list[Any] = [("vary", vary, field(default=()))]
    fields += [
        (part, type(getattr(config, part)), field(default=getattr(config, part))) for part in ("task", "model", "train")
    ]
    return dataclasses.make_dataclass("TrainArguments", fields, bases=(type(base),), frozen=True)


def create_run(config: "RunConfig", path: Path, world: "World | None" = None) -> "RunFolder":
    """A new run folder for a resolved config; everything that can be wrong with the config is found before.

    Args:
        config: A resolved config.
        path: The folder.
        world: The processes that are to train it; this one alone if not given.
    """
    from workbench.environment import environment
    from workbench.runs import RunFolder
    from workbench.training.threads import sensible_threads

    check_run(config, world)
    return RunFolder.create(path, config.to_data(), environment(config.train.seed, sensible_threads(config)))


def check_run(config: "RunConfig", world: "World | None" = None) -> None:
    """Refuse a resolved config that this machine cannot train.

    Raises:
        InputError: With what is wrong.
    """
    from workbench.training.checking import check_trainable
    from workbench.training.distributed import ALONE
    from workbench.training.engines import check_engine

    check_engine(config)
    check_trainable(config, world or ALONE)


def report_training(folder: "RunFolder", *, as_json: bool) -> int:
    """Train with a progress bar; print the outcome and return the exit status."""
    from workbench.training.loop import train

    note(f"run {folder.path}")
    was_left = is_left(folder)
    with training_progress(folder.name, tell_engine=on_accelerator(folder)) as show:
        state = train(folder, show)
    outcome = {"schema": "mesascope/train/1", **outcome_of(folder, state)}
    if as_json:
        print_json(outcome)
    else:
        ended = f"{state} {folder.path}" if was_left else f"nothing is left to train: {folder.path} already {state}"
        say(f"{ended} at step {last_checkpoint(folder)}: {_measured(folder, outcome)}")
        follow = f"train --resume {folder.path}" if state == STOPPED else f"agree {folder.path}"
        say(f"next: mesascope {follow}")
    return INTERRUPTED if state == STOPPED else 0


def last_checkpoint(folder: "RunFolder") -> int | None:
    """The step of a run's last checkpoint, where it goes on."""
    return max(folder.checkpoint_steps(), default=None)


def is_left(folder: "RunFolder") -> bool:
    """Whether anything of a run is left to train."""
    return last_checkpoint(folder) != folder.config()["train"]["n_steps"]


def _measured(folder: "RunFolder", outcome: Mapping[str, Any]) -> str:
    """Losses and time, with their step where that is not the one of the last checkpoint."""
    at = "" if outcome["step"] in (None, last_checkpoint(folder)) else f" at step {outcome['step']}"
    losses = f"loss {number(outcome['loss'])}, over least squares {number(outcome['excess'])}{at}"
    return f"{losses}, {clock(outcome['seconds'] or 0)}"


def on_accelerator(folder: "RunFolder") -> bool:
    """Whether a run trains elsewhere than on the CPU."""
    return folder.config()["train"]["device"] != "cpu"


def outcome_of(folder: "RunFolder", state: str) -> Mapping[str, Any]:
    """How a run stands after training."""
    lines = folder.metrics()
    last = lines[-1] if lines else {}
    measured = {name: last.get(name) for name in ("step", "loss", "excess", "seconds")}
    return {"run": folder.name, "path": str(folder.path), "state": state, **measured}


def _name(config: "RunConfig") -> str:
    from workbench.configs import digest

    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{now}-{config.task.name}-{digest(config.to_data())[:8]}"


VERB = Verb(
    "train",
    "TASK [--preset demo|small|paper] [--vary FIELD=VALUES] [--out RUN] | --resume RUN [RUN ...]",
    "train a transformer on a task into a run folder, or many of them",
    run,
)
