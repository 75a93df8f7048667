"""The whole set of measures on models: what is planted scores best, what is not does not."""

import json
from dataclasses import replace

import pytest
import torch

from tests.agreement.constructed import one_step_model
from tests.contracts.test_models import build
from workbench.agreement.forgetting import forgetting_curve, said_of_examples
from workbench.agreement.forgetting_curves import measure_forgetting
from workbench.agreement.measured import Algorithm, LayerMeasures, MeasureConfig
from workbench.agreement.measures import MEASURES
from workbench.agreement.measuring import measure_layers
from workbench.agreement.read_outs import ReadOuts
from workbench.agreement.readers import LayerReader, said_of_all
from workbench.asking import ask
from workbench.baselines import BASELINES
from workbench.batch import RegressionBatch
from workbench.configs import no_nan, to_data
from workbench.errors import InputError
from workbench.models import Transformer, TransformerConfig
from workbench.tasks import LinearRegression

D, N_CONTEXT = 3, 7
TASK = LinearRegression(d_input=D, n_context=N_CONTEXT)
SMALL = MeasureConfig(n_prompts=24, n_probe_prompts=8, n_resamples=20)
ALGORITHMS = [
    Algorithm("averaging"),
    Algorithm("ols"),
    Algorithm("gd", 1, {"relative_step_size": 0.5}),
    Algorithm("gd", 4, {"relative_step_size": 0.5}),
    Algorithm("zero"),
]


def read_outs() -> ReadOuts:
    """Of the typed model: layer 0 knows no y; layer 1 holds the answer."""
    solutions = torch.zeros(2, D + 2, dtype=torch.float64)
    solutions[:, D] = 1.0
    return ReadOuts(solutions, torch.zeros(2, dtype=torch.float64))


@pytest.fixture(scope="module")
def found() -> LayerMeasures:
    return measure_layers(one_step_model(D, N_CONTEXT), TASK, read_outs(), ALGORITHMS, SMALL)


def test_what_a_model_was_typed_to_do_gets_the_best_value_of_every_measure_everywhere(found):
    assert found.rows == ("0", "1", "output")
    assert {(table.measure, table.region) for table in found.tables} == {
        (name, region.name) for name in MEASURES for region in found.regions
    }
    for table in found.tables:
        measure = MEASURES[table.measure]
        for row in (1, 2):
            assert table.mean[row][0] == pytest.approx(measure.best, abs=1e-5), table
            assert table.median[row][0] == pytest.approx(measure.best, abs=1e-5), table
            assert table.low[row][0] - 1e-9 <= table.mean[row][0] <= table.high[row][0] + 1e-9
            assert table.undefined[row][0] == 0


def test_what_it_was_not_typed_to_do_gets_worse_ones(found):
    for table in found.tables:
        measure = MEASURES[table.measure]
        if table.region == "all":
            for other in (1, 3):
                worse = measure.best - table.mean[2][other]
                assert (worse if measure.higher_is_better else -worse) > 0.01, (table.measure, other)


def test_a_layer_that_says_nothing_is_undefined_where_directions_are_compared(found):
    by_name = {(table.measure, table.region): table for table in found.tables}
    for name in ("sim_w", "sensitivity_cosine", "influence_cosine"):
        assert by_name[name, "all"].undefined[0] == (1.0,) * len(ALGORITHMS)
    assert by_name["skill", "all"].mean[0][1] == pytest.approx(0.0)
    assert by_name["influence_distance", "all"].mean[0][1] == pytest.approx(1.0)


def test_linearity_is_one_for_a_linear_model_and_undefined_for_silence(found):
    assert [each.region for each in found.linearity] == [region.name for region in found.regions]
    for each in found.linearity:
        assert each.mean[1:] == pytest.approx((1.0, 1.0))
        assert each.undefined == (1.0, 0.0, 0.0)


def test_the_record_is_json_and_names_what_it_compared(found):
    data = json.loads(json.dumps(no_nan(to_data(found))))
    assert data["algorithms"][3] == {"name": "gd", "step": 4, "options": {"relative_step_size": 0.5}}
    assert data["n_prompts"] == {"predictions": 24, "weights": 8, "sensitivity": 8, "influence": 8}
    assert data["n_query"] == 3 * D
    assert data["tables"][0]["mean"][0][0] is not None


def test_only_what_is_asked_for_is_computed_and_told():
    told: list[str] = []
    model = one_step_model(D, N_CONTEXT)
    few = measure_layers(model, TASK, None, ALGORITHMS[:2], SMALL, measures=["skill"], tell=told.append)
    assert few.rows == ("output",)
    assert {table.measure for table in few.tables} == {"skill"}
    assert few.linearity == ()
    assert told == ["asking every layer for its predictions"]


