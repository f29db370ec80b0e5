"""Devices that delay, lose, duplicate or reorder packets (netem)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.plan.messages import CREATE, REPLACE, Request, attribute, attributes
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.queues import NS_PER_TICK, QUEUE_DUMPS, new_queue, no_queue, no_queue_words, options_of

_OPTIONS = struct.Struct("=IIIIII")
"""struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter; the two times follow as attributes."""
_REORDER = struct.Struct("=II")
"""struct tc_netem_reorder: probability, correlation."""
_U64 = struct.Struct("=Q")
_TCA_REORDER, _TCA_LATENCY64, _TCA_JITTER64 = 3, 10, 11
_WHOLE = 0xFFFFFFFF


@dataclass(frozen=True)
class Netem:
    """A netem queueing discipline: delay, loss, duplication and reordering of sent packets."""

    dev: str
    delay_us: int
    jitter_us: int
    loss: float
    """A fraction of packets, as are the others."""
    duplicate: float
    reorder: float
    """Packets that are sent without delay, so that they overtake others."""
    limit: int
    """Packets that may be queued."""


def netem_words(item: Netem, verb: str = "add") -> str:
    """Arguments of `tc` that `add`, `replace` or `del` it."""
    if verb == "del":
        return no_queue_words(item.dev)
    jitter = f" {item.jitter_us}us" if item.jitter_us else ""
    delay = f" delay {item.delay_us}us{jitter}" if item.delay_us or item.jitter_us else ""
    shares = "".join(
        f" {name} {share:.6%}"
        for name, share in (("loss", item.loss), ("duplicate", item.duplicate), ("reorder", item.reorder))
        if share
    )
    return f"qdisc {verb} dev {item.dev} root netem limit {item.limit}{delay}{shares}"


def new_netem(item: Netem, index: int, flags: int = CREATE) -> Request:
    """The request; it has latency and jitter in nanoseconds, and fractions in units of 2**-32."""
    loss, duplicate, reorder = (round(share * _WHOLE) for share in (item.loss, item.duplicate, item.reorder))
    options = _OPTIONS.pack(0, item.limit, loss, 1 if reorder else 0, duplicate, 0)
    options += attribute(_TCA_LATENCY64, _U64.pack(item.delay_us * 1000))
    options += attribute(_TCA_JITTER64, _U64.pack(item.jitter_us * 1000))
    if reorder:
        options += attribute(_TCA_REORDER, _REORDER.pack(reorder, 0))
    verb = "add" if flags == CREATE else "replace"
    return new_queue(index, "netem", options, flags, lambda: f"tc {netem_words(item, verb)}")


def _read(payload: memoryview, names: Mapping[int, str]) -> Netem | None:
    found = options_of(payload, "netem")
    if found is None:
        return None
    index, options = found
    delay, limit, loss, _, duplicate, jitter = _OPTIONS.unpack_from(options)
    further = attributes(options, _OPTIONS.size)
    reorder = _REORDER.unpack_from(further[_TCA_REORDER])[0] if _TCA_REORDER in further else 0
    # Ticks are short enough to restore the microseconds exactly.
    delay_us, jitter_us = (round(ticks * NS_PER_TICK / 1000) for ticks in (delay, jitter))
    lost, doubled, overtaking = (round(share / _WHOLE, 6) for share in (loss, duplicate, reorder))
    return Netem(names[index], delay_us, jitter_us, lost, doubled, overtaking, limit)


def _describe(planned: Netem | None, there: Netem | None) -> str:
    if planned:
        return f"{planned.dev}: {_brief(there) if there else 'no netem'}, expected {_brief(planned)}"
    assert there
    return f"{there.dev}: unexpected {_brief(there)}"


def _brief(item: Netem) -> str:
    return f"`{netem_words(item).partition(' root ')[2]}`"


NETEMS = ObjectKind(
    type=Netem,
    key=lambda item: item.dev,
    devices=lambda item: (item.dev,),
    make=lambda item, index_of: new_netem(item, index_of(item.dev)),
    replace=lambda item, index_of: new_netem(item, index_of(item.dev), REPLACE),
    remove=lambda item, index_of: no_queue(item.dev, index_of(item.dev)),
    words=lambda item, verb: f"tc {netem_words(item, verb)}",
    restored_by="replace",  # The root may have another queueing discipline.
    describe=_describe,
    dumps=QUEUE_DUMPS,
    read=_read,
)
