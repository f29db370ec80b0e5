"""Inspects a running lab with standard programs (ip, bridge, iptables), independent of the testbed's own code."""

import json
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology
from tests.conftest import ROOT
from tests.shared import shared

PORT = 7999


@cache
def topology(name: str) -> Topology:
    """A shipped topology by name."""
    return load_topology(ROOT / f"topologies/{name}.yaml").value


def marked(cni: str, names: Iterable[str], rare: Iterable[str] = ()) -> list[ParameterSet]:
    """Parameters, each marked with the needs of its design; those in `rare` run in the virtual machine."""
    found = []
    for name in names:
        marks = [pytest.mark.needs(*DESIGNS[f"{cni}-{name}"].needs)]
        found.append(pytest.param(name, marks=[*marks, pytest.mark.vm] if name in rare else marks))
    return found


def proven(name: str, chosen: Topology) -> None:
    """All places reach each other, packets take the planned ways, and inspect finds no differences."""
    design = DESIGNS[name]
    assert list(design.misfits(chosen)) == []
    with shared(design.plan(chosen)) as lab:
        found = inspect(lab.plan, lab.namespaces)
        assert found == (), found
        verdict = check(design, chosen, lab.plan, lab.namespaces)
        assert verdict.is_good, str(verdict)
        assert (lab.convergence_seconds is not None) == any(space.learned for space in lab.plan.spaces)


def ended(lab: Lab, place: str, *command: str) -> str:
    """Output of a command in a place; the command must succeed."""
    done = lab.run(place, list(command))
    assert done.returncode == 0, f"{place}: {' '.join(command)}: {done.stderr}"
    return done.stdout


def as_json(lab: Lab, place: str, *command: str) -> Any:
    return json.loads(ended(lab, place, *command) or "[]")


def link(lab: Lab, place: str, dev: str) -> dict[str, Any]:
    """A device, as printed by `ip -d link`."""
    (found,) = as_json(lab, place, "ip", "-j", "-d", "link", "show", dev)
    return dict(found)


def addresses(lab: Lab, place: str, dev: str) -> set[str]:
    """Addresses of a device, without link-local ones."""
    (found,) = as_json(lab, place, "ip", "-j", "address", "show", dev)
    return {f"{item['local']}/{item['prefixlen']}" for item in found["addr_info"] if item["scope"] != "link"}


def routes(lab: Lab, place: str, *which: str, family: int = 4) -> set[str]:
    """Lines of `ip route`, without metrics, preferences and link-local routes."""
    lines = ended(lab, place, "ip", f"-{family}", "route", "show", *which).splitlines()
    words = [line.partition(" metric ")[0].strip() for line in lines]
    return {line for line in words if not line.startswith(("fe80::", "ff00::", "multicast"))}


def permanent_neighbours(lab: Lab, place: str, dev: str) -> dict[str, str]:
    """MAC addresses by address."""
    found = [
        item
        for family in "46"
        for item in as_json(lab, place, "ip", f"-{family}", "-j", "neighbour", "show", "dev", dev, "nud", "permanent")
    ]
    return {item["dst"]: item["lladdr"] for item in found}


def forwarding(lab: Lab, place: str, dev: str) -> dict[str, str]:
    """Tunnel end by MAC address, from permanent entries of the device itself."""
    found = as_json(lab, place, "bridge", "-j", "fdb", "show", "dev", dev)
    assert all(item["state"] == "permanent" and item["flags"] == ["self"] for item in found)
    return {item["mac"]: item["dst"] for item in found}


def rules(lab: Lab, place: str, tool: str, table: str) -> list[str]:
    """The rules of a table, one per line."""
    return [line for line in ended(lab, place, f"{tool}-save", "-t", table).splitlines() if line.startswith("-A ")]


def passed(lab: Lab, place: str, rule: str, tool: str = "iptables") -> int:
    """Packets matched by the rules of the table `filter` whose text matches the expression."""
    listed = ended(lab, place, f"{tool}-save", "-c", "-t", "filter")
    return sum(int(packets) for packets in re.findall(rf"^\[(\d+):\d+\] -A .*{rule}", listed, re.MULTILINE))


def seen_from(lab: Lab, source: str, target: str, address: str) -> str:
    """Connects by TCP to an address of another place, and returns the source address seen there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab.namespaces[target].entered():
        listener = socket.create_server((address, PORT), family=family)
    with listener:
        with lab.namespaces[source].entered():
            client = socket.create_connection((address, PORT), timeout=10)
        with client:
            connection, peer = listener.accept()
            connection.close()
    return str(peer[0])


@contextmanager
def unbroken(lab: Lab, source: str, target: str, count: int = 5000) -> Iterator[None]:
    """Sends a ping every millisecond during the block and asserts that none is lost."""
    address = str(lab.plan[target].reached_at[0])
    ended(lab, source, "ping", "-n", "-c", "1", "-W", "10", address)
    pings = lab.start(source, ["ping", "-n", "-q", "-i", "0.001", "-c", str(count), "-W", "5", address])
    assert pings.stdout
    assert pings.stdout.readline().startswith(b"PING")
    yield
    assert pings.poll() is None, "ping ended before the change did"
    said = pings.communicate(timeout=60)[0].decode()
    assert f"{count} packets transmitted, {count} received" in re.sub(r" errors,.*", "", said), said
