"""Allocated numbers stay the same in all plans of a lab, and are not reused for another name."""

import pytest

from testbed.plan.allocation import Allocation, Allocator, Exhausted, Room

ROOM = Room(3, "pod address on node1", "add the pod to another node")


def test_each_domain_allocates_stable_numbers_from_zero() -> None:
    numbers = Allocator()
    assert numbers.numbers("pods", [("a",), ("b",)]) == (0, 1)
    assert numbers.number("nodes", ("a",)) == 0
    assert numbers.number("pods", ("a",)) == 0


def test_freed_numbers_are_not_allocated_to_other_names() -> None:
    first = Allocator()
    first.numbers("pods", [("a",), ("b",)])
    second = Allocator(first.finished())
    assert second.numbers("pods", [("c",), ("b",)]) == (2, 1)
    third = Allocator(second.finished())
    assert third.numbers("pods", [("a",), ("b",), ("c",)]) == (3, 1, 2)


def test_an_unused_domain_keeps_its_allocated_numbers() -> None:
    first = Allocator()
    first.number("pods", ("a",))
    without = Allocator(first.finished()).finished()
    assert Allocator(without).number("pods", ("b",)) == 1


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


def test_the_error_of_a_full_domain_has_the_numbers_in_use_and_freed() -> None:
    first = Allocator()
    first.numbers("pods", [("a",), ("b",)], ROOM)
    second = Allocator(first.finished())
    second.numbers("pods", [("b",), ("c",)], ROOM)
    with pytest.raises(Exhausted) as error:
        Allocator(second.finished()).numbers("pods", [("b",), ("c",), ("d",)], ROOM)
    assert str(error.value) == (
        "no pod address on node1 left: 2 of 3 in use, 1 freed in this lab and not allocated again; "
        "add the pod to another node"
    )
    assert (error.value.in_use, error.value.freed) == (2, 1)


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
