"""Gu et al. 2024: attention sinks depend on what is read."""

from collections.abc import Mapping
from typing import Any

from workbench.claims.record import Claim, Measurement
from workbench.errors import InputError

_RANDOM, _BLOCKS, _ONE = "random tokens", "repeated tokens", "one token repeated"
"""What is no text. Gu et al. repeat one token; blocks of tokens, repeated, are another matter, and stand beside it."""


def by_input(record: Mapping[str, Any]) -> Measurement:
    """The sink rate of a language model's head record on natural, random and repeated tokens.

    Met if it is lower on one token repeated than on every text, by 3 standard errors over windows.

    Raises:
        InputError: If the record has no such rates.
    """
    rates = record.get("extreme", {}).get("sink", {})
    if _ONE not in rates or _RANDOM not in rates:
        raise InputError(f"--record must hold sink rates on {_RANDOM} and {_ONE}; write it with heads --model.")
    natural = {name: told for name, told in rates.items() if name not in (_RANDOM, _BLOCKS, _ONE)}
    texts = [told["rate"] for told in natural.values()]
    least = min(natural.values(), key=lambda told: told["rate"])
    repeated, drawn = rates[_ONE]["rate"], rates[_RANDOM]["rate"]
    gap = repeated - least["rate"]
    error = (rates[_ONE]["standard_error"] ** 2 + least["standard_error"] ** 2) ** 0.5
    first = next(iter(natural.values()))
    told = [f"{name} {each['rate']:.3f} ± {each['standard_error']:.3f}" for name, each in rates.items()]
    evidence = (
        f"{record['model']}; T = {first['T']}, epsilon = {first['epsilon']}, BOS {record['bos']['policy']}",
        f"sink rates: {', '.join(told)}",
    )
    measured = f"natural {min(texts):.3f} to {max(texts):.3f}, random {drawn:.3f}, one token repeated {repeated:.3f}"
    return Measurement(measured, gap, (gap - 1.96 * error, gap + 1.96 * error), gap < -3 * error, evidence)


BY_INPUT = Claim(
    name="gu2024/e1-by-input",
    paper="gu2024",
    citation="Gu et al. 2024, arXiv:2410.10781, table 1; sink metric with T = 64, epsilon = .3",
    statement="The sink rate is lower on one token repeated than on natural text",
    published="GPT2-XL 77.0, 70.3, 62.3 %; Mistral-7B 97.5, 75.2, 0.0 % (natural, random, repeated)",
    check=by_input,
    of_records=True,
)
