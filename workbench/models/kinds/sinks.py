"""An extra key, the same in every prompt, that every query sees."""

from dataclasses import dataclass

from workbench.registry import by_name


@dataclass(frozen=True)
class SinkKind:
    """One learned sink per head.

    The pattern keeps to the real keys: with a sink, what a row lacks to 1 is the sink's share.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        is_there: Whether there is one.
        has_value: Whether it has a key and a value of its own; otherwise it is a bare score that takes weight away.
    """

    name: str
    label: str
    source: str
    is_there: bool = True
    has_value: bool = False


SINKS = by_name(
    SinkKind("none", "None", "Vaswani et al. 2017, arXiv:1706.03762", is_there=False),
    SinkKind(
        "key_value",
        "Learned key and value per head",
        "Sun et al. 2024, arXiv:2402.17762; Gu et al. 2024, arXiv:2410.10781",
        has_value=True,
    ),
    SinkKind("logit", "Learned score per head, value zero", "OpenAI 2025, arXiv:2508.10925"),
)
