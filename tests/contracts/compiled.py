"""Compiles one model per value of every switch and compares; a program of its own, free of run-time shape checks.

The shape checks of the test suite wrap every function, and torch.compile cannot see through the wrappers.
"""

import torch

from tests.contracts.test_models import FACTORS, build, is_allowed, prompt, switches_of
from tests.covering import covering


def compare(switches: dict) -> None:
    """Output and gradients of the compiled model, whole in one graph, against the plain one's."""
    n_layers = 2 if switches["tied_layers"] or switches["input_injection"] else 1
    model = build({**switches, "n_layers": n_layers})
    data = prompt(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    weights = list(model.parameters())
    outputs = [compiled(data), model(data)]
    gradients = [torch.autograd.grad(output.square().sum(), weights) for output in outputs]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)
    torch.compiler.reset()


if __name__ == "__main__":
    for case in covering(FACTORS, is_allowed, strength=1):
        compare(switches_of(case))
        print(case, flush=True)  # noqa: T201  # a program's output
