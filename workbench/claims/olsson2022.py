"""Olsson et al. 2022: induction heads, found by scores that are 1 for an ideal head."""

from collections.abc import Mapping
from typing import Any

from circuits.detectors import HEAD_DETECTORS
from circuits.heads import HeadsConfig
from circuits.of_runs import heads
from circuits.record import attended
from circuits.stimuli import repeated
from workbench.arms import Arm
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Look, measurement
from workbench.opened import Run

_CITATION = "Olsson et al. 2022, arXiv:2209.11895"
_REPEATED = Arm("repeated", "repeated_tokens", {"small": "demo", "paper": "paper"})


def _ideal(n_block: int, n_copies: int) -> tuple[float, float]:
    """Score of a head that puts all attention on the last copy's follower and rests on the first token elsewhere: ours,
    and the share of all its attention on such keys, which TransformerLens's ``mul`` is."""
    n = 1 + n_block * n_copies
    tokens = repeated(range(200), first=200, n_positions=n, n_block=n_block, n_prompts=4, seed=0)
    keys = HEAD_DETECTORS["induction_nearest"].targets(tokens)
    pattern = keys.double()
    pattern[..., 0] += ~keys.any(-1)
    ours = attended(pattern[:, None], HEAD_DETECTORS["induction"].targets(tokens)).mean().item()
    every = HEAD_DETECTORS["induction"].targets(tokens)
    return ours, ((pattern * every).sum() / pattern.sum()).item()


def ideal_head(looks: Looks) -> Measurement:  # noqa: ARG001  # nothing is trained
    """Scores of a pattern made by hand."""
    (ours_2, share_2), (ours_4, share_4) = _ideal(50, 2), _ideal(25, 4)
    met = min(ours_2, ours_4) == 1.0 and abs(share_2 - 0.495) < 0.0005 and abs(share_4 - 0.743) < 0.0005
    evidence = (
        f"50 tokens twice and 25 four times, each behind a start token: ours {ours_2:g} and {ours_4:g}, share of all "
        f"attention {share_2:.4f} and {share_4:.4f}",
    )
    return Measurement(f"ours {ours_4:g}, share {share_2:.3f} and {share_4:.3f}", ours_4, None, met, evidence)


def head_record(run: Run, tell: Tell) -> Mapping[str, Any]:
    """The head record of the last checkpoint, without loss changes."""
    return heads(run, HeadsConfig(interventions=False), tell=tell)


def circuit(looks: Looks) -> Measurement:
    """The two heads of the circuit and how they compose."""
    seen = looks.get(_REPEATED.name, Seen())

    def best(layer: int, score: str, least: float) -> Any:
        def condition(look: Look) -> tuple[float, bool]:
            value = max(head[score] for head in look["heads"] if head["layer"] == layer)
            return value, value > least

        return condition

    def composed(look: Look) -> tuple[float, bool]:
        inducing = max((h for h in look["heads"] if h["layer"] == 1), key=lambda head: head["induction"])
        z = inducing["composition"]["k"]["z"]
        return z, z > 5

    return measurement(
        "seeds",
        {
            "best prefix score of the second layer above .6": best(1, "induction", 0.6),
            "best previous-token score of the first above .8": best(0, "previous_token", 0.8),
            "z of its best K-composition above 5": composed,
        },
        seen.looks,
        n_seeds=seen.n_seeds,
    )


OLSSON2022 = (
    Claim(
        name="olsson2022/c1-ideal-head",
        paper="olsson2022",
        citation=f"{_CITATION}, prefix matching; TransformerLens 4, head_detector, error measure 'mul'",
        statement="A perfect induction head scores 1, and .495 or .743 (2 or 4 copies) as a share of all attention",
        published="the share divides by queries that have no earlier copy: (r - 1) n / (r n + 1)",
        check=ideal_head,
        study=Study((), head_record),
    ),
    Claim(
        name="olsson2022/c2-circuit",
        paper="olsson2022",
        citation=f"{_CITATION}, argument 4; Elhage et al. 2021",
        statement="Two attention-only layers on repeated tokens: prefix score over .6 in the second, a previous-token "
        "head over .8 in the first, K-composition 5 standard deviations over chance",
        published="top prefix scores .6 to .9 in small models",
        check=circuit,
        study=Study((_REPEATED,), head_record),
    ),
)
