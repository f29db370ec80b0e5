"""Queueing disciplines and filters of tc, except those that a plan describes."""

import socket
import sys
from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import suppress

from testbed.kernel import bpf_calls
from testbed.kernel.dumped import Dumped
from testbed.plan.messages import attributes, number_in, text_in
from testbed.plan.objects import BpfHook, Other
from testbed.plan.objects.queues import QUEUE_DUMPS, QUEUE_HEADER, TCA_KIND, TCA_OPTIONS
from testbed.plan.uapi import RTM_GETTFILTER, TC_H_CLSACT, TC_H_MIN_EGRESS, TC_H_MIN_INGRESS, TC_H_ROOT

_PLANNED_AT_ROOT = ("tbf", "netem")
_CLSACT = TC_H_CLSACT & 0xFFFF0000
_WAYS = {"ingress": _CLSACT | TC_H_MIN_INGRESS, "egress": _CLSACT | TC_H_MIN_EGRESS}
"""Parents of filters of `clsact`, which `ingress` shares."""
_BPF_ID = 11
_TCX = {"ingress": 46, "egress": 47}
"""BPF_TCX_INGRESS and BPF_TCX_EGRESS."""


def others(dumped: Dumped, planned: Collection[BpfHook]) -> Iterator[Other]:
    """Disciplines that somebody added, and filters except those of `planned` programs.

    A discipline that the kernel adds to a new device has no handle. Filters come before their discipline.
    """
    hooks = {(hook.dev, hook.where, hook.program[: bpf_calls.NAME_LENGTH]) for hook in planned}
    classifying = {hook.dev for hook in planned}
    for payload in dumped.answers(*QUEUE_DUMPS):
        _, index, handle, parent, _ = QUEUE_HEADER.unpack_from(payload)
        kind, dev = text_in(attributes(payload, QUEUE_HEADER.size)[TCA_KIND]), dumped.names.get(index, "")
        if not handle or not dev:
            continue
        if kind in ("clsact", "ingress"):
            for way, at in _WAYS.items() if kind == "clsact" else [("ingress", _WAYS["ingress"])]:
                yield from _filters(dumped, index, dev, way, at, hooks)
            if kind == "ingress" or dev not in classifying:
                yield Other(
                    dev, f"qdisc {kind}", f"tc qdisc del dev {dev} {kind}", "", f"tc qdisc add dev {dev} {kind}"
                )
        elif parent == TC_H_ROOT:
            yield from _filters(dumped, index, dev, f"parent {handle >> 16:x}:", handle, hooks)
            if kind not in _PLANNED_AT_ROOT:
                yield Other(dev, f"qdisc {kind}", f"tc qdisc del dev {dev} root")
    yield from _attached_without_tc(dumped)


def _filters(
    dumped: Dumped, index: int, dev: str, where: str, parent: int, hooks: Container[tuple[str, str, str]]
) -> Iterator[Other]:
    seen = set[tuple[int, int, str]]()
    for payload in dumped.answers((RTM_GETTFILTER, QUEUE_HEADER.pack(0, index, 0, parent, 0))):
        info = int.from_bytes(payload[16:20], sys.byteorder)
        found = attributes(payload, QUEUE_HEADER.size)
        # A filter has several messages: for all of a priority, without a handle, and for each of its parts.
        if not int.from_bytes(payload[8:12], sys.byteorder):
            continue
        kind, priority, protocol = text_in(found[TCA_KIND]), info >> 16, socket.ntohs(info & 0xFFFF)
        options = attributes(found[TCA_OPTIONS]) if TCA_OPTIONS in found else {}
        program = _program_in(options) if kind == "bpf" else ""
        if (priority, protocol, kind) in seen or (priority == 1 and (dev, where, program) in hooks):
            continue
        seen.add((priority, protocol, kind))
        name = {0x0003: "all", 0x0800: "ip", 0x86DD: "ipv6", 0x0806: "arp"}.get(protocol, f"{protocol:#06x}")
        yield Other(
            dev,
            f"tc filter {kind}{program and f' {program}'} ({where}, pref {priority}, protocol {name})",
            f"tc filter del dev {dev} {where} protocol {name} pref {priority}",
        )


def _program_in(options: Mapping[int, memoryview]) -> str:
    """The name of the attached program, cut as the kernel cuts it; empty if it cannot be read."""
    if _BPF_ID in options:
        with suppress(OSError):
            return bpf_calls.program_name(number_in(options[_BPF_ID]))
    return ""


def _attached_without_tc(dumped: Dumped) -> Iterator[Other]:
    """eBPF programs that bpf(2) attached to the same places (tcx)."""
    for link in dumped.links:
        for way, kind in _TCX.items():
            with suppress(OSError):
                for number in bpf_calls.programs_at(link.index, kind):
                    name = bpf_calls.program_name(number)
                    undo = f"bpftool net detach tcx_{way} dev {link.name}"
                    yield Other(link.name, f"eBPF program {name} (tcx {way})", undo)
