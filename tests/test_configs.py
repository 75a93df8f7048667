"""Configs: to JSON and back without loss, and every fault named."""

import dataclasses
import json
import math
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from tests.helpers import tiny_config
from workbench.agreement.config import AgreementConfig
from workbench.configs import (
    LARGEST_COUNT,
    canonical_json,
    digest,
    from_data,
    gathering,
    is_count,
    is_finite,
    no_nan,
    to_data,
    with_values,
)
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.kinds import ATTENTIONS, LAYOUTS, PRODUCTS, SWITCHES
from workbench.tasks import TASKS, LinearRegression
from workbench.training.config import (
    SCHEMA,
    RunConfig,
    TrainConfig,
    check_schema,
    preset_config,
    run_config_from_data,
)
from workbench.training.optimizers import OPTIMIZERS

RECORDS = (TransformerConfig, TrainConfig, LinearRegression, AgreementConfig)
FIELDS = [(cls, field) for cls in RECORDS for field in dataclasses.fields(cls)]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ANY_FINITE_JSON = ANY_JSON.filter(lambda data: no_nan(data) == data)
HUGE = 10**400


# Strategies: every value that a field may have, so that the round trip is tried on all of them. They draw keyword
# arguments; tests build the records, since the type checks of the tests draw from ``random``, which strategies may not.

count = st.integers(1, 10**6)
positive = st.floats(1e-9, 1e9)
share = st.floats(0, 0.999)
optional = {
    "whole": st.none() | count,
    "positive": st.none() | positive,
}


