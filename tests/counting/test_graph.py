"""Instructions by function, from the output of the tracer."""

from collections.abc import Iterator

import pytest

from testbed.counting.graph import LEAST, Traced, functions, parsed
from testbed.counting.layers import layer_of

WITHIN, REST = 700, 650
"""What the tracer of `traced` adds to each call."""

Tree = tuple[str, int, tuple["Tree", ...]]
"""A function, its own instructions, and what it calls."""
CALLS: Tree = (
    "__x64_sys_sendto",
    300,
    (
        ("tcp_sendmsg", 450, (("__alloc_skb", 120, ()), ("helper", LEAST, ()))),
        ("vxlan_xmit", 210, (("helper", 30, ()),)),
    ),
)
REAL = """\
# tracer: function_graph
  meter-472    |   0.722 us    |  mutex_unlock();
  meter-472    |               |  x64_sys_call() {
  meter-472    |               |    __x64_sys_sendto() {
  meter-472    |               |      security_socket_sendmsg() {
  meter-472    |   0.721 us    |        hook_socket_sendmsg();
  meter-472    |               |        apparmor_socket_sendmsg() {
  meter-472    |   0.758 us    |          aa_sk_perm();
  meter-472    |   2.188 us    |        } /* apparmor_socket_sendmsg */
"""


def traced(tree: Tree, task: int = 7, depth: int = 0) -> Iterator[str]:
    """The lines of the tracer for these calls."""
    name, _, called = tree
    took = f"{_took(tree) / 1000:.3f} us"
    indent = "  " * depth
    if not called:
        yield f"  meter-{task}  | {took} |  {indent}{name}();"
        return
    yield f"  meter-{task}  |  |  {indent}{name}() {{"
    for each in called:
        yield from traced(each, task, depth + 1)
    yield f"  meter-{task}  | {took} |  {indent}}} /* {name} */"


def _took(tree: Tree) -> int:
    return WITHIN + tree[1] + sum(REST + _took(each) for each in tree[2])


def own(tree: Tree) -> int:
    return tree[1] + sum(map(own, tree[2]))


def costs(found: Traced, times: int = 1) -> dict[str, float]:
    """The instructions of each stack, where a call costs what `traced` adds."""
    count = own(CALLS)
    counted = functions(found, times, count, count + found.calls / times * (WITHIN + REST))
    return {";".join(each.stack): round(each.instructions, 3) for each in counted}


def test_the_tracers_cost_is_taken_off() -> None:
    assert costs(parsed(traced(CALLS))) == {
        "__x64_sys_sendto": 300,
        "__x64_sys_sendto;tcp_sendmsg": 450,
        "__x64_sys_sendto;tcp_sendmsg;__alloc_skb": 120,
        "__x64_sys_sendto;tcp_sendmsg;helper": LEAST,
        "__x64_sys_sendto;vxlan_xmit": 210,
        "__x64_sys_sendto;vxlan_xmit;helper": 30,
    }


def test_costs_are_for_one_round_trip() -> None:
    lines = [line for _ in range(4) for line in traced(CALLS)]
    assert costs(parsed(lines), times=4) == costs(parsed(traced(CALLS)))


def test_tasks_that_take_turns_have_stacks_of_their_own() -> None:
    turns = [line for pair in zip(traced(CALLS, 7), traced(CALLS, 8), strict=True) for line in pair]
    assert costs(parsed(turns), times=2) == costs(parsed(traced(CALLS)))


def test_calls_from_before_tracing_are_ignored() -> None:
    lines = ["  meter-7  | 9.900 us |  } /* schedule */", *traced(CALLS)]
    assert costs(parsed(lines)) == costs(parsed(traced(CALLS)))


def test_calls_that_do_not_return_do_not_count() -> None:
    lines = [*traced(CALLS), "  meter-7  |  |  schedule() {"]
    assert costs(parsed(lines)) == costs(parsed(traced(CALLS)))


def test_real_output_of_the_kernel_is_read() -> None:
    found = parsed(REAL.splitlines())
    stacks = {";".join(stack): (len(one.raw), round(sum(one.raw))) for stack, one in found.by_stack.items()}
    security = "x64_sys_call;__x64_sys_sendto;security_socket_sendmsg"
    assert stacks == {
        "mutex_unlock": (1, 722),
        f"{security};hook_socket_sendmsg": (1, 721),
        f"{security};apparmor_socket_sendmsg;aa_sk_perm": (1, 758),
        f"{security};apparmor_socket_sendmsg": (1, 1430),
    }
    assert found.least == 721


def test_an_interrupt_does_not_count() -> None:
    disturbed = [line.replace("2.120 us", "9.120 us") for line in traced(CALLS)]
    lines = [*traced(CALLS), *disturbed, *traced(CALLS)]
    assert costs(parsed(lines), times=3) == costs(parsed(traced(CALLS)))


def test_nothing_traced_gives_no_functions() -> None:
    assert functions(parsed([]), 1, 100, 100) == ()


@pytest.mark.parametrize(
    ("function", "layer"),
    [
        ("vxlan_xmit_one", "tunnel"),
        ("tcp_v4_rcv", "TCP and UDP"),
        ("nf_hook_slow", "netfilter"),
        ("ipt_do_table", "netfilter"),
        ("br_handle_frame", "bridge"),
        ("fib_table_lookup", "routing"),
        ("__dev_queue_xmit", "qdisc"),
        ("veth_xmit", "driver"),
        ("bpf_prog_run_generic_xdp", "eBPF"),
        ("bpf_lsm_socket_sendmsg", "security"),
        ("wg_packet_encrypt_worker", "tunnel"),
        ("try_to_wake_up", "scheduler"),
    ],
)
def test_functions_are_in_the_layer_of_their_name(function: str, layer: str) -> None:
    assert layer_of(function) == layer


def test_a_function_without_a_pattern_is_in_its_callers_layer() -> None:
    assert layer_of("frobnicate", "tunnel") == "tunnel"
    assert layer_of("frobnicate") == "other"