def test_a_model_without_causal_mask_is_measured_prefix_by_prefix():
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2, causal=False, layout="pairs")
    model = Transformer(config.shaped(TASK.model_shape())).eval()
    tables = measure_layers(model, TASK, None, ALGORITHMS[:2], SMALL).tables
    assert {table.measure for table in tables} == set(MEASURES)
    assert all(table.mean[0][1] == table.mean[0][1] for table in tables), "no NaN"


def test_wrong_names_and_settings_are_refused_in_one_line():
    model = one_step_model(D, N_CONTEXT)
    with pytest.raises(InputError, match="Unknown measure 'simE'"):
        measure_layers(model, TASK, None, ALGORITHMS, SMALL, measures=["simE"])
    with pytest.raises(InputError, match="Unknown algorithm 'newtom'"):
        measure_layers(model, TASK, None, [Algorithm("newtom", 1)], SMALL)
    with pytest.raises(InputError, match="step of 'ols' must not be given; got 3"):
        measure_layers(model, TASK, None, [Algorithm("ols", 3)], SMALL)
    with pytest.raises(InputError, match="step of 'gd' must be given; got None"):
        measure_layers(model, TASK, None, [Algorithm("gd")], SMALL)
    with pytest.raises(InputError, match="algorithms must hold at least one; got none"):
        measure_layers(model, TASK, None, [], SMALL)
    with pytest.raises(InputError, match="n_probe_prompts must be a whole number from 2 to n_prompts 24; got 25"):
        replace(SMALL, n_probe_prompts=25)
    with pytest.raises(InputError, match=r"scored positions must lie in 0..6; got 1..7"):
        measure_layers(model, TASK, None, ALGORITHMS, replace(SMALL, last_position=7))


def test_any_registered_algorithm_can_be_compared_with():
    plain = [baseline for baseline in BASELINES.values() if not baseline.required]
    algorithms = [Algorithm(baseline.name, 2 if baseline.iterative else None) for baseline in plain]
    found = measure_layers(one_step_model(D, N_CONTEXT), TASK, None, algorithms, replace(SMALL, n_prompts=8))
    for table in found.tables:
        numbers = dict(zip((a.name for a in algorithms), table.mean[0]))
        nameless = {name for name, number in numbers.items() if number != number}
        allowed = {"zero"} | {b.name for b in plain if table.measure.startswith("sens") and not b.linear_in_query}
        assert nameless <= allowed, (table.measure, nameless - allowed)


@pytest.mark.parametrize("causal", [True, False])
def test_what_a_model_says_of_its_examples_is_what_it_says_of_queries_that_repeat_them(causal):
    model = build({"causal": causal})
    generator = torch.Generator().manual_seed(0)
    xs, ys = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 3, 2), (5, 3)))
    batch, read = RegressionBatch(xs, ys), LayerReader(model)
    found = said_of_examples(read, batch, 2)
    queries = xs[:, None, :2].expand(-1, 3, -1, -1)
    torch.testing.assert_close(found, ask(model, batch, queries, read)[:, :, 2], rtol=0, atol=1e-10)
    assert forgetting_curve(found, ys[:, :2], 2).shape == (1, 2)
    with pytest.raises(InputError, match="n must be between 1 and 2, leaving room"):
        said_of_examples(read, batch, 3)


def test_what_is_said_of_many_prompts_is_what_the_model_predicts():
    model = build({})
    generator = torch.Generator().manual_seed(0)
    xs, ys = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((700, 3, 2), (700, 3)))
    batch = RegressionBatch(xs, ys)
    torch.testing.assert_close(said_of_all(LayerReader(model), batch)[0], model.predict(batch), rtol=0, atol=1e-12)


def test_forgetting_curves_of_a_model_are_those_of_the_algorithm_it_was_typed_to_be():
    model = one_step_model(D, N_CONTEXT)
    algorithms = [Algorithm("averaging"), Algorithm("adaptive_online_gd"), Algorithm("gd", 400)]
    found = measure_forgetting(model, TASK, read_outs(), algorithms, SMALL)
    assert (found.n, found.n_prompts, list(found.rows)) == (D, 8, ["0", "1", "output"])
    averaging, online, converged = found.of_algorithms
    for name in ("1", "output"):
        assert found.rows[name].error == pytest.approx(averaging.error, abs=1e-5)
        assert found.rows[name].fresh == pytest.approx(averaging.fresh, abs=1e-5)
    assert online.error[0] < 1e-12 < online.error[-1]
    assert converged.error[0] < 0.1 * averaging.error[0]
    assert all(low <= error <= high for low, error, high in zip(averaging.low, averaging.error, averaging.high))
    assert measure_forgetting(model, TASK, None, algorithms, SMALL, n=5).n == 5
    json.dumps(no_nan(to_data(found)))


def test_a_model_that_says_vectors_is_refused():
    with pytest.raises(InputError, match="output must be one number to compare with algorithms; got 'vector'"):
        LayerReader(build({"output": "vector"}))
