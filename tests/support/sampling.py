"""The sample of a large matrix of parameters that the fast run takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import pytest

#: For a case that only `make test-all` runs.
SOAK = pytest.mark.soak

Cell = Mapping[str, int]


def mark_unsampled(items: Iterable[pytest.Item]) -> None:
    """Mark the cases of each test marked `sampled` as `soak`, apart from a sample that has every value of each axis."""
    cases: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and _is_sampled(item):
            cases[item.nodeid.partition("[")[0]].append(item)
    for functions in cases.values():
        crossed = [name for marker in functions[0].iter_markers("sampled") for name in marker.args]
        kept = sampled(numbered([function.callspec.params for function in functions]), crossed)
        for function, is_kept in zip(functions, kept, strict=True):
            if not is_kept:
                function.add_marker(SOAK)


def _is_sampled(item: pytest.Item) -> bool:
    return item.get_closest_marker("sampled") is not None and item.get_closest_marker("soak") is None


def numbered(cases: Sequence[Mapping[str, object]]) -> list[Cell]:
    """Return the number of each value on its axis, in the order in which they come, without axes that follow others."""
    axes: dict[str, list[int]] = {}
    for name in cases[0]:
        values = [repr(case[name]) for case in cases]
        order = {value: number for number, value in enumerate(dict.fromkeys(values))}
        numbers = [order[value] for value in values]
        if not any(len(set(zip(other, numbers, strict=True))) == len(set(other)) for other in axes.values()):
            axes[name] = numbers
    return [dict(zip(axes, numbers, strict=True)) for numbers in zip(*axes.values(), strict=True)]


def sampled(cells: Sequence[Cell], crossed: Sequence[str] = ()) -> list[bool]:
    """Return for each cell whether it is in the sample.

    A cell holds the number of its value on each axis. The sample has every combination of the `crossed` axes, and
    every value of each other axis, if a crossed one is the longest. Without `crossed`, that is the longest axis alone.
    """
    lengths = {axis: 1 + max(cell[axis] for cell in cells) for axis in cells[0]}
    crossed = crossed or [max(lengths, key=lambda axis: lengths[axis])]
    return [
        all(cell[axis] == sum(cell[each] for each in crossed) % lengths[axis] for axis in lengths.keys() - {*crossed})
        for cell in cells
    ]
