"""Whole studies: on hand-made models whose answer is known, on controls, and on wrong input."""

from dataclasses import replace

import pytest
import torch

from probes.config import ProbeConfig
from probes.evaluate import Models, evaluate
from probes.material import Material
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.constructions.gd_on_weights import build
from workbench.tasks import LinearRegression

D, CONTEXT, STEPS = 2, 6, 3
TASK = LinearRegression(d_input=D, n_context=CONTEXT)
QUICK = ProbeConfig(n_fit=320, n_prompts=160, n_shuffles=4, n_permutations=99, n_resamples=100, n_contexts=(4,))


def small(seed=0, **changes):
    config = TransformerConfig(n_layers=2, d_model=8, n_heads=2, d_mlp=16, **changes).shaped(TASK.model_shape())
    return Transformer(config, torch.Generator().manual_seed(seed)).eval()


def by_layer(findings, target, name="score", **where):
    return {
        s.layer: getattr(s, name)
        for s in findings.scores
        if s.target == target and all(getattr(s, key) == value for key, value in where.items())
    }


def test_the_first_step_of_gradient_descent_holds_the_moment_vector():
    model = build(D, CONTEXT, STEPS, step_size=[0.2, 0.35, 0.1])
    untrained = Transformer(model.config, torch.Generator().manual_seed(0)).double()
    config = replace(QUICK, targets=("moment_vector",), reading="query")
    scores = by_layer(evaluate(Models(model, untrained), TASK, config), "moment_vector")
    assert scores[0] < 0.05
    assert scores[1] == pytest.approx(1.0, abs=1e-9)  # w_1 = eta m / n
    assert scores[2] < 0.999


def test_layer_k_holds_w_k_and_no_other(monkeypatch):
    from probes import evaluate as module
    from probes.record import ProbeTarget
    from workbench import baselines

    etas = [0.2, 0.35, 0.1]

    def target(k):
        def compute(seen):
            return baselines.weights("gd", seen.examples.prefixes, steps=[k], schedule=etas, gradient="mean")[
                0, :, seen.n
            ]

        return ProbeTarget(f"w_{k}", f"w_{k}", "here", compute)

    monkeypatch.setattr(module, "find_target", lambda name: target(int(name[-1])))
    model = build(D, CONTEXT, STEPS, step_size=etas)
    untrained = Transformer(model.config, torch.Generator().manual_seed(0)).double()
    config = replace(QUICK, targets=("w_1", "w_2", "w_3"), reading="query")
    found = evaluate(Models(model, untrained), TASK, config)
    for k in (1, 2, 3):
        scores = by_layer(found, f"w_{k}")
        for layer, score in scores.items():
            held = min(layer, STEPS)
            assert (score > 1 - 1e-9) == (held == k), (k, layer, score)
            assert score < 1 - 1e-4 or held == k
        assert all(abs(value) < 0.1 for value in by_layer(found, f"w_{k}", "shuffled").values())
        assert by_layer(found, f"w_{k}", "ceiling")[k] == 1.0
        assert by_layer(found, f"w_{k}", "p_value")[k] == pytest.approx(0.01)
        assert by_layer(found, f"w_{k}", "code_length_saved")[k] > 10  # bits: told for nothing


def test_the_construction_says_what_gradient_descent_says():
    from workbench import baselines

    batch = TASK.prompts(0, "said", 0, 8).to(dtype=torch.float64)
    etas = [0.2, 0.35, 0.1]
    said = build(D, CONTEXT, STEPS, step_size=etas).predict(batch)
    expected = baselines.predict("gd", batch.xs, batch.ys, steps=[STEPS], schedule=etas, gradient="mean")[0]
    torch.testing.assert_close(said, expected, rtol=1e-10, atol=1e-10)


def test_residuals_stand_where_the_published_construction_puts_them():
    """The newest example's token holds its own residual, and nothing of its weights."""
    from probes import evaluate as module
    from probes.record import ProbeTarget
    from workbench import baselines

    eta = 0.3

    def compute(seen):
        w = baselines.weights("gd", seen.examples.prefixes, steps=[2], schedule=[eta] * 2, gradient="mean")[
            0, :, seen.n
        ]
        return seen.ys[:, -1:] - (seen.xs[:, -1] * w).sum(-1, keepdim=True)

    target = ProbeTarget("residual", "residual", "here", compute)
    model = CONSTRUCTIONS["gd"].build(D, CONTEXT, 2, step_size=eta)
    untrained = Transformer(model.config, torch.Generator().manual_seed(0)).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "find_target", lambda name: target)
        found = evaluate(Models(model, untrained), TASK, replace(QUICK, targets=("residual",), reading="answer"))
    scores = by_layer(found, "residual")
    assert scores[2] == pytest.approx(1.0, abs=1e-9)
    assert scores[0] < 0.9


