"""A causal layer on sequences against one plain step, f_t = (ab/(t-1)) sum_i x_{i+1} x_i^* x_t.

Diagonal dynamics leave the phases of coordinates free (see ``phases``): there the step is the one in the layer's own.
"""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import blocks, resampled
from workbench.against_theory.phases import Phases, best_phases, coefficients, turning
from workbench.against_theory.row import Row
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer
from workbench.tasks import Task
from workbench.theory import SequenceStep
from workbench.weights import reading_fault, readings

States = Float[Tensor, "batch time state"]
_PIECE = 250
_N_SEQUENCES = 2000


def compare_sequence(
    said: SequenceStep,
    model: Transformer,
    untrained: Transformer,
    task: Task,
    config: TheoryConfig,
    *,
    is_complex: bool,
) -> list[Row]:
    """The product ab by behaviour and by weights, how much of the layer it is, how much of the truth it recovers."""
    n = max(400, min(config.n_prompts, _N_SEQUENCES))
    batch = task.prompts(config.seed, "theory", 0, n)
    assert isinstance(batch, RegressionBatch), "states are numbers"
    batch = batch.to(dtype=torch.float64)
    found, before = (_said(each, batch) for each in (model, untrained))
    features, own = (
        plain_step(batch.xs, is_complex=is_complex, phases=phases_of(each) if is_complex else None)
        for each in (model, untrained)
    )
    scored = slice(1, None)  # the first state has seen no transition
    columns = torch.stack(
        [
            (features * found)[:, scored].sum((1, 2)),
            features[:, scored].square().sum((1, 2)),
            found[:, scored].square().sum((1, 2)),
            (found - batch.ys)[:, scored].square().sum(-1).mean(1),
            _recovered(found[:, -1], batch.ys[:, -1], is_complex=is_complex),
        ],
        1,
    )
    parts = blocks(columns)

    def of_blocks(shares: Tensor) -> Tensor:
        along, step, square, loss, share = shares @ parts
        return torch.stack([along / step, along.square() / (step * square), share, loss])

    values, ends = resampled(of_blocks, config.n_resamples, config.seed)
    along = (own * before)[:, scored].sum()
    share_before = along.square() / (own[:, scored].square().sum() * before[:, scored].square().sum())
    whole = 1.0 if said.is_plain else None
    zero = float(batch.ys[:, scored].square().sum(-1).mean())
    return [
        Row("product", "product ab, from predictions", said.step, float(values[0]), ends[0]),
        *_of_weights(said, model, untrained, is_complex=is_complex),
        Row(
            "one_step_share",
            "share of predictions that is one plain step",
            whole,
            float(values[1]),
            ends[1],
            {"untrained": float(share_before)},
        ),
        Row(
            "recovered",
            "share of a coordinate of the last state that is predicted, mean",
            said.recovered,
            float(values[2]),
            ends[2],
            {"untrained": float(_recovered(before[:, -1], batch.ys[:, -1], is_complex=is_complex).mean())},
        ),
        Row("loss", "squared error, mean over positions", None, float(values[3]), ends[3], {"zero predictor": zero}),
    ]


def plain_step(xs: States, *, is_complex: bool, phases: Phases | None = None) -> States:
    """(1/(t-1)) sum_{i<t} D x_{i+1} x_i^* D^* x_t, zero at the first state.

    Args:
        xs: States, complex ones as real and imaginary parts side by side.
        is_complex: Whether they are.
        phases: The diagonal of D; ones if not given.
    """
    states = _as_complex(xs) if is_complex else xs
    asked = states if phases is None else states * phases.conj()
    scores = einsum(states.conj(), asked, "batch key state, batch query state -> batch query key")
    n = xs.shape[1]
    seen = torch.ones(n, n, dtype=torch.bool).tril(-1)  # the pair (x_i, x_{i+1}) is seen from i + 1 on
    scores = torch.where(seen, scores, torch.zeros((), dtype=scores.dtype))[:, :, :-1]
    told = einsum(scores, states[:, 1:], "batch query key, batch key state -> batch query state")
    told = (told if phases is None else told * phases) / torch.arange(n).clamp(min=1)[:, None]
    return _as_real(told) if is_complex else told


