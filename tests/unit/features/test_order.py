"""In which order features run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.features.order import Cycle, running_order


@pytest.mark.parametrize(
    ("earlier", "order"),
    [
        ({}, []),
        ({"b": [], "a": [], "c": []}, ["a", "b", "c"]),
        ({"a": ["b"], "b": []}, ["b", "a"]),
        ({"a": ["z"], "b": [], "z": ["b"]}, ["b", "z", "a"]),
        ({"a": ["c"], "b": [], "c": []}, ["b", "c", "a"]),
        ({"a": ["nobody"], "b": []}, ["a", "b"]),
    ],
)
def test_by_name_unless_one_has_to_come_earlier(earlier, order):
    assert running_order(earlier) == order


@pytest.mark.parametrize(
    ("earlier", "path"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"], "free": []}, ("a", "c", "b", "a")),
    ],
)
def test_a_circle_is_told_with_its_path(earlier, path):
    with pytest.raises(Cycle) as raised:
        running_order(earlier)
    assert raised.value.path == path
    assert str(raised.value) == " before ".join(path)


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.sets(NAMES, max_size=3)))
def test_every_order_keeps_to_what_was_said_and_every_circle_is_one(earlier):
    try:
        order = running_order(earlier)
    except Cycle as cycle:
        assert cycle.path[0] == cycle.path[-1]
        for first, second in zip(cycle.path, cycle.path[1:], strict=False):
            assert first in earlier[second]
    else:
        assert sorted(order) == sorted(earlier)
        for name, others in earlier.items():
            assert all(order.index(other) < order.index(name) for other in others if other in earlier)