def options(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


def one_of(switch: str, fits: Callable[[Any], bool] = lambda kind: True) -> st.SearchStrategy[str]:
    """The values of a switch that fit what has been drawn."""
    return st.sampled_from([name for name, kind in SWITCHES[switch].items() if fits(kind)])


def flag(*, may: bool = True, must: bool = False) -> st.SearchStrategy[bool]:
    return st.sampled_from([value for value in (False, True) if (may or not value) and (value or not must)])


@st.composite
def attentions(draw: st.DrawFn) -> dict[str, Any]:
    tied_layers, attention = draw(flag()), draw(one_of("attention"))
    first = draw(st.none() | (st.just(attention) if tied_layers else one_of("attention")))
    kinds = [ATTENTIONS[attention], ATTENTIONS[first or attention]]
    writes, compete = any(kind.writes for kind in kinds), all(kind.keys_compete for kind in kinds)
    return {
        "tied_layers": tied_layers,
        "attention": attention,
        "first_attention": first,
        "causal": draw(flag(must=writes)),
        "sink": draw(one_of("sink", lambda kind: not kind.is_there or (not writes and (compete or kind.has_value)))),
        "positions": draw(one_of("positions", lambda kind: not (writes and kind.adds_to_scores))),
    }


@st.composite
def tokens(draw: st.DrawFn) -> dict[str, Any]:
    products = draw(one_of("products"))
    inputs_alone = PRODUCTS[products].reads_inputs
    layout = draw(one_of("layout", lambda kind: kind.label_apart or not inputs_alone))
    label_apart, sequence = LAYOUTS[layout].label_apart, LAYOUTS[layout].sequence
    projections = draw(flag(may=not inputs_alone, must=not label_apart))
    outputs = ["vector"] if sequence else list(SWITCHES["output"]) if projections else ["scalar", "vector"]
    output = draw(st.sampled_from(outputs))
    return {
        "products": products,
        "layout": layout,
        "projections": projections,
        "input": draw(st.sampled_from(["continuous", "tokens"])) if projections else "continuous",
        "output": output,
        "query_in_keys": draw(flag(must=layout != "pairs")),
        "d_input": draw(optional["whole"]),
        "d_output": draw(optional["whole"]) if output == "vector" and layout != "interleaved_shared" else None,
    }


@st.composite
def widths(draw: st.DrawFn, shown: dict[str, Any]) -> dict[str, Any]:
    d_model = draw(count)
    if not shown["projections"] and shown["d_input"] is not None:
        d_model = LAYOUTS[shown["layout"]].width(shown["d_input"], shown["d_output"] or 1)
    if PRODUCTS[shown["products"]].of_complex and d_model % 2 == 1:
        shown["products"] = "merged"
    separate, of_complex = PRODUCTS[shown["products"]].separate, PRODUCTS[shown["products"]].of_complex
    d_head = draw(optional["whole"] if separate else st.sampled_from([None, d_model]))
    fit = [n for n in range(1, 9) if d_model % n == 0 or not separate or d_head is not None]
    fit = [n for n in fit if not of_complex or n % 2 == 0]
    return {"d_model": d_model, "d_head": d_head, "n_heads": draw(st.sampled_from(fit))}


@st.composite
def transformers(draw: st.DrawFn) -> dict[str, Any]:
    attention, shown = draw(attentions()), draw(tokens())
    width, n_layers, mlp = draw(widths(shown)), draw(count), draw(one_of("mlp"))
    of_head = width["d_head"] or width["d_model"] // width["n_heads"]
    if not PRODUCTS[shown["products"]].separate:
        of_head = width["d_model"]
    if attention["positions"] == "rotary" and of_head % 2 == 1:
        attention["positions"] = "none"
    if attention["positions"] == "concatenated":
        shown["input"] = "continuous"
    return {
        **attention,
        **shown,
        **width,
        "causal": attention["causal"] or LAYOUTS[shown["layout"]].sequence,
        "n_layers": n_layers,
        "d_mlp": draw(optional["whole"]),
        "attention_gate": draw(flag()),
        "attention_scale": draw(optional["positive"]),
        "stream_limit": draw(optional["positive"]),
        "norm": draw(one_of("norm")),
        "mlp": mlp,
        "mlp_first": draw(flag(may=mlp != "none")),
        "bias": draw(flag()),
        "input_injection": draw(flag(may=n_layers > 1)),
        "init": (init := draw(one_of("init"))),
        "init_std": draw(optional["positive"]) if init == "scaled" else None,
        "n_context": draw(optional["whole"]),
        "d_vocab": draw(optional["whole"]),
        "n_ctx": draw(optional["whole"]),
    }


trainings = options(
    n_steps=count,
    n_batch=count,
    seed=st.integers(0, 2**53),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    lr=positive,
    betas=st.tuples(share, share),
    weight_decay=st.floats(0, 10),
    momentum=share,
    warmup_steps=st.integers(0, 1000),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    decay_fraction=st.floats(0.001, 1),
    lr_final=st.floats(0, 1),
    clip_norm=optional["positive"],
    d_start=optional["whole"],
    d_every=count,
    n_start=optional["whole"],
    n_every=count,
    n_add=count,
    checkpoint_every=optional["whole"],
    checkpoints_per_decade=st.integers(0, 9),
    log_every=count,
    precision=st.sampled_from(["float32", "float64", "tf32", "bf16"]),
    engine=st.sampled_from(["auto", "eager", "graph"]),
    device=st.sampled_from(["cpu", "cuda:1"]),
    n_threads=optional["whole"],
)
regressions = options(
    d_input=st.integers(3, 100),
    n_context=count,
    noise_std=st.floats(0, 10),
    covariance=st.sampled_from(["isotropic", "condition", "skewed"]),
    condition_number=st.floats(1, 1e6),
    basis=st.sampled_from(["per_prompt", "fixed"]),
    weights=st.sampled_from(["gaussian", "sparse", "pool"]),
    n_nonzero=st.integers(1, 3),
    n_pool=count,
    w_scale=positive,
    inputs=st.sampled_from(["gaussian", "uniform"]),
    input_scale=positive,
    fixed_seed=st.integers(-(2**53), 2**53),
)
agreements = options(
    n_fit=st.integers(64, 10**6),
    n_prompts=st.integers(2, 10**6),
    seed=st.integers(0, 2**53),
    first_position=st.integers(0, 5),
    last_position=st.none() | st.integers(5, 100),
    n_resamples=count,
    gd_step_size=optional["positive"],
    gd_relative_step_size=positive,
    newton_alpha=positive,
    newton_norm=st.sampled_from(["spectral", "frobenius"]),
    families=st.lists(st.sampled_from(["gd", "newton", "cg"]), min_size=1, unique=True).map(tuple),
    n_verdict=st.none() | st.integers(16, 10**6),
)


def test_the_strategies_draw_every_field():
    for cls, strategy in STRATEGIES.items():
        drawn = find(strategy, lambda fields: True)
        assert drawn.keys() == {field.name for field in dataclasses.fields(cls)}


def through_json(data: Any) -> Any:
    """What a program reads that gets the data as canonical JSON."""
    return json.loads(canonical_json(data))


# Round trips


STRATEGIES = dict(zip(RECORDS, (transformers(), trainings, regressions, agreements)))


@pytest.mark.parametrize("cls", RECORDS)
@given(data=st.data())
@settings(max_examples=40)
def test_a_record_comes_back_from_json_as_it_was(cls: type, data: st.DataObject):
    config = cls(**data.draw(STRATEGIES[cls]))
    assert from_data(cls, through_json(to_data(config))) == config


@given(task=regressions, model=transformers(), train=trainings)
@settings(max_examples=40)
def test_a_run_config_comes_back_from_json_as_it_was(task: dict, model: dict, train: dict):
    config = RunConfig(LinearRegression(**task), TransformerConfig(**model), TrainConfig(**train))
    data = config.to_data()
    assert run_config_from_data(through_json(data)) == config
    assert data["schema"] == SCHEMA
    assert data["task"]["name"] == "linear_regression"


@given(data=st.dictionaries(st.text(), ANY_FINITE_JSON, min_size=2))
@settings(max_examples=40)
def test_canonical_json_does_not_depend_on_the_order_of_keys(data: dict[str, Any]):
    backwards = dict(reversed(data.items()))
    assert list(backwards) != list(data)
    assert canonical_json(backwards) == canonical_json(data)
    assert digest(backwards) == digest(data)


def test_canonical_json_and_digest_are_those_of_every_version():
    data = {"b": [1, 2.5, None], "a": {"z": True, "é": "ü"}}
    assert canonical_json(data) == '{"a":{"z":true,"\\u00e9":"\\u00fc"},"b":[1,2.5,null]}'
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_json_cannot_say(value: float):
    with pytest.raises(InputError, match="must hold finite numbers"):
        canonical_json({"a": [value]})


def test_no_nan_replaces_every_nan_and_infinity_and_nothing_else():
    data = {"a": (math.nan, 1.5), "b": {"c": [math.inf, -math.inf, "nan", 3, None, True]}}
    assert no_nan(data) == {"a": [None, 1.5], "b": {"c": [None, None, "nan", 3, None, True]}}


def test_mappings_and_tuples_become_plain_json_data():
    assert to_data({"a": (1, 2), "b": types.MappingProxyType({"c": TrainConfig().betas})}) == {
        "a": [1, 2],
        "b": {"c": [0.9, 0.999]},
    }


# Faults


def accepted(hint: Any) -> set[type]:
    """The JSON types that a field's annotation lets in."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return set().union(*(accepted(option) for option in get_args(hint)))
    if origin is Literal:
        return {str}
    if origin is tuple:
        return {list}
    return {float, int} if hint is float else {hint}


ONE_OF_EACH = {str: "text", int: 3, float: 2.5, bool: True, list: [1], dict: {"a": 1}, type(None): None}


@pytest.mark.parametrize(("cls", "field"), FIELDS, ids=lambda p: getattr(p, "name", getattr(p, "__name__", None)))
def test_a_value_of_the_wrong_type_is_refused_by_the_fields_name(cls: type, field: Any):
    fits = accepted(get_type_hints(cls)[field.name])
    refused = 0
    for kind, value in ONE_OF_EACH.items():
        if kind not in fits:
            with pytest.raises(InputError, match=rf"^{field.name}\b.* must "):
                from_data(cls, {field.name: value})
            refused += 1
    assert refused >= 4


NUMBERS = [(cls, field) for cls, field in FIELDS if accepted(get_type_hints(cls)[field.name]) & {int, float}]
ANY_WHOLE_NUMBER = {"fixed_seed"}
USED = {"n_nonzero": {"weights": "sparse"}}
"""What must be given beside a field for it to matter."""


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        pytest.param(cls, field, value, id=f"{cls.__name__}-{field.name}-{str(value)[:6]}")
        for cls, field in NUMBERS
        for value in (math.nan, math.inf, -1, -2.5, HUGE, -HUGE)
        if not (field.name in ANY_WHOLE_NUMBER and isinstance(value, int))
    ],
)
def test_a_number_out_of_range_is_refused_by_the_fields_name(cls: type, field: Any, value: float):
    with pytest.raises(InputError, match=rf"\b{field.name}\b"):
        from_data(cls, {**USED.get(field.name, {}), field.name: value})


@pytest.mark.parametrize("cls", RECORDS)
@given(junk=ANY_JSON)
@settings(max_examples=30)
def test_junk_in_any_field_gives_a_config_or_an_input_error(cls: type, junk: Any):
    for field in dataclasses.fields(cls):
        faults: list[str] = []
        with gathering(faults):
            assert isinstance(from_data(cls, {field.name: junk}), cls)
        assert all(field.name in fault for fault in faults)


@pytest.mark.parametrize("cls", RECORDS)
@pytest.mark.parametrize("data", [None, 3, "text", [1], True])
def test_a_config_that_is_no_object_is_refused(cls: type, data: Any):
    with pytest.raises(InputError, match=f"{cls.__name__} must be an object"):
        from_data(cls, data)


def test_an_unknown_key_is_refused_with_the_nearest_and_all_known_ones():
    with pytest.raises(InputError) as refused:
        from_data(TrainConfig, {"n_step": 3})
    assert str(refused.value).startswith("Unknown key of TrainConfig 'n_step'. Did you mean 'n_steps'? Known: n_steps,")


def test_a_missing_value_without_default_is_refused_by_name():
    @dataclasses.dataclass(frozen=True)
    class Needy:
        given: int
        spare: int = 1

    with pytest.raises(InputError, match=r"^given must be given"):
        from_data(Needy, {})
    assert from_data(Needy, {"given": 2}) == Needy(2, 1)


def test_all_wrong_types_and_unknown_keys_are_told_together():
    with pytest.raises(InputError) as refused:
        from_data(TrainConfig, {"n_steps": "many", "lr": None, "betas": [0.9], "colour": "red"}, "train")
    told = str(refused.value)
    for fault in ("n_steps must be a whole number", "lr must be a number", "betas must have 2 entries"):
        assert f"train.{fault}" in told
    assert "'colour'" in told


def test_all_values_out_of_range_are_told_together():
    with pytest.raises(InputError) as refused:
        TrainConfig(n_steps=0, lr=-1.0, betas=(0.9, 1.0), decay_fraction=0.0, clip_norm=0.0, seed=-1)
    for name in ("n_steps", "lr", "betas", "decay_fraction", "clip_norm", "seed"):
        assert f"{name} must " in str(refused.value)


def test_the_faults_of_task_model_and_training_are_told_together():
    data = {"schema": SCHEMA, "task": {"name": "linear_regression", "d_input": 0}}
    with pytest.raises(InputError) as refused:
        run_config_from_data({**data, "model": {"n_heads": 5}, "train": {"lr": math.nan}})
    for name in ("d_input must", "n_heads must divide d_model 256; got 5", "lr must"):
        assert name in str(refused.value)


def test_heads_must_divide_the_width_unless_their_own_width_is_given():
    with pytest.raises(InputError, match=r"n_heads must divide d_model 10; got 3 \(or give d_head\)"):
        TransformerConfig(d_model=10, n_heads=3)
    assert TransformerConfig(d_model=10, n_heads=3, d_head=4).head_width == 4


def test_betas_must_be_two_numbers_below_one():
    for betas in ([0.9], [0.9, 0.99, 0.999], [0.9, 1.0], [-0.1, 0.9]):
        with pytest.raises(InputError, match="betas"):
            from_data(TrainConfig, {"betas": betas})


# Fitting a model to its task


def test_shaped_takes_the_shapes_of_the_task():
    shaped = TransformerConfig().shaped({"d_input": 3, "n_context": 7})
    assert (shaped.d_input, shaped.n_context) == (3, 7)
    assert shaped.shaped({"d_input": 3, "n_context": 7}) == shaped


def test_shaped_refuses_a_contradiction():
    with pytest.raises(InputError, match=r"model.d_input must be the task's 3; got 5. Leave it out"):
        TransformerConfig(d_input=5).shaped({"d_input": 3})


def test_a_model_may_say_a_variance_besides_the_one_number_that_the_task_asks_for():
    config = TransformerConfig(output="mean_variance")
    assert config.shaped({"output": "scalar"}).output == "mean_variance"
    with pytest.raises(InputError, match=r"model.output must be the task's 'logits'; got 'mean_variance'"):
        config.shaped({"output": "logits"})


def test_a_curriculum_that_starts_beyond_the_task_is_refused():
    config = tiny_config()
    for name, limit in (("d_start", 2), ("n_start", 4)):
        fits = dataclasses.replace(config.train, **{name: limit})
        assert dataclasses.replace(config, train=fits).resolved().train == fits
        beyond = dataclasses.replace(config, train=dataclasses.replace(config.train, **{name: limit + 1}))
        with pytest.raises(InputError, match=rf"train.{name} must be at most the task's {limit}; got {limit + 1}"):
            beyond.resolved()


@pytest.mark.parametrize(
    ("layout", "causal", "needed"),
    [("interleaved", True, 8), ("pairs", True, 8), ("pairs", False, 4), ("interleaved", False, 7)],
)
def test_a_model_too_short_for_the_prompts_is_refused_before_anything_is_built(layout: str, causal: bool, needed: int):
    config = tiny_config()
    model = dataclasses.replace(config.model, layout=layout, causal=causal, n_ctx=needed)
    assert dataclasses.replace(config, model=model).resolved().model.n_ctx == needed
    short = dataclasses.replace(config, model=dataclasses.replace(model, n_ctx=needed - 1))
    with pytest.raises(InputError, match=f"model.n_ctx must be at least {needed}"):
        short.resolved()


def test_resolving_twice_changes_nothing():
    config = tiny_config()
    assert config.resolved() == config


# Run configs from outside


@pytest.mark.parametrize("junk", [None, 3, 2.5, "text", True, [], ["schema"]])
def test_a_run_config_that_is_no_object_is_refused(junk: Any):
    with pytest.raises(InputError, match="a run config must be an object"):
        run_config_from_data(junk)


@pytest.mark.parametrize("part", ["task", "model", "train"])
@pytest.mark.parametrize("junk", [None, 3, 2.5, "text", True, ["name"], [["name", "linear_regression"]]])
def test_a_part_of_a_run_config_that_is_no_object_is_refused_by_name(part: str, junk: Any):
    with pytest.raises(InputError, match=rf"{part} must be an object"):
        run_config_from_data({**tiny_config().to_data(), part: junk})


@given(data=st.dictionaries(st.sampled_from(["schema", "task", "model", "train", "more"]), ANY_JSON))
def test_junk_run_configs_are_refused_and_never_crash(data: dict[str, Any]):
    with pytest.raises(InputError):
        run_config_from_data({"schema": SCHEMA, **data, "more": 1})


@given(name=ANY_JSON)
def test_a_task_name_of_any_type_is_refused_with_the_known_tasks(name: Any):
    with pytest.raises(InputError, match=f"Known: {', '.join(TASKS)}"):
        run_config_from_data({**tiny_config().to_data(), "task": {"name": name}})


def test_an_unknown_key_of_a_run_config_is_refused():
    with pytest.raises(InputError, match="Unknown key of run config 'optimiser'"):
        run_config_from_data({**tiny_config().to_data(), "optimiser": "adam"})


def test_a_newer_schema_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"schema must be at most 'mesascope/run/1'; got 'mesascope/run/2'. Update"):
        run_config_from_data({**tiny_config().to_data(), "schema": "mesascope/run/2"})


@pytest.mark.parametrize(
    "found",
    [
        None,
        1,
        "",
        "mesascope/run",
        "mesascope/run/",
        "mesascope/env/1",
        "mesascope/run/one",
        "mesascope/run/²",
        "mesascope/run/1\n",
        "mesascope/run/-1",
        "mesascope/run/" + "9" * 5000,
        ["mesascope/run/1"],
    ],
)
def test_data_of_another_kind_is_refused(found: Any):
    with pytest.raises(InputError, match=r"schema must be 'mesascope/run/1'; got"):
        check_schema(found, SCHEMA)


def test_an_older_schema_is_let_in():
    check_schema("mesascope/run/1", "mesascope/run/2")


@pytest.mark.parametrize(
    ("task", "preset"), [(task.name, preset) for task in TASKS.values() for preset in task.presets]
)
def test_every_preset_resolves(task: str, preset: str):
    config = preset_config(task, preset).resolved()
    assert config.task.name == task
    assert run_config_from_data(config.to_data()) == config


def test_unknown_presets_and_tasks_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"Unknown preset of linear_regression 'dmo'. Did you mean 'demo'"):
        preset_config("linear_regression", "dmo")
    with pytest.raises(InputError, match=rf"Unknown task 'nothing'.* Known: {', '.join(TASKS)}"):
        preset_config("nothing", "demo")


# Numbers


def test_counts_are_whole_and_in_range():
    assert [is_count(value) for value in (0, 1, LARGEST_COUNT, LARGEST_COUNT + 1)] == [False, True, True, False]
    assert not any(is_count(value) for value in (True, 1.0, "1", None))
    assert is_count(0, at_least=0)
    assert not is_count(11, at_most=10)


def test_finite_numbers_are_finite_and_in_range():
    assert all(is_finite(value) for value in (0, -1.5, 1e308))
    assert not any(is_finite(value) for value in (math.nan, math.inf, HUGE, True, "1", None))
    assert is_finite(0, at_least=0)
    assert not is_finite(0, above=0)


@pytest.mark.parametrize("field", ["init", "attention", "first_attention", "products", "layout", "positions", "mlp"])
def test_a_switch_that_is_no_text_is_refused_in_one_line(field: str):
    with pytest.raises(InputError, match=rf"^Unknown {field} \['torch'\]\..*Known: [a-z0-9_, ]+\.$"):
        with_values(TransformerConfig(), {field: ["torch"]}).__post_init__()  # tests check types before a config could


def test_values_that_types_list_are_checked_in_python_too():
    with pytest.raises(InputError, match=r"^input must be one of continuous, tokens; got 'words'\.$"):
        with_values(TransformerConfig(), {"input": "words"}).__post_init__()
    with pytest.raises(InputError, match=r"^precision must be one of .*; got 'half'; Unknown optimizer \['adam'\]\."):
        with_values(TrainConfig(), {"precision": "half", "optimizer": ["adam"]}).__post_init__()