def _as_complex(xs: Tensor) -> Tensor:
    return torch.view_as_complex(xs.unflatten(-1, (-1, 2)).contiguous())


def _as_real(states: Tensor) -> Tensor:
    return torch.view_as_real(states).flatten(-2)


@torch.no_grad()
def _said(model: Transformer, batch: RegressionBatch) -> States:
    pieces = [batch.prompts(first, first + _PIECE) for first in range(0, batch.n_batch, _PIECE)]
    return torch.cat([model.read_out(model(model.encode(piece))) for piece in pieces])


def _recovered(
    said: Float[Tensor, "batch state"], truth: Float[Tensor, "batch state"], *, is_complex: bool
) -> Float[Tensor, " batch"]:
    """Re(f x^*) / |x|^2, mean over the coordinates of a prompt that are not 0."""
    width = 2 if is_complex else 1
    along = (said * truth).unflatten(-1, (-1, width)).sum(-1)
    square = truth.square().unflatten(-1, (-1, width)).sum(-1)
    there = square > 1e-6
    shares = torch.where(there, along / square.clamp(min=1e-6), 0.0)
    return shares.sum(-1) / there.sum(-1).clamp(min=1)


def layer_tensor(model: Transformer, d_state: int) -> Float[Tensor, "output value key query"]:
    """f_o = sum over keys z and the query z' of T[o, v, k, q] z_v z_k z'_q, over the two states that a token holds.

    Symmetric in v and k, which are entries of one token.
    """
    found, d = readings(model), 2 * d_state
    whole = einsum(
        found.read[:, :d],
        found.key_query[:, :d, :d],
        "head value output, head key query -> output value key query",
    )
    return (whole + whole.transpose(1, 2)) / 2


def plain_tensor(d_state: int, *, is_complex: bool) -> Float[Tensor, "output value key query"]:
    """The same tensor of the plain step with ab = 1: values are x_t, keys x_{t-1}, the query's are its x_t."""
    eye = torch.eye(d_state, dtype=torch.float64)
    pairs = [(eye, eye)]
    if is_complex:
        turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)  # times i
        turned = torch.block_diag(*[turn] * (d_state // 2))
        # conj(k) q = k . q + i (k_re q_im - k_im q_re), and the second is k . (turned^T q)
        pairs.append((turned, turned.mT))
    tensor = torch.zeros(d_state, 2 * d_state, 2 * d_state, 2 * d_state, dtype=torch.float64)
    for values, scores in pairs:
        tensor[:, :d_state, d_state:, :d_state] += einsum(values, scores, "o v, k q -> o v k q")
    return (tensor + tensor.transpose(1, 2)) / 2


def phases_of(model: Transformer) -> Phases | None:
    """The phases in which a model takes its step, from its weights; None where they cannot be told."""
    if reading_fault(model):
        return None
    d = model.config.d_input or 0
    return best_phases(coefficients(2 * layer_tensor(model, d)[:, :d, d:, :d]))


def _in_phases(plain: Tensor, phases: Phases | None) -> Tensor:
    """The plain step's tensor in other phases."""
    if phases is None:
        return plain
    turn, rest = turning(phases), torch.eye(plain.shape[0], dtype=plain.dtype)
    back = torch.block_diag(turn.mT, rest)
    return einsum(turn, plain, back, "out o, o value key q, q query -> out value key query")


def _of_weights(said: SequenceStep, model: Transformer, untrained: Transformer, *, is_complex: bool) -> list[Row]:
    label = "product ab, from weights"
    fault = reading_fault(model)
    if fault:
        return [Row("weights_product", label, said.step, None, note=fault)]
    d = model.config.d_input or 0
    plain = plain_tensor(d, is_complex=is_complex)
    steps, shares = [], []
    for each in (model, untrained):
        found, own = layer_tensor(each, d), _in_phases(plain, phases_of(each) if is_complex else None)
        along = (found * own).sum()
        steps.append(float(along / own.square().sum()))
        shares.append(float(along.square() / (own.square().sum() * found.square().sum())))
    return [
        Row("weights_product", label, said.step, steps[0]),
        Row(
            "weights_share",
            "share of the weights' square that is the plain step",
            1.0 if said.is_plain else None,
            shares[0],
            None,
            {"untrained": shares[1]},
        ),
    ]