def test_controls_of_a_random_model_are_where_they_belong():
    model = small()
    config = replace(QUICK, targets=("y_earlier", "w"), components=("resid", "attn_out", "mlp_out", "z"))
    found = evaluate(Models(model, small(), control=small(seed=1)), TASK, config)
    own = by_layer(found, "y_earlier", component="resid")
    assert all(score > 0.98 for score in own.values())  # the token read is that y
    assert by_layer(found, "y_earlier", "embedding", component="resid")[2] > 0.98
    untrained = by_layer(found, "y_earlier", "untrained", component="resid")
    assert untrained == pytest.approx(own)  # the same weights
    assert by_layer(found, "y_earlier", "control", component="resid") != pytest.approx(own)
    assert all(abs(s.shuffled) < 0.15 for s in found.scores)
    assert all(s.ceiling == pytest.approx(1.0) for s in found.scores)  # no noise, as many examples as coordinates
    counts = {name: sum(s.component == name and s.target == "w" for s in found.scores) for name in config.components}
    assert counts == {"resid": 3, "attn_out": 2, "mlp_out": 2, "z": 4}
    assert {s.hook for s in found.scores if s.component == "z" and s.layer == 2} == {"blocks.1.attn.hook_z"}


def test_a_ceiling_is_what_bayes_reaches():
    noisy = replace(TASK, noise_std=1.0)
    found = evaluate(Models(small(), small()), noisy, replace(QUICK, targets=("w",), n_contexts=(1, 4), n_prompts=4096))
    ceilings = {s.n_context: s.ceiling for s in found.scores}
    # E tr(S / (S + sigma^2)) / d: numbers by 2 10^5 draws of S
    g = torch.Generator().manual_seed(0)
    for n, ceiling in ceilings.items():
        xs = torch.randn(100_000, n, D, generator=g, dtype=torch.float64)
        values = torch.linalg.eigvalsh(xs.mT @ xs)
        assert ceiling == pytest.approx((values / (values + 1)).mean().item(), abs=0.03)


def test_ridge_from_sums_is_ridge_from_activations_in_memory():
    from probes import linear, trained
    from probes.evaluate import groups
    from probes.material import gather
    from probes.methods import PROBES
    from probes.targets import find_target

    config = replace(QUICK, targets=("moment_vector", "w"), n_contexts=(3, 5))
    places = groups(config, D, CONTEXT, causal=True)
    material = gather(TASK, [find_target(name) for name in config.targets], places, ("resid", "z"), config)
    assert isinstance(material, Material)
    streamed = linear.linear_outcomes(small(), material, controls=False)
    kept = trained.trained_outcomes(PROBES["ridge"], small(), material, controls=False)
    for index in range(2):
        for component in ("resid", "z"):
            for name in config.targets:
                one, other = streamed[index][component][name].said, kept[index][component][name].said
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_the_control_task_of_prompts_with_types_is_one_map_for_all_and_both_paths_agree_on_its_score():
    """Of a pool, w is a function of the type and least squares of too few examples is not."""
    from probes import linear, trained
    from probes.evaluate import groups
    from probes.material import gather
    from probes.methods import PROBES
    from probes.targets import find_target

    pool = replace(TASK, weights="pool", n_pool=4)
    config = replace(QUICK, targets=("w", "w_ols", "latent:pool_index"), n_contexts=(1,))
    places = groups(config, D, CONTEXT, causal=True)
    material = gather(pool, [find_target(name) for name in config.targets], places, ("resid",), config)
    of_type = {}
    for batch, [columns] in ((material.fit, material.fit_columns), (material.test, material.test_columns)):
        assert columns.typed == {"w", "latent:pool_index"}
        given = columns.by_type[:, 0, columns.parts["latent:pool_index"]][:, 0].long().tolist()
        ws = columns.by_type[:, 0, columns.parts["w"]]
        for own, other, w in zip(batch.latents["pool_index"].tolist(), given, ws, strict=True):
            assert of_type.setdefault(own, other) == other
            torch.testing.assert_close(w, pool.pool(torch.device("cpu"))[other].double())
    assert len(of_type) == 4
    assert of_type != {own: own for own in of_type}
    streamed = linear.linear_outcomes(small(), material, controls=True)[0]["resid"]
    kept = trained.trained_outcomes(PROBES["ridge"], small(), material, controls=True)[0]["resid"]
    torch.testing.assert_close(streamed["w"].by_type, kept["w"].by_type, rtol=1e-5, atol=1e-5)
    assert streamed["w_ols"].by_type is None
    assert streamed["w"].shuffled.shape == (3, config.n_shuffles)


