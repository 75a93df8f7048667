"""Texts, and rows of tokens made of them."""

from pathlib import Path

import pytest
import torch

from circuits.language import TEXTS, one_token_rows, random_rows, text_of_file, text_rows
from workbench.errors import InputError


def by_character(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_rows_are_windows_of_the_text_in_order_each_after_bos():
    rows = text_rows(by_character, "abcdefghijkl", n_rows=2, n_tokens=4, bos=0)
    assert rows.tolist() == [[0, *by_character("abc")], [0, *by_character("ghi")]]
    bare = text_rows(by_character, "abcdefghijkl", n_rows=3, n_tokens=4, bos=None)
    assert bare.flatten().tolist() == by_character("abcdefghijkl")


def test_a_short_text_is_refused_with_what_it_has():
    with pytest.raises(InputError, match="at least 3 windows of 3 tokens; it has 8 tokens, which are 2"):
        text_rows(by_character, "abcdefgh", n_rows=3, n_tokens=4, bos=0, name="poem")


def test_random_rows_are_ordinary_tokens_equally_likely():
    rows = random_rows(range(3, 6), n_rows=300, n_tokens=41, bos=1, seed=0)
    assert rows.shape == (300, 41)
    assert (rows[:, 0] == 1).all()
    share = torch.stack([(rows[:, 1:] == token).double().mean() for token in (3, 4, 5)])
    assert share.sum() == 1
    assert ((share - 1 / 3).abs() < 4 * (2 / 9 / 12000) ** 0.5).all()


def test_rows_of_one_token_hold_it_over_and_over():
    rows = one_token_rows(range(3, 90), n_rows=20, n_tokens=5, bos=1, seed=0)
    assert (rows[:, 0] == 1).all()
    assert (rows[:, 1:] == rows[:, 1:2]).all()
    assert len(set(rows[:, 1].tolist())) > 10


def test_the_texts_that_ship_are_long_and_of_their_kind():
    texts = {name: text.read() for name, text in TEXTS.items()}
    assert all(len(text) > 60_000 for text in texts.values())
    assert "Call me Ishmael." in texts["prose"]
    assert texts["code"].count("\ndef ") > 40 > texts["prose"].count("def ")


def test_any_text_file_is_a_domain(tmp_path: Path):
    path = tmp_path / "own words.txt"
    path.write_text("söme text", encoding="utf-8")
    text = text_of_file(path)
    assert (text.name, text.read()) == ("own words", "söme text")
    path.write_bytes(b"abc\xff")
    with pytest.raises(InputError, match=r"a text must be UTF-8; .* is not, at byte 3"):
        text_of_file(path)
    with pytest.raises(InputError, match="a text must be a readable file"):
        text_of_file(tmp_path / "nothing.txt")
