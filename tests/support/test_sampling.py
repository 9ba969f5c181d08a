"""The samples of the fast run."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest

from tests.support.sampling import Cell, numbered, sampled


def sample(lengths: tuple[int, ...], crossed: str) -> list[Cell]:
    cells = [dict(zip("abcd", values, strict=False)) for values in product(*map(range, lengths))]
    return [cell for cell, is_in_sample in zip(cells, sampled(cells, crossed), strict=True) if is_in_sample]


@pytest.mark.parametrize("crossed", ["", "ab", "bd"])
@pytest.mark.parametrize("lengths", [(1, 1, 1, 1), (2, 8, 3, 4), (2, 35, 1, 2), (3, 3, 3, 3)])
def test_a_sample_has_every_value_of_each_axis(lengths: tuple[int, ...], crossed: str) -> None:
    cells = sample(lengths, crossed)
    assert [len({cell[axis] for cell in cells}) for axis in "abcd"] == list(lengths)


def test_a_sample_has_one_cell_for_each_combination_of_the_crossed_axes() -> None:
    assert len(sample((2, 8, 3, 4), "")) == 8
    crossed = {(cell["b"], cell["d"]) for cell in sample((2, 8, 3, 4), "bd")}
    assert len(crossed) == len(sample((2, 8, 3, 4), "bd")) == prod((8, 4))


def test_a_parameter_that_follows_another_is_no_axis() -> None:
    tied = [("a", 10), ("b", 20), ("c", 20)]
    cases = [{"name": name, "size": size, "kind": kind} for name, size in tied for kind in ("x", "y")]
    assert numbered(cases)[-1] == {"name": 2, "kind": 1}
    assert len(numbered(cases)) == 6
