"""Registries: literal tables that refuse a repeat and list what they know."""

from dataclasses import dataclass

import pytest

from workbench.errors import InputError
from workbench.registry import Named, by_name, find, unknown


@dataclass(frozen=True)
class Record:
    name: str


ALPHA, BETA = Record("alpha"), Record("beta")


def test_records_stand_under_their_names_in_the_order_given():
    assert dict(by_name(BETA, ALPHA)) == {"beta": BETA, "alpha": ALPHA}
    assert list(by_name(BETA, ALPHA)) == ["beta", "alpha"]


def test_a_repeated_name_is_refused():
    with pytest.raises(ValueError, match="'alpha' is registered twice"):
        by_name(ALPHA, BETA, Record("alpha"))


def test_a_registry_cannot_be_changed_after_it_is_made():
    with pytest.raises(TypeError, match="does not support item assignment"):
        by_name(ALPHA)["beta"] = BETA  # type: ignore[index]


def test_a_known_name_gives_its_record():
    assert find(by_name(ALPHA, BETA), "beta", "letter") is BETA


def test_an_unknown_name_is_refused_with_the_nearest_and_all_known_ones():
    with pytest.raises(InputError) as refused:
        find(by_name(ALPHA, BETA), "alpa", "letter")
    assert str(refused.value) == "Unknown letter 'alpa'. Did you mean 'alpha'? Known: alpha, beta."


def test_a_name_like_no_other_is_refused_without_a_suggestion():
    assert unknown("letter", "zzz", by_name(ALPHA)) == "Unknown letter 'zzz'. Known: alpha."


def test_an_empty_registry_says_that_it_knows_none():
    assert unknown("letter", "a", []) == "Unknown letter 'a'. Known: none."


@pytest.mark.parametrize("name", [None, 3, 1.5, True, ["alpha"], {"alpha": 1}])
def test_a_name_that_is_no_text_is_refused_like_an_unknown_one(name: object):
    with pytest.raises(InputError, match="Unknown letter"):
        find(by_name(ALPHA), name, "letter")


def test_anything_with_a_name_counts_as_named():
    assert isinstance(ALPHA, Named)
    assert not isinstance(3, Named)
