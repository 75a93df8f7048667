"""``mesascope tasks`` and ``mesascope models``: what there is, from the registries."""

from collections.abc import Sequence
from dataclasses import dataclass

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


TASKS_VERB = Verb("tasks", "[--json]", "the tasks, their hyperparameters and presets", list_tasks)
MODELS_VERB = Verb("models", "[--json]", "the switches of the transformer and their values", list_models)
