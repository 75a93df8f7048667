"""Token circuits say what counting says, attend where they must, and fail where a head is knocked out."""

import math

import pytest
import torch

from workbench.errors import InputError
from workbench.models.constructions import TOKEN_CONSTRUCTIONS

V, START, N = 7, 6, 24
TRIGGERS = [1, 4]


def law():
    """Rows of probabilities: some zeros, no trigger behind a trigger or the start, no start token behind anything."""
    rows = torch.rand(V, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[rows < 0.15] = 0.0
    rows[:, START] = 0.0
    rows[START, TRIGGERS] = 0.0
    return rows / rows.sum(1, keepdim=True)


def random_tokens(n_batch=40, n_tokens=V - 1):
    tokens = torch.randint(0, n_tokens, (n_batch, N), generator=torch.Generator().manual_seed(1))
    tokens[:, 0] = START
    return tokens


def backcopies(n_batch=40):
    """Sequences of the law, drawn token by token."""
    generator, rows, drawn = torch.Generator().manual_seed(2), law(), []
    for _ in range(n_batch):
        row = [START]
        while len(row) < N:
            copies = row[-1] in TRIGGERS
            row.append(row[-2] if copies else int(torch.multinomial(rows[row[-1]], 1, generator=generator)))
        drawn.append(row)
    return torch.tensor(drawn)


OWN = {"induction": {"start": START}, "bigram_backcopy": {"start": START, "bigram": law(), "triggers": TRIGGERS}}
PROMPTS = {"induction": random_tokens, "bigram_backcopy": backcopies}
each = pytest.mark.parametrize("name", TOKEN_CONSTRUCTIONS)


def build(name):
    return TOKEN_CONSTRUCTIONS[name].build(V, N, **OWN[name])


def counted(row, at):
    """What has followed row[at] before position ``at``, counted in a loop."""
    found = [row[i + 1] for i in range(1, at) if row[i] == row[at]]
    return [found.count(token) / max(1, len(found)) for token in range(V)]


def test_every_token_construction_is_tested():
    assert OWN.keys() == PROMPTS.keys() == TOKEN_CONSTRUCTIONS.keys()


@each
def test_probabilities_are_those_of_the_reference_at_every_position(name):
    model, tokens = build(name), PROMPTS[name]()
    said = model(tokens).softmax(-1)
    expected = TOKEN_CONSTRUCTIONS[name].reference(tokens, V, **OWN[name]).softmax(-1)
    assert (said - expected).abs().max() < 1e-10
    rounded = model.float()(tokens).softmax(-1)
    assert (rounded.double() - expected).abs().max() < 1e-5
    assert expected.amax(-1).min() < 0.5 < expected.amax(-1).max()


def test_induction_is_counting_what_has_followed():
    model, tokens = TOKEN_CONSTRUCTIONS["induction"].build(V, N, start=START, gain=1.0), random_tokens()
    logits = model(tokens)
    for row, said in zip(tokens.tolist(), logits):
        wanted = torch.tensor([counted(row, at) for at in range(N)], dtype=torch.float64)
        torch.testing.assert_close(said[:, :START], wanted[:, :START], rtol=1e-12, atol=1e-12)
    assert (logits[..., START] < -150).all()


def test_the_induction_head_attends_behind_earlier_equals_and_else_rests_on_the_start():
    model, tokens = build("induction"), random_tokens()
    _, cache = model.run_with_cache(tokens)
    to_previous = cache["blocks.0.attn.hook_pattern"][:, 0]
    shifted = torch.diag(torch.ones(N - 1, dtype=torch.float64), -1)
    shifted[0, 0] = 1.0
    torch.testing.assert_close(to_previous, shifted.expand_as(to_previous), rtol=0, atol=1e-12)
    pattern = cache["blocks.1.attn.hook_pattern"][:, 0]
    for row, found in zip(tokens.tolist(), pattern):
        for at in range(1, N):
            behind = [i + 1 for i in range(1, at) if row[i] == row[at]] or [0]
            wanted = torch.zeros(N, dtype=torch.float64)
            wanted[behind] = 1 / len(behind)
            torch.testing.assert_close(found[at], wanted, rtol=0, atol=1e-12)


def test_a_repeated_block_is_foretold_and_no_longer_without_the_previous_token_head():
    block = torch.stack([torch.randperm(6, generator=torch.Generator().manual_seed(i)) for i in range(20)])
    tokens = torch.cat([torch.full((20, 1), START), block, block, block], 1)
    model = build("induction")
    foretold = model(tokens).argmax(-1)[:, 7:-1]
    assert torch.equal(foretold, tokens[:, 8:])
    knocked = [("blocks.0.attn.hook_z", lambda z, hook: 0 * z)]
    without = model.run_with_hooks(tokens, fwd_hooks=knocked).argmax(-1)[:, 7:-1]
    assert (without == tokens[:, 8:]).double().mean() < 0.4


def test_the_backcopy_head_is_active_on_triggers_and_dormant_elsewhere():
    model, tokens = build("bigram_backcopy"), backcopies()
    _, cache = model.run_with_cache(tokens)
    is_trigger = torch.isin(tokens, torch.tensor(TRIGGERS))
    pattern = cache["blocks.0.attn.hook_pattern"][:, 0]
    assert is_trigger.double().mean() > 0.1
    assert (pattern[..., 0][~is_trigger] - 1).abs().max() < 1e-12
    to_previous = pattern.diagonal(offset=-1, dim1=1, dim2=2)
    assert (to_previous[is_trigger[:, 1:]] - 1).abs().max() < 1e-12
    assert cache["blocks.0.attn.hook_v"][:, 0].abs().max() == 0
    said = cache["blocks.0.hook_attn_out"].norm(dim=-1)
    assert said[~is_trigger].max() < 1e-12
    assert said[is_trigger].min() > 0.99


def test_knocking_the_backcopy_head_out_costs_copies_and_not_a_bigram():
    model, tokens = build("bigram_backcopy"), backcopies()
    targets, is_trigger = tokens[:, 1:], torch.isin(tokens, torch.tensor(TRIGGERS))[:, :-1]

    def losses(logits):
        each = -logits.log_softmax(-1)[:, :-1].gather(-1, targets[..., None])[..., 0]
        return each[is_trigger].mean().item(), each[~is_trigger].mean().item()

    copy, bigram = losses(model(tokens))
    knocked = [("blocks.0.attn.hook_z", lambda z, hook: 0 * z)]
    copy_without, bigram_without = losses(model.run_with_hooks(tokens, fwd_hooks=knocked))
    assert copy < 1e-10
    assert copy_without == pytest.approx(math.log(V - 1))
    assert bigram == pytest.approx(bigram_without, abs=1e-12)
    rows = law()
    floor = -rows[tokens[:, :-1], targets].log()[~is_trigger].mean().item()
    assert bigram == pytest.approx(floor, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "sizes", "own", "message"),
    [
        ("induction", (1, N), {"start": 0}, "d_vocab must be a whole number of at least 2"),
        ("induction", (V, 1), {"start": 0}, "n_ctx must be a whole number of at least 2"),
        ("induction", (V, N), {"start": V}, "start must be a token id below 7"),
        ("bigram_backcopy", (V, N), {**OWN["bigram_backcopy"], "triggers": [START]}, "triggers must be ids below 7"),
        ("bigram_backcopy", (V, N), {**OWN["bigram_backcopy"], "bigram": law()[1:, 1:]}, r"bigram must be \[7 7\]"),
        ("bigram_backcopy", (V, N), {**OWN["bigram_backcopy"], "bigram": 2 * law()}, "bigram must hold probabilities"),
    ],
)
def test_what_cannot_be_built_is_refused(name, sizes, own, message):
    with pytest.raises(InputError, match=message):
        TOKEN_CONSTRUCTIONS[name].build(*sizes, **own)
