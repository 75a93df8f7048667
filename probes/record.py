"""What is looked for, how, and what was found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from probes.config import MlpConfig
from probes.examples import Seen


@dataclass(frozen=True)
class Argument:
    """What may follow the colon after a target's name.

    Attributes:
        name: The keyword of the target's function.
        parse: From text to its value; raises ValueError.
        rule: What it must be, for people.
        default: Its value where none is given; None if one must be.
    """

    name: str
    parse: Callable[[str], Any]
    rule: str
    default: Any = None


@dataclass(frozen=True)
class ProbeTarget:
    """One quantity to look for.

    Attributes:
        name: Registry name; with its argument once that is given.
        label: Name for people.
        source: Who probed for it first, or where it is defined.
        compute: From what a token has seen to its value for each prompt: floating-point ``[batch column]``, or whole
            numbers ``[batch]`` that name classes.
        from_prompt: Whether it is a function of the examples seen, so that a probe could be right always.
        best: If it is not: from what was seen to the best guess in mean squared error, or None where none is known.
        argument: What may follow its name.
    """

    name: str
    label: str
    source: str
    compute: Callable[..., Tensor]
    from_prompt: bool = True
    best: Callable[[Seen], Tensor | None] | None = None
    argument: Argument | None = None


@dataclass(frozen=True, eq=False)
class Samples:
    """Activations of some prompts beside what is looked for in them.

    Attributes:
        activations: Those of every site; with an axis of tokens for probes that pool over them.
        targets: The target, and copies of it that belong to other prompts; class numbers in one column for a probe of
            classes.
    """

    activations: Float[Tensor, "site sample *pos width"]
    targets: Float[Tensor, "copy sample column"]


@runtime_checkable
class Fitted(Protocol):
    """Fitted probes of all sites and copies: frozen, and callable."""

    def __call__(self, activations: Tensor) -> Float[Tensor, "site copy sample column"]:
        """What they say of other activations."""
        ...


@runtime_checkable
class Weighs(Protocol):
    """Fitted probes that say how much speaks for each class."""

    def evidence(self, activations: Tensor, classes: Int[Tensor, " label"]) -> Float[Tensor, "site copy sample label"]:
        """Log-probability of each class over its frequency among what was fitted, but for what all classes share.

        NaN for a class that was not fitted.
        """
        ...


@dataclass(frozen=True)
class Probe:
    """One way to fit.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Who probed so first.
        says: ``numbers`` or ``classes``.
        pools: Whether it reads all tokens up to the one that is read.
        fit: From training samples, validation samples, settings of training and a seed to fitted probes of all sites
            and copies.
    """

    name: str
    label: str
    source: str
    says: Literal["numbers", "classes"]
    pools: bool
    fit: Callable[[Samples, Samples, MlpConfig, int], Fitted]


@dataclass(frozen=True)
class ProbeScore:
    """What one probe found, and what that is worth. All scores are held out.

    Attributes:
        component: ``resid``, ``attn_out``, ``mlp_out`` or ``z``.
        layer: 0 is the embedding, l the stream after block l; of a component, what block l of 1..n_layers writes.
        head: Head, 0-based, of component ``z``.
        hook: TransformerLens name of what was read, whose blocks count from 0.
        reading: Which token was read.
        position: That token, 0-based; None where one probe reads several.
        n_context: Examples it has seen; None where one probe reads several.
        target: What was looked for.
        method: How.
        measure: ``r2``, pooled over the coordinates of the target, or ``accuracy``.
        score: That, on prompts that nothing was fitted on.
        ci: Its 95% bootstrap interval over prompts.
        p_value: Share of pairings of predictions with other prompts' targets that score as high.
        shuffled: Mean score of the same fit to targets of other prompts, strengths chosen anew.
        shuffled_max: The highest of those.
        selectivity: Score less that of targets of other prompts at the strength chosen for the real ones (matched
            capacity; Hewitt and Liang 2019, arXiv:1909.03368, with a random target for every prompt).
        untrained: Score of the same probe on the model before training.
        embedding: Score of the same probe on the embedding of the tokens read.
        control: Score of the same probe on a control model, such as one trained with one w for all prompts; None if
            none was given.
        control_task: Score of the same probe on a task in which every type of prompt (which w of a pool) has the target
            of a random type (Hewitt and Liang 2019); None where prompts have no types, or the target is no function of
            them.
        ceiling: The best score that any function of the prompt reaches on these prompts; None where it is not known.
        cosine: Mean over prompts of the cosine of decoded and true vector; None for a number.
        mse: Mean squared error per coordinate.
        v_information: Bits per prompt that the code of a probe, Gaussian for numbers, saves over one that knows no
            activations (Xu et al. 2020, arXiv:2002.10689).
        v_information_ci: Its 95% bootstrap interval over prompts.
        v_information_shuffled: The same of a probe fitted to targets of other prompts.
        v_information_control_task: The same of one fitted to the control task.
        code_length_saved: The same for the online code of the training prompts, each block coded by the probe fitted
            to those before (Voita and Titov 2020, arXiv:2003.12298); None where it was not measured.
        code_length_saved_shuffled: The same of targets of other prompts.
        code_length_saved_control_task: The same of the control task.
        code_length: Bits per prompt of the online code of classes; None for numbers, whose code has no zero.
        code_length_marginal: Bits per prompt of the online code that knows frequencies alone.
        code_length_uniform: Bits per prompt of the code that knows nothing.
        strength: Ridge strength chosen, relative to the mean variance of the activations; None for other methods.
        n_features: Numbers that the probe reads.
    """

    component: str
    layer: int
    head: int | None
    hook: str
    reading: str
    position: int | None
    n_context: int | None
    target: str
    method: str
    measure: str
    score: float
    ci: tuple[float, float]
    p_value: float
    shuffled: float
    shuffled_max: float
    selectivity: float
    untrained: float
    embedding: float
    control: float | None
    control_task: float | None
    ceiling: float | None
    cosine: float | None
    mse: float | None
    v_information: float | None
    v_information_ci: tuple[float, float] | None
    v_information_shuffled: float | None
    v_information_control_task: float | None
    code_length_saved: float | None
    code_length_saved_shuffled: float | None
    code_length_saved_control_task: float | None
    code_length: float | None
    code_length_marginal: float | None
    code_length_uniform: float | None
    strength: float | None
    n_features: int
