"""Benchmarks, by name: speed beside a reference, or how often an answer is right."""

from workbench.benches.ensemble import ENSEMBLE
from workbench.benches.optimizers import OPTIMIZERS
from workbench.benches.probes import PROBES
from workbench.benches.record import Bench, Findings, Row
from workbench.benches.references import REFERENCES
from workbench.benches.train import TRAIN
from workbench.benches.verdict import VERDICT
from workbench.registry import by_name

BENCHES = by_name(TRAIN, ENSEMBLE, OPTIMIZERS, REFERENCES, PROBES, VERDICT)

__all__ = ["BENCHES", "Bench", "Findings", "Row"]
