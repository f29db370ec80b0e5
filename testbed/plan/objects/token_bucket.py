"""Devices with a rate limit (tbf)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.plan.messages import CREATE, REPLACE, Request, attribute, attributes
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.queues import NS_PER_TICK, QUEUE_DUMPS, new_queue, no_queue, no_queue_words, options_of

_PARAMETERS = struct.Struct("=xBHhHI12xIII")
"""struct tc_tbf_qopt: rate (link layer, overhead, alignment, minimum packet size, bytes per second); peak rate, unused;
limit, buffer, mtu."""
_TCA_TBF_PARMS = 1
_LINKLAYER_ETHERNET = 1


@dataclass(frozen=True)
class TokenBucket:
    """A token bucket filter (tbf): packets beyond the burst are queued, and beyond the limit dropped."""

    dev: str
    rate: int
    """Bits per second, Ethernet headers included."""
    burst: int
    """Bytes that may be sent at once after a pause."""
    limit: int
    """Bytes that may be queued."""


def token_bucket_words(item: TokenBucket, verb: str = "add") -> str:
    """Arguments of `tc` that `add`, `replace` or `del` it."""
    if verb == "del":
        return no_queue_words(item.dev)
    return f"qdisc {verb} dev {item.dev} root tbf rate {item.rate}bit burst {item.burst} limit {item.limit}"


def new_token_bucket(item: TokenBucket, index: int, flags: int = CREATE) -> Request:
    """Request for a rate limit of the device with that index."""
    per_second = item.rate // 8
    buffer = -(-item.burst * 1_000_000_000 // per_second // NS_PER_TICK)
    # Without a link layer the kernel requires a rate table.
    parameters = _PARAMETERS.pack(_LINKLAYER_ETHERNET, 0, 0, 0, per_second, item.limit, buffer, 0)
    verb = "add" if flags == CREATE else "replace"
    options = attribute(_TCA_TBF_PARMS, parameters)
    return new_queue(index, "tbf", options, flags, lambda: f"tc {token_bucket_words(item, verb)}")


def _read(payload: memoryview, names: Mapping[int, str]) -> TokenBucket | None:
    found = options_of(payload, "tbf")
    if found is None:
        return None
    index, options = found
    parameters = attributes(options)[_TCA_TBF_PARMS]
    _, _, _, _, per_second, limit, buffer, _ = _PARAMETERS.unpack_from(parameters)
    return TokenBucket(names[index], per_second * 8, buffer * NS_PER_TICK * per_second // 1_000_000_000, limit)


def _describe(planned: TokenBucket | None, there: TokenBucket | None) -> str:
    if planned:
        found = f"{there.rate} bit/s" if there else "none"
        return f"{planned.dev}: rate limit {found}, expected {planned.rate} bit/s"
    assert there
    return f"{there.dev}: unexpected rate limit {there.rate} bit/s"


TOKEN_BUCKETS = ObjectKind(
    type=TokenBucket,
    key=lambda item: item.dev,
    devices=lambda item: (item.dev,),
    make=lambda item, index_of: new_token_bucket(item, index_of(item.dev)),
    replace=lambda item, index_of: new_token_bucket(item, index_of(item.dev), REPLACE),
    remove=lambda item, index_of: no_queue(item.dev, index_of(item.dev)),
    words=lambda item, verb: f"tc {token_bucket_words(item, verb)}",
    restored_by="replace",  # The root may have another queueing discipline.
    describe=_describe,
    dumps=QUEUE_DUMPS,
    read=_read,
)
