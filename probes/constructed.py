"""Probes and steering of a transformer that runs gradient descent by construction: what both must find.

    python -m probes.constructed [--d-input 4] [--n-steps 3] [--step-size 0.3] [--json]

Every token of the model holds w_l of gradient descent after block l, and the block after the last step reads it
(`workbench.models.constructions.gd_on_weights`). Prints R^2 of every w_k by layer, which is 1 in layer k and less
elsewhere, and the slope of the prediction on w'.x after the last w_k was replaced, which is 1 where it is complete.
"""

import argparse
import json
import sys
from typing import Any

import torch

from probes.config import ProbeConfig
from probes.evaluate import Models, evaluate
from probes.results import row
from probes.scripts import layer_table
from probes.steering import steer
from probes.steering_config import SteeringConfig
from probes.steering_results import row as steering_row
from workbench.errors import InputError
from workbench.models.constructions.gd_on_weights import build
from workbench.models.transformer import Transformer
from workbench.tasks import LinearRegression


def main(words: list[str] | None = None) -> int:
    """Build, probe, steer, print."""
    parser = argparse.ArgumentParser(description="What probes and steering must find in a constructed transformer.")
    parser.add_argument("--d-input", type=int, default=4, help="size of one x")
    parser.add_argument("--n-context", type=int, default=9, help="examples of a prompt, the last one asked for")
    parser.add_argument("--n-steps", type=int, default=3, help="steps of gradient descent")
    parser.add_argument("--step-size", type=float, default=0.3, help="eta on the mean loss")
    parser.add_argument("--json", action="store_true", help="print the rows instead of tables")
    given = parser.parse_args(words)
    try:
        rows, steered = _found(given)
    except InputError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    if given.json:
        sys.stdout.write(json.dumps({"probes": rows, "steering": steered}, indent=1, allow_nan=False) + "\n")
        return 0
    names = list(dict.fromkeys(each["target"] for each in rows))
    scores = {name: [each["r2"] for each in rows if each["target"] == name] for name in names}
    scores |= {f"  shuffled {n}": [each["r2_shuffled"] for each in rows if each["target"] == n] for n in names[-1:]}
    scores |= {f"  untrained {n}": [each["r2_untrained"] for each in rows if each["target"] == n] for n in names[-1:]}
    sys.stdout.write(layer_table(f"R2 by ridge, {given.n_context - 1} examples seen", scores))
    found = [each["steered"] for each in steered]
    spans = [None if each is None else each["random_range"] for each in found]
    lines = {name: [None if each is None else each[name] for each in found] for name in ("slope", "kept", "length")}
    lines |= {f"random, {'low' if i == 0 else 'high'}": [None if e is None else e[i] for e in spans] for i in (0, 1)}
    sys.stdout.write(layer_table(f"Predictions after {names[-1]} was replaced at all tokens before the query", lines))
    return 0


def _found(given: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    task = LinearRegression(d_input=given.d_input, n_context=given.n_context)
    model = build(given.d_input, given.n_context, given.n_steps, step_size=given.step_size)
    untrained = Transformer(model.config, torch.Generator().manual_seed(0)).double()
    targets = tuple(f"w_gd:{step}:{given.step_size:g}" for step in range(1, given.n_steps + 1))
    seen = (given.n_context - 1,)
    config = ProbeConfig(targets=targets, reading="query", n_contexts=seen, n_fit=1024, n_prompts=512)
    found = evaluate(Models(model, untrained), task, config)
    changed = SteeringConfig(targets=targets[-1:], tokens=("examples",), n_contexts=seen, n_fit=1024, n_prompts=256)
    return [dict(row(s)) for s in found.scores], [steering_row(s) for s in steer(model, task, changed)]


if __name__ == "__main__":
    sys.exit(main())