def test_a_probe_that_can_tell_types_apart_learns_the_control_task_too():
    pool = replace(TASK, weights="pool", n_pool=2, n_context=CONTEXT)
    config = replace(QUICK, targets=("latent:pool_index", "y_earlier"), methods=("ridge", "nearest_mean"))
    found = evaluate(Models(small(), small()), pool, config)
    for score in found.scores:
        assert (score.control_task is None) == (score.target == "y_earlier")
        if score.target != "y_earlier":  # two classes as they are or swapped: as easy
            assert score.control_task == pytest.approx(score.score)
    without = evaluate(Models(small(), small()), TASK, replace(QUICK, targets=("w",)))
    assert all(score.control_task is None for score in without.scores)


def test_groups_of_places_that_do_not_fit_memory_are_done_in_turn(monkeypatch):
    from probes import linear

    config = replace(QUICK, targets=("w",), reading="each", n_contexts=None)
    at_once = evaluate(Models(small(), small()), TASK, config)
    monkeypatch.setattr(linear, "_BYTES", 1)
    in_turn = evaluate(Models(small(), small()), TASK, config)
    assert [s.score for s in at_once.scores] == pytest.approx([s.score for s in in_turn.scores], abs=1e-9)
    assert {s.position for s in in_turn.scores} == set(range(1, 2 * CONTEXT - 1))


@pytest.mark.parametrize("reading", ["answer", "query", "last", "shared"])
def test_every_reading_reads_its_tokens(reading):
    config = replace(QUICK, targets=("y_earlier",), reading=reading, n_contexts=None if reading == "last" else (2, 4))
    found = evaluate(Models(small(), small()), TASK, config)
    expected = {"answer": {3, 7}, "query": {4, 8}, "last": {10}, "shared": {None}}
    assert {s.position for s in found.scores} == expected[reading]
    top = [s.score for s in found.scores if s.layer == 0]
    if reading == "answer":
        assert min(top) > 0.98
    elif reading in ("query", "last"):
        assert max(top) < 0.1


def test_nan_activations_are_refused_by_name():
    broken = small()
    with torch.no_grad():
        broken.layers[1].mlp.out.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"activations of blocks.1.hook_resid_post must be finite"):
        evaluate(Models(broken, small()), TASK, replace(QUICK, targets=("w",)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_fit": 64, "components": ("resid",), "targets": ("w",)}, None),
        ({"targets": ("latent:noise_level",)}, "Unknown latent of task"),
        ({"targets": ("position",)}, "'position' must differ between prompts"),
        ({"methods": ("rigde",)}, "Unknown probe 'rigde'. Did you mean 'ridge'"),
        ({"n_contexts": (9,)}, "n_contexts must be at most 6 in prompts of 6 examples; got .9."),
        ({"reading": "each", "n_contexts": None, "positions": (40,)}, "positions must be at most 11"),
        ({"reading": "query", "n_contexts": (6,)}, "n_contexts must be at most 5"),
    ],
)
def test_wrong_input_is_told_in_a_line(changes, told):
    config = replace(QUICK, **{"targets": ("w",), **changes})
    if told is None:
        wide = Transformer(replace(small().config, d_model=64, d_mlp=8, n_heads=2))
        with pytest.raises(InputError, match="n_fit must leave more training samples than the 64 features"):
            evaluate(Models(wide, wide), TASK, config)
        return
    with pytest.raises(InputError, match=told):
        evaluate(Models(small(), small()), TASK, config)


def test_models_without_mlp_have_no_mlp_to_read():
    model = small(mlp="none")
    with pytest.raises(InputError, match="components must not hold mlp_out"):
        evaluate(Models(model, model), TASK, replace(QUICK, targets=("w",), components=("mlp_out",)))


def test_a_control_of_another_shape_is_refused():
    other = Transformer(replace(small().config, n_layers=3))
    with pytest.raises(InputError, match="control must be of the same architecture; it differs in n_layers"):
        evaluate(Models(small(), small(), other), TASK, replace(QUICK, targets=("w",)))


def test_classes_need_a_probe_for_classes():
    pool = replace(TASK, weights="pool", n_pool=3)
    with pytest.raises(InputError, match="methods must hold one for classes, which target 'latent:pool_index' has"):
        evaluate(Models(small(), small()), pool, replace(QUICK, targets=("latent:pool_index",)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"targets": ()}, "targets must name at least one"),
        ({"targets": ("w", "w")}, "each once"),
        ({"n_fit": 10}, "n_fit must be a whole number of at least 64"),
        ({"n_contexts": (0,)}, "n_contexts must be whole numbers of at least 1"),
        ({"positions": (1,)}, "positions must be left out unless reading is 'each'"),
        ({"components": ("stream",)}, "components must be one of resid"),
        ({"n_shuffles": 0}, "n_shuffles must be"),
    ],
)
def test_settings_out_of_range_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        ProbeConfig(**changes)
