"""What is kept of a study, as the JSON output has it."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from workbench.against_theory.copying import Copying, Mixed, Partner
from workbench.against_theory.row import Row
from workbench.against_theory.study import Compared, Study
from workbench.theory import CLOSED_FORMS
from workbench.weights import Pattern, Products, Spectra, Update

_SPECTRA = ("values", "null_mean", "null_low", "null_high")


def to_record(found: Study) -> dict[str, Any]:
    """The study as plain data."""
    gamma = None if found.gamma is None else dict(zip(("theory", "behaviour"), map(_listed, found.gamma), strict=True))
    weights = None if found.products is None else _weights(found.products, found.patterns, found.spectra)
    return {
        "closed_forms": [_compared(one) for one in found.compared],
        "gamma": gamma,
        "weights": weights,
        "unfolded": found.unfolded or None,
        "over_training": list(found.over_training),
        "implied": [_implied(update) for update in found.implied],
        "copying": None if found.copying is None else _copying(found.copying),
    }


def _copying(found: Copying) -> dict[str, Any]:
    return {
        "partners": [_with_ci(each) for each in found.partners],
        "mixed": [_with_ci(each) for each in found.mixed],
        "untrained": found.untrained,
    }


def _with_ci(record: Partner | Mixed) -> dict[str, Any]:
    return _fields(record) | {"ci": [record.ci.low, record.ci.high]}


def _compared(one: Compared) -> dict[str, Any]:
    form = CLOSED_FORMS[one.name]
    curve, way = one.curve, one.between
    return {
        "name": form.name,
        "label": form.label,
        "statement": form.statement,
        "source": form.source,
        "assumptions": [each.sentence for each in form.assumptions],
        "parameters": dict(form.parameters),
        "applies": not one.fault,
        "fault": one.fault or None,
        "rows": [_row(row) for row in one.rows],
        "curve": None if curve is None else _fields(curve),
        "between": None if way is None else _fields(way),
        "shifted": [_fields(each) for each in one.shifted],
        "rolled_out": None if one.rolled_out is None else _fields(one.rolled_out),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "quantity": row.quantity,
        "label": row.label,
        "theory": row.theory,
        "measured": row.measured,
        "ci": None if row.ci is None else [row.ci.low, row.ci.high],
        "controls": dict(row.controls),
        "note": row.note or None,
    }


def _fields(record: Any) -> dict[str, Any]:
    return {each.name: _plain(getattr(record, each.name)) for each in fields(record)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _implied(update: Update) -> dict[str, Any]:
    told = {"matrix": _listed(update.matrix), "r2": update.r2, "null": update.null}
    return told | {"eigenvalues": _listed(torch.linalg.eigvals(update.matrix).real.sort(descending=True).values)}


def _weights(products: Products, patterns: tuple[Pattern, ...], spectra: Spectra | None) -> dict[str, Any]:
    return {
        "d_input": products.d_input,
        "key_query": _listed(products.key_query),
        "output_value": _listed(products.output_value),
        "read": _listed(products.read),
        "outside": _listed(products.outside),
        "singular_values": _listed(_singular_values(products)),
        "spectra": None if spectra is None else {name: _listed(getattr(spectra, name)) for name in _SPECTRA},
        "patterns": [_pattern(each) for each in patterns],
    }


def _singular_values(products: Products) -> Tensor:
    """Of KQ among the inputs, by layer and head, largest first."""
    return torch.linalg.svdvals(products.key_query[..., : products.d_input, : products.d_input])


def _pattern(pattern: Pattern) -> dict[str, Any]:
    kind = pattern.kind
    told = {name: getattr(kind, name) for name in ("name", "label", "sentence", "perfect", "source")}
    scores = {name: _listed(getattr(pattern, name)) for name in ("scores", "null_mean", "null_low", "null_high")}
    return {**told, **scores}


def _listed(tensor: Tensor) -> list[Any]:
    return tensor.tolist()
