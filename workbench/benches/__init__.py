"""Benchmarks, by name: each measures ours and a reference in one run."""

from workbench.benches.ensemble import ENSEMBLE
from workbench.benches.record import Bench, Row
from workbench.benches.references import REFERENCES
from workbench.benches.train import TRAIN
from workbench.registry import by_name

BENCHES = by_name(TRAIN, ENSEMBLE, REFERENCES)

__all__ = ["BENCHES", "Bench", "Row"]
