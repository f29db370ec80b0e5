"""Allocated numbers stay the same in all plans of a lab, and freed ones are recycled as late as possible."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.plan.allocation import ORDERS, Allocation, Allocator, Exhausted, Order, Room

ROOM = Room(3, "pod address on node1", "add the pod to another node")


def test_each_domain_allocates_stable_numbers_from_zero() -> None:
    numbers = Allocator()
    assert numbers.numbers("pods", [("a",), ("b",)]) == (0, 1)
    assert numbers.number("nodes", ("a",)) == 0
    assert numbers.number("pods", ("a",)) == 0


def test_freed_numbers_are_not_allocated_before_the_others() -> None:
    first = Allocator()
    first.numbers("pods", [("a",), ("b",)])
    second = Allocator(first.finished())
    assert second.numbers("pods", [("c",), ("b",)]) == (2, 1)
    third = Allocator(second.finished())
    assert third.numbers("pods", [("a",), ("b",), ("c",)]) == (3, 1, 2)


def steps(order: Order, *plans: str, size: int = 5) -> list[tuple[int, ...]]:
    """The numbers of each plan's names, in a domain of five numbers."""
    before, found = None, []
    for names in plans:
        numbers = Allocator(before)
        found.append(numbers.numbers("pods", [(name,) for name in names], replace(ROOM, size=size, order=order)))
        before = numbers.finished()
    return found


def test_next_fit_recycles_the_first_free_number_after_the_last() -> None:
    # e gets the last of the five. Then 1 and 3 are free: f gets 1, g gets 3, h the only free one, i the next after it.
    found = steps("next fit", "abcd", "ac", "ace", "acef", "acefg", "acef", "acefh", "acef", "cef", "cefi", "cefij")
    assert [numbers[-1] for numbers in found] == [3, 2, 4, 1, 3, 1, 3, 1, 1, 0, 3]


def test_a_queue_recycles_the_number_that_was_freed_first() -> None:
    found = steps("queue", "abcd", "abc", "ac", "ace", "acef", "acefg", "cefg", "cefgh", "efgh", "efghi")
    assert [numbers[-1] for numbers in found] == [3, 2, 2, 4, 3, 1, 1, 0, 0, 2]


@pytest.mark.parametrize("order", ["next fit", "queue"])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_a_number_is_recycled_after_all_that_were_free_when_it_was_freed(
    order: Order, changes: list[tuple[bool, int]]
) -> None:
    room, names, kept = replace(ROOM, size=6, order=order), ["first"], Allocation()
    waiting: dict[int, set[int]] = {}
    before: dict[str, int] = {}
    for adds, which in changes:
        if adds and len(names) < room.size:
            names.append(f"{len(names)}-{which}-{sum(before.values())}-{len(waiting)}")
        elif names and not adds:
            names.pop(which % len(names))
        names = list(dict.fromkeys(names))
        keeping, plain = Allocator(kept, keeps=True), Allocator(kept)
        found = dict(zip(names, keeping.numbers("pods", [(name,) for name in names], room), strict=True))
        assert tuple(found.values()) == plain.numbers("pods", [(name,) for name in names], room)
        assert keeping.finished() == plain.finished()
        assert len(set(found.values())) == len(found) <= room.size
        assert all(found[name] == before[name] for name in found.keys() & before.keys())
        for name in found.keys() - before.keys():
            if order == "queue":
                assert not waiting.get(found[name], set()) - set(found.values()), "others were free for longer"
            waiting.pop(found[name], None)
        for others in waiting.values():
            others -= set(found.values())
        free = set(range(room.size)) - set(found.values())
        for name in before.keys() - found.keys():
            waiting[before[name]] = free - {before[gone] for gone in before.keys() - found.keys()}
        before, kept = found, keeping.finished()


def test_a_replaced_name_gets_another_number_while_one_is_free() -> None:
    for order in ORDERS:
        found = steps(order, "ab", "a", *(step for name in "cdefghij" for step in (f"a{name}", "a")))
        fresh = [numbers[1] for numbers in found if len(numbers) == 2]
        assert all(one != other for one, other in pairwise(fresh))
        assert fresh[:5] == [1, 2, 3, 4, 1]


def test_a_domain_that_is_not_used_begins_again() -> None:
    first = Allocator()
    first.numbers("pods of node 3", [("a",), ("b",)], replace(ROOM, order="queue"))
    assert Allocator(first.finished()).finished().domains == ()


def test_the_same_requests_give_an_equal_allocation() -> None:
    def allocated(before: Allocation | None) -> Allocation:
        numbers = Allocator(before)
        numbers.numbers("pods", [("b",), ("a",)])
        numbers.settle("blocks", ("bits",), 6)
        return numbers.finished()

    assert allocated(allocated(None)) == allocated(None)
    assert hash(allocated(allocated(None))) == hash(allocated(None))


def test_a_settled_value_is_kept_while_it_is_possible() -> None:
    first = Allocator()
    assert first.settle("ports", ("core",), "eth0") == "eth0"
    assert Allocator(first.finished()).settle("ports", ("core",), "to-a") == "eth0"
    assert Allocator(first.finished()).settle("ports", ("core",), "to-a", among=["to-a", "to-b"]) == "to-a"


@pytest.mark.parametrize("order", ["next fit", "queue"])
def test_a_full_domain_says_that_all_numbers_are_in_use(order: Order) -> None:
    with pytest.raises(Exhausted) as error:
        steps(order, "ab", "bc", "bcd", "bcde", size=3)
    assert str(error.value) == "no pod address on node1 left: all 3 are in use; add the pod to another node"
    assert steps(order, "ab", "bc", "bcd", "bce", size=3)[-1] == (1, 2, 0)


def test_kept_numbers_are_in_use_until_freed() -> None:
    first = Allocator()
    first.numbers("pods", [("a",), ("b",)])
    first.number("devices", ("eth0",))
    first.settle("blocks", ("bits",), 6)
    kept = Allocator(first.finished(), keeps=True)
    kept.number("pods", ("c",))
    kept.free("pods", [("a",)])
    second = kept.finished()
    assert (second.number("pods", ("b",)), second.number("pods", ("c",)), second.number("devices", ("eth0",))) == (
        1,
        2,
        0,
    )
    assert second.settled == first.finished().settled
    with pytest.raises(KeyError):
        second.number("pods", ("a",))
    assert Allocator(second, keeps=True).number("pods", ("a",)) == 3
    assert first.finished().number("pods", ("a",)) == 0


def test_a_list_of_names_frees_all_others_also_with_kept_numbers() -> None:
    first = Allocator()
    first.numbers("pods", [("a",), ("b",)])
    kept = Allocator(first.finished(), keeps=True)
    assert kept.numbers("pods", [("b",), ("c",)]) == (1, 2)
    assert dict(kept.finished().domains[0].live) == {("b",): 1, ("c",): 2}
