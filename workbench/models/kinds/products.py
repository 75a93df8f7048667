"""How the matrices that attention is made of are parametrised: only their products count for what it computes."""

from dataclasses import dataclass

from workbench.registry import by_name


@dataclass(frozen=True)
class ProductKind:
    """One parametrisation of a head's KQ and OV products.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        separate: Whether queries, keys, values and output have a map each. Otherwise heads are as wide as the stream,
            queries are the stream itself, and what is written is the value itself.
        reads_inputs: Whether keys see nothing of the stream but the input, and values nothing that mixes it with the
            label.
        moves_inputs: Whether inputs are written too. Where only labels are, they have the value map 1.
        of_complex: Whether coordinates are real and imaginary parts in turn, and a head's two matrices are of complex
            numbers: heads 2j and 2j + 1 are the real and the imaginary part of the scores of one such head.
    """

    name: str
    label: str
    source: str
    separate: bool = False
    reads_inputs: bool = False
    moves_inputs: bool = True
    of_complex: bool = False


PRODUCTS = by_name(
    ProductKind("separate", "W_Q, W_K, W_V and W_O", "Vaswani et al. 2017, arXiv:1706.03762", separate=True),
    ProductKind("merged", "One matrix KQ and one OV per head", "Zhang et al. 2023, arXiv:2306.09927, equation 3"),
    ProductKind(
        "complex",
        "One complex matrix KQ and one OV per two heads",
        "Zheng et al. 2024, arXiv:2405.16845, section 3",
        of_complex=True,
    ),
    ProductKind(
        "block_diagonal",
        "KQ on inputs alone, OV of inputs beside 1 for labels",
        "Ahn et al. 2023, arXiv:2306.00297, equation 11",
        reads_inputs=True,
    ),
    ProductKind(
        "labels_only",
        "KQ on inputs alone, OV 1 for labels and 0 for inputs",
        "Ahn et al. 2023, arXiv:2306.00297, equation 8",
        reads_inputs=True,
        moves_inputs=False,
    ),
)
