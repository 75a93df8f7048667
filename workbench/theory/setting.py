"""What a closed form is asked about, and the assumptions that it can make of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workbench.errors import must
from workbench.models.config import TransformerConfig
from workbench.regression_law import AutoregressiveLaw, FunctionLaw, Law, RegressionLaw
from workbench.tasks.facts import LabelFacts


@dataclass(frozen=True, eq=False)
class Setting:
    """A model and the law of the prompts that it is trained on.

    Attributes:
        law: The law of prompts; None where the task does not say one.
        model: What the model is made of, the task's shapes filled in.
        task: The task's name, for sentences.
        facts: Exact moments of each label, where the task knows them.
        laws: The law of prompts with one label each, where there are several labels.
        functions: Second moments of the functions that are drawn, where the task knows them.
    """

    law: Law | None
    model: TransformerConfig
    task: str = "the task"
    facts: tuple[LabelFacts, ...] = ()
    laws: tuple[RegressionLaw, ...] = ()
    functions: FunctionLaw | None = None

    @property
    def regression(self) -> RegressionLaw:
        """The law, where the assumption ``REGRESSION`` holds."""
        assert isinstance(self.law, RegressionLaw), "check the assumption REGRESSION before"
        return self.law

    @property
    def whitened_variance(self) -> float:
        """Variance of a coordinate of Sig^(1/2) w, where the assumption ``WHITENED`` holds."""
        return self.regression.signal_variance / self.regression.d_input

    @property
    def autoregression(self) -> AutoregressiveLaw:
        """The law, where the assumption ``AUTOREGRESSION`` holds."""
        assert isinstance(self.law, AutoregressiveLaw), "check the assumption AUTOREGRESSION before"
        return self.law

    def factor(self, n_examples: int) -> float:
        """What a mean over the visible keys is of the mean over so many examples: the query may be a key itself."""
        return n_examples / (n_examples + 1) if self.model.query_in_keys else 1.0


Check = Callable[[Setting], str]
"""From a setting to what is wrong with it in one line, or "" where the assumption holds."""


@dataclass(frozen=True)
class Assumption:
    """One thing that a closed form rests on.

    Attributes:
        sentence: The assumption in words.
        check: What is wrong in a setting.
    """

    sentence: str
    check: Check


def first_fault(assumptions: tuple[Assumption, ...], setting: Setting) -> str:
    """What is wrong with a setting by the first assumption that fails, or ""."""
    return next((fault for each in assumptions if (fault := each.check(setting))), "")


def _regression(setting: Setting) -> str:
    law = setting.law
    if law is None:
        return f"task {setting.task!r} must say the law of its prompts; it says none"
    holds = isinstance(law, RegressionLaw) and law.target == "linear"
    told = law.target if isinstance(law, RegressionLaw) else "a sequence"
    return must("target", "be linear in x", told, holds)


def _autoregression(setting: Setting) -> str:
    law = setting.law
    holds = isinstance(law, AutoregressiveLaw) and law.dynamics == "diagonal_unitary"
    told = law.dynamics if isinstance(law, AutoregressiveLaw) else "no sequence"
    return must("task", "be x_{t+1} = W x_t with diagonal unitary W", told, holds)


def _nonlinear(setting: Setting) -> str:
    law = setting.law
    turned = isinstance(law, RegressionLaw) and law.target in ROTATED_TARGETS and len(setting.facts) == 1
    told = law.target if isinstance(law, RegressionLaw) else "no regression"
    rule = f"be of a family that rotations and a change of sign leave alone ({', '.join(ROTATED_TARGETS)})"
    return must("target", rule, told, turned)


def _several_labels(setting: Setting) -> str:
    return must("labels", "be several, each linear in x", len(setting.laws), len(setting.laws) > 1)


def _undisturbed_sequence(setting: Setting) -> str:
    law = setting.law
    holds = isinstance(law, AutoregressiveLaw) and law.dynamics != "other"
    told = law.dynamics if isinstance(law, AutoregressiveLaw) else "no sequence"
    return must("task", "be x_{t+1} = W x_t without noise, W unitary", told, holds)


def _functions(setting: Setting) -> str:
    told = "none" if setting.functions is None else "some"
    return must(
        f"task {setting.task!r}", "say the second moments of its functions", told, setting.functions is not None
    )


def _of_law(name: str, rule: str, holds: Callable[[RegressionLaw], bool], *, field: str = "", told: str = "") -> Check:
    """A rule on the law of a regression; what was got is a field of it, or told."""

    def check(setting: Setting) -> str:
        law = setting.regression
        return must(name, rule, getattr(law, field) if field else told, holds(law))

    return check


def _of_model(name: str, rule: str, holds: Callable[[object], bool]) -> Check:
    def check(setting: Setting) -> str:
        value = getattr(setting.model, name)
        return must(f"model.{name}", rule, value, holds(value))

    return check


def _is(name: str, wanted: object) -> Check:
    return _of_model(name, f"be {wanted!r}", lambda value: value == wanted)


def _whitened(law: RegressionLaw) -> bool:
    if law.basis is None:
        return False
    product = law.covariance @ law.prior
    scale = torch.trace(product) / law.d_input
    # Tasks draw their bases in float32, whose rounding the condition number of the covariance makes larger.
    return torch.allclose(product, scale * torch.eye(law.d_input, dtype=product.dtype), atol=1e-4 * float(scale))


def isotropic(law: RegressionLaw) -> bool:
    """Whether covariance and prior are multiples of I."""
    return bool((law.spectrum - law.spectrum[0]).abs().max() <= 1e-6 * law.spectrum[0]) and _scaled_identity(law.prior)


def _scaled_identity(matrix: torch.Tensor) -> bool:
    scale = torch.trace(matrix) / len(matrix)
    return torch.allclose(matrix, scale * torch.eye(len(matrix), dtype=matrix.dtype), atol=1e-6 * float(scale))


FUNCTIONS = Assumption("functions with known second moments", _functions)
ROTATED_TARGETS = ("relu_network", "cube", "tanh")
"""Targets f(x) that are as likely as f(R x) and -f(x) for every rotation R."""
NONLINEAR = Assumption("targets of a family that rotations and a change of sign leave alone", _nonlinear)
SEVERAL_LABELS = Assumption("several labels, each linear in x", _several_labels)
UNITARY_SEQUENCE = Assumption("sequences x_{t+1} = W x_t, W unitary", _undisturbed_sequence)
REGRESSION = Assumption("labels are linear in x", _regression)
AUTOREGRESSION = Assumption("sequences x_{t+1} = W x_t, W = diag(exp(i theta))", _autoregression)
SYMMETRIC = Assumption(
    "w and -w are equally likely",
    _of_law("weights", "have a law symmetric about 0", lambda law: law.symmetric_weights, field="weights"),
)
FIXED_COVARIANCE = Assumption(
    "all prompts share one covariance",
    _of_law("covariance", "be that of every prompt", lambda law: law.basis is not None, told="one per prompt"),
)
ROTATED_COVARIANCE = Assumption(
    "each prompt has a covariance of its own",
    _of_law("covariance", "be drawn anew for each prompt", lambda law: law.basis is None, told="one for all"),
)
GAUSSIAN_INPUTS = Assumption(
    "inputs are Gaussian",
    _of_law("inputs", "be 'gaussian'", lambda law: law.excess_kurtosis == 0, field="inputs"),
)
GAUSSIAN_WEIGHTS = Assumption(
    "w is Gaussian",
    _of_law("weights", "be 'gaussian'", lambda law: law.weights == "gaussian", field="weights"),
)
NOISY = Assumption(
    "labels are noisy",
    _of_law("noise variance", "be above 0", lambda law: law.noise_variance > 0, field="noise_variance"),
)
ONE_NOISE_LEVEL = Assumption(
    "all prompts are equally noisy",
    _of_law("noise level", "be that of every prompt", lambda law: law.one_noise_level, told="one per prompt"),
)
NOISELESS = Assumption(
    "labels have no noise",
    _of_law("noise variance", "be 0", lambda law: law.noise_variance == 0, field="noise_variance"),
)
WHITENED = Assumption(
    "the prior of w is a multiple of Sig^-1",
    _of_law("prior of w", "be a multiple of the inverse covariance", _whitened, told="another"),
)
SAME_PRIOR = Assumption(
    "the prior of w is a multiple of I",
    _of_law("prior of w", "be a multiple of I", lambda law: _scaled_identity(law.prior), told="another"),
)
ISOTROPIC = Assumption(
    "covariance and prior are multiples of I",
    _of_law("covariance and prior", "be multiples of I", isotropic, told="others"),
)

ONE_LAYER = Assumption("one layer", _is("n_layers", 1))
UNTIED = Assumption("layers of their own", _is("tied_layers", False))
COPYING = tuple(
    Assumption(f"{name} {wanted!r}", _is(name, wanted))
    for name, wanted in (
        ("n_layers", 2),
        ("layout", "interleaved"),
        ("first_attention", "softmax"),
        ("attention", "linear"),
        ("norm", "none"),
        ("mlp", "none"),
    )
)
"""A softmax layer that can look for a neighbour, then linear attention, over tokens x and y in turn."""
LINEAR_ATTENTION = Assumption("attention is linear", _is("attention", "linear"))
SOFTMAX_ATTENTION = Assumption("attention is softmax", _is("attention", "softmax"))
RELU_ATTENTION = Assumption("attention is ReLU", _is("attention", "relu"))
ONE_HEAD = Assumption("one head", _is("n_heads", 1))
SEVERAL_LAYERS = Assumption("two layers or more", _of_model("n_layers", "be at least 2", lambda value: value >= 2))  # type: ignore[operator]
MOVES_INPUTS = Assumption(
    "attention can write inputs",
    _of_model("products", "let attention write inputs", lambda value: value != "labels_only"),
)
SEQUENCE_LAYOUT = Assumption("tokens (x_t, x_{t-1})", _is("layout", "augmented_states"))
KNOWN_INPUTS = Assumption(
    "coordinates are Gaussian or uniform",
    _of_law("inputs", "be 'gaussian' or 'uniform'", lambda law: law.inputs in ("gaussian", "uniform"), field="inputs"),
)
TWO_HEADS = Assumption("two heads or more", _of_model("n_heads", "be at least 2", lambda value: value >= 2))  # type: ignore[operator]
QUERY_APART = Assumption("the query is no key", _is("query_in_keys", False))
LAST_QUERY = Assumption("only the last query is asked", _is("causal", False))
EVERY_QUERY = Assumption("every position is asked", _is("causal", True))
MLP_FIRST = Assumption("an MLP before attention", _is("mlp_first", True))
TOKENS_ALONE = tuple(
    Assumption(f"{name} {wanted!r}", _is(name, wanted))
    for name, wanted in (("layout", "pairs"), ("positions", "none"), ("norm", "none"), ("sink", "none"))
)
"""Tokens (x, y) that nothing but their values tells apart."""
BARE = tuple(
    Assumption(f"{name} {wanted!r}", _is(name, wanted))
    for name, wanted in (
        ("layout", "pairs"),
        ("positions", "none"),
        ("norm", "none"),
        ("mlp", "none"),
        ("bias", False),
        ("sink", "none"),
        ("attention_gate", False),
    )
)
"""Attention alone over tokens (x, y): nothing between the weights and what they do."""
