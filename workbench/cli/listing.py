"""``mesascope tasks``, ``models`` and ``algorithms``: what there is, from the registries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.cli.output import print_json, print_table
from workbench.cli.parse import parse
from workbench.cli.record import Verb


@dataclass(frozen=True)
class Arguments:
    """Listing options."""

    json: bool = False
    """Print one JSON document instead of a table."""


def list_tasks(arguments: Sequence[str]) -> int:
    """Print every task with its hyperparameters and presets."""
    options = parse(Arguments, arguments, TASKS_VERB.name, TASKS_VERB.help)
    from workbench.configs import to_data
    from workbench.tasks import TASKS

    tasks = [
        {"name": t.name, "label": t.label, "source": t.source, "defaults": to_data(t()), "presets": dict(t.presets)}
        for t in TASKS.values()
    ]
    if options.json:
        print_json({"schema": "mesascope/tasks/1", "tasks": tasks})
        return 0
    rows = [(t["name"], t["label"], ", ".join(t["presets"]), t["source"]) for t in tasks]
    print_table("Tasks", ["name", "label", "presets", "source"], rows)
    for task in tasks:
        rows = [(name, str(value)) for name, value in task["defaults"].items()]
        print_table(f"{task['name']}: hyperparameters (--task.NAME VALUE)", ["name", "default"], rows)
    return 0


def list_models(arguments: Sequence[str]) -> int:
    """Print every switch of the one model class with its values."""
    options = parse(Arguments, arguments, MODELS_VERB.name, MODELS_VERB.help)
    from workbench.configs import to_data
    from workbench.models.config import TransformerConfig
    from workbench.models.kinds import SWITCHES

    defaults = to_data(TransformerConfig())
    switches = {
        switch: [{"name": r.name, "label": r.label, "source": getattr(r, "source", "")} for r in registry.values()]
        for switch, registry in SWITCHES.items()
    }
    if options.json:
        print_json({"schema": "mesascope/models/1", "defaults": defaults, "switches": switches})
        return 0
    rows = [(switch, value["name"], value["label"], value["source"]) for switch, vs in switches.items() for value in vs]
    print_table("Switches of the transformer (--model.SWITCH VALUE)", ["switch", "value", "label", "source"], rows)
    plain = [(name, str(value)) for name, value in defaults.items() if name not in switches]
    print_table("Other fields (--model.NAME VALUE)", ["name", "default"], plain)
    return 0


def list_algorithms(arguments: Sequence[str]) -> int:
    """Print every reference algorithm with its family, options and source."""
    options = parse(Arguments, arguments, ALGORITHMS_VERB.name, ALGORITHMS_VERB.help)
    from workbench.agreement.config import AgreementConfig
    from workbench.baselines import BASELINES

    defaults = AgreementConfig().families
    algorithms = [
        {
            "name": b.name,
            "label": b.label,
            "family": b.family,
            "iterative": b.iterative,
            "compared": "by default" if b.name in defaults else "if asked" if b.iterative and not b.required else "",
            "options": {name: value for name, value in b.options.items() if name not in b.required},
            "required": list(b.required),
            "source": b.source,
        }
        for b in BASELINES.values()
    ]
    if options.json:
        print_json({"schema": "mesascope/algorithms/1", "algorithms": algorithms})
        return 0
    rows = [
        (a["name"], a["label"], a["family"], "yes" if a["iterative"] else "", a["compared"], _tell_options(a))
        for a in algorithms
    ]
    print_table(
        "Reference algorithms; every step of one that iterates: mesascope agree RUN --settings.families NAME NAME",
        ["name", "label", "family", "iterates", "step by step", "options"],
        rows,
    )
    print_table("Sources", ["name", "source"], [(a["name"], a["source"]) for a in algorithms])
    return 0


def _tell_options(algorithm: Mapping[str, Any]) -> str:
    given = [f"{name} (must be given)" for name in algorithm["required"]]
    return ", ".join(given + [f"{name} {value}" for name, value in algorithm["options"].items()])


TASKS_VERB = Verb("tasks", "[--json]", "the tasks, their hyperparameters and presets", list_tasks)
MODELS_VERB = Verb("models", "[--json]", "the switches of the transformer and their values", list_models)
ALGORITHMS_VERB = Verb("algorithms", "[--json]", "the reference algorithms, their options and sources", list_algorithms)
