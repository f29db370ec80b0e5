"""Virtual services of IPVS in the kernel: loaded, changed and read back as planned."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import send
from testbed.kernel.rulesets import RulesetRefused, change, listed, load
from testbed.plan.rulesets import Ruleset, Set, ipvs
from testbed.plan.rulesets.transactions import wholes

pytestmark = [pytest.mark.sealed, pytest.mark.vm, pytest.mark.needs("ipvs")]

CLUSTER_IPS = {4: "10.96.0.10", 6: "fd00:96::10"}


def service(protocol: Literal["tcp", "udp"], family: int, servers: list[int], scheduler: str = "rr") -> Set:
    pods = {4: "10.244.0.{}", 6: "fd00:244::{}"}[family]
    reals = [ipvs.server(ipaddress.ip_address(pods.format(number)), 8080) for number in servers]
    return ipvs.service(protocol, ipaddress.ip_address(CLUSTER_IPS[family]), 80, reals, scheduler, affinity_s=10800)


def parts(*services: Set) -> tuple[Ruleset, ...]:
    return (Ruleset("kube-proxy", "ipvs", sets=services),)


A = parts(service("tcp", 4, [2, 3]), service("udp", 4, [2]), service("tcp", 6, [2, 3]))
B = parts(service("tcp", 4, [3, 4], "wrr"), service("tcp", 6, []), service("udp", 6, [5]))


def planned(wanted: tuple[Ruleset, ...]) -> list[str]:
    return sorted(line for line, _ in ipvs.lines(wholes(wanted)["ipvs"]))


def lines() -> list[str]:
    return sorted(line for line, _ in ipvs.lines(listed({"ipvs": ()})["ipvs"]))


@contextmanager
def a_namespace() -> Iterator[None]:
    """With a local address: without any, the kernel accepts no server address."""
    with Namespace.create().entered():
        send([encode.link_up(encode.LOOPBACK)])
        yield


@pytest.mark.parametrize(("one", "other"), [(A, B), (B, A), ((), A), (A, ())], ids=["AB", "BA", "-A", "A-"])
def test_services_are_changed_as_planned(one: tuple[Ruleset, ...], other: tuple[Ruleset, ...]) -> None:
    with a_namespace():
        load(one)
        assert lines() == (planned(one) if one else [])
        change(one, other)
        assert lines() == (planned(other) if other else [])
        change(other, other)
        assert lines() == (planned(other) if other else [])


def test_a_refused_service_changes_nothing_and_is_named() -> None:
    wrong = parts(service("tcp", 4, [2]), service("udp", 6, [2], "no-such-scheduler"))
    with a_namespace():
        load(A)
        before = lines()
        with pytest.raises(RulesetRefused) as raised:
            change(A, wrong)
        assert raised.value.backend == "ipvs"
        assert "Scheduler or persistence engine not found" in raised.value.message
        assert lines() == before
