"""What a closed form is, and what it can say."""

from collections.abc import Callable
from dataclasses import dataclass

from workbench.errors import InputError
from workbench.regression_law import FunctionLaw
from workbench.theory.one_step import Matrix
from workbench.theory.setting import Assumption, Setting, first_fault


@dataclass(frozen=True, eq=False)
class OneStep:
    """That the model is f = q . Gamma g.

    Attributes:
        gamma: The matrix.
        excess: Its expected squared error against the clean label.
        centred: Whether g is taken with inputs less their mean.
    """

    gamma: Matrix
    excess: float
    centred: bool = False


@dataclass(frozen=True, eq=False)
class OnFeatures:
    """That the model is f = phi(q) . Gamma g, with g the mean of y_i phi(x_i) and phi what its MLP makes of (x, 0).

    Attributes:
        law: Of the functions to learn, from which the best Gamma of any features follows.
        least: The excess risk below which no such step comes, whatever the features.
    """

    law: FunctionLaw
    least: float


@dataclass(frozen=True)
class Steps:
    """That layers take steps of gradient descent, in any order.

    Attributes:
        step_sizes: On the mean loss of whitened inputs, ascending; complex where no real steps reach the optimum.
        excess: Expected squared error after all of them.
    """

    step_sizes: tuple[complex, ...]
    excess: float


@dataclass(frozen=True)
class ShrinkingSteps:
    """That layers take steps of GD++, each for the inputs that it finds.

    Attributes:
        step_sizes: Eta of each layer, on the mean loss of whitened inputs.
        gammas: Gamma of each layer, in the same units; that of the last does nothing unless all layers are one.
        excess: Expected squared error after all of them.
    """

    step_sizes: tuple[float, ...]
    gammas: tuple[float, ...]
    excess: float


@dataclass(frozen=True)
class SoftmaxHead:
    """That the model is f = value sum_i softmax_i(sharpness x_i . q) y_i, up to the sign of both.

    Attributes:
        sharpness: Of scores, in units of x . q.
        value: Of labels.
        excess: Expected squared error against the clean label.
    """

    sharpness: float
    value: float
    excess: float


@dataclass(frozen=True, eq=False)
class TaskSteps:
    """That each label of a prompt is predicted by a step f_t = q . Gamma_t g_t on centred inputs.

    Attributes:
        gammas: The matrix of each label.
        excess: Expected squared error of each label.
        is_shared: Whether the matrices are one diagonal for all labels, for lack of two heads for each.
        own: The matrices of the best steps of labels that do not hinder each other, which are those above unless they
            are shared; one head more than labels can take them.
    """

    gammas: tuple[Matrix, ...]
    excess: tuple[float, ...]
    is_shared: bool
    own: tuple[Matrix, ...]


@dataclass(frozen=True)
class SequenceStep:
    """That a causal layer on sequences predicts (ab/(t-1)) sum_i x_{i+1} x_i^* x_t.

    Attributes:
        step: The product ab; None where theory gives none.
        recovered: Mean share of a coordinate of the next state that is predicted after a long prompt; None as above.
        is_plain: Whether theory says that the layer is such a step and nothing else.
    """

    step: float | None
    recovered: float | None
    is_plain: bool


@dataclass(frozen=True)
class Curve:
    """A risk curve.

    Attributes:
        axis: ``n_examples``, examples in the prompt, or ``input_scale``, a factor on all its inputs.
        at: Places on the axis.
        excess: Expected squared error against the clean label there.
        is_model: Whether it is what the model should reach, and not a reference to read errors by.
    """

    axis: str
    at: tuple[float, ...]
    excess: tuple[float, ...]
    is_model: bool


@dataclass(frozen=True)
class Scalar:
    """One number.

    Attributes:
        quantity: Which: ``sum_step`` is eta of f = eta sum_i y_i (x_i . Sig^-1 q); ``split`` is the value weight over
            the norm of the key-query matrix; ``relu_step`` c of f = (c/n) sum_i relu(x_i . q) y_i.
        value: Its value.
    """

    quantity: str
    value: float


Says = OneStep | OnFeatures | Steps | ShrinkingSteps | SoftmaxHead | TaskSteps | SequenceStep | Curve | Scalar


@dataclass(frozen=True)
class ClosedForm:
    """One statement of theory on trained models.

    Attributes:
        name: Registry name.
        label: Name for people.
        statement: What it says, in one sentence.
        source: Where it stands.
        assumptions: What it rests on, checked in this order.
        parameters: What it depends on, by symbol.
        function: From a setting that meets the assumptions to what it says.
    """

    name: str
    label: str
    statement: str
    source: str
    assumptions: tuple[Assumption, ...]
    parameters: dict[str, str]
    function: Callable[[Setting], Says]

    def fault(self, setting: Setting) -> str:
        """The assumption that fails, in one line, or "" where the closed form applies."""
        return first_fault(self.assumptions, setting)

    def __call__(self, setting: Setting) -> Says:
        """What it says of a setting.

        Raises:
            InputError: If it does not describe the setting; the message says which assumption fails.
        """
        fault = self.fault(setting)
        if fault:
            raise InputError(f"{self.name} does not describe this model: {fault}.")
        return self.function(setting)
