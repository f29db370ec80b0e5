"""Link qualities as a user writes them: rate, delay, loss and others, in each direction."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from testbed.spec.problems import Loc, Misfit
from testbed.spec.types import Delay, Share, Spec, duration_text, rate_of, rate_text, sizes
from testbed.spec.underlay import Link as PlannedLink
from testbed.spec.underlay import Quality

MIN_MTU = {4: 576, 6: 1280}
"""Smallest MTU of a link, by family: RFC 791 requires every host to accept 576 bytes, RFC 8200 requires 1280."""
MAX_MTU = 65535
MIN_RATE = 1_000_000
MAX_RATE = 30_000_000_000
MIN_QUEUE = 70_000
"""Bytes. Holds one segment of the largest size; a link with a smaller queue would drop it."""
QUEUE_MS = 50
"""Time to drain a full queue whose size the topology does not set."""
UNLIMITED = 0
"""The rate of a link without a rate limit."""
MAX_DELAY = timedelta(seconds=10)
_MICROSECOND = timedelta(microseconds=1)


def _link_rate(value: object) -> int:
    if value in ("unlimited", UNLIMITED):
        return UNLIMITED
    rate = rate_of(value)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"must be {rate_text(MIN_RATE)} to {rate_text(MAX_RATE)}, not {rate_text(rate)}")
    return rate


def _link_delay(delay: timedelta) -> timedelta:
    if delay > MAX_DELAY:
        raise ValueError(f"must be at most {duration_text(MAX_DELAY)}, not {duration_text(delay)}")
    return delay


LinkRate = Annotated[
    int,
    PlainValidator(_link_rate),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^([0-9]{1,9}(\.[0-9]{1,9})? ?(kbit|Mbit|Gbit)|unlimited)$",
            "examples": ["100Mbit", "1Gbit"],
        }
    ),
]
"""Bits per second, or `UNLIMITED`."""


class Qualities(Spec):
    """Qualities of a link, in one direction or in both."""

    rate: LinkRate | None = Field(
        default=None,
        description="rate in each direction, such as 1Gbit, or unlimited (default)",
    )
    queue: Annotated[int, *sizes("100KB", "1MiB"), Field(ge=MIN_QUEUE, le=2**30)] | None = Field(
        default=None,
        description="queue size in bytes, for a link with a rate; packets beyond it are dropped; 50 ms at the rate if "
        "absent",
    )
    delay: Annotated[Delay, AfterValidator(_link_delay)] | None = Field(
        default=None, description="one-way delay, such as 20ms or 100us"
    )
    jitter: Annotated[Delay, AfterValidator(_link_delay)] | None = Field(
        default=None, description="variation of the delay, up and down; packets may be reordered"
    )
    loss: Share | None = Field(default=None, description="share of packets lost, such as 0.1%")
    duplicate: Share | None = Field(default=None, description="share of packets duplicated")
    reorder: Share | None = Field(
        default=None, description="share of packets sent without the delay, ahead of earlier ones"
    )


class Defaults(Qualities):
    """Qualities of a fabric: the defaults for links to nodes."""

    offload: bool | None = Field(default=None, description="off: no segments larger than the MTU on links to nodes")


class LinkQualities(Qualities):
    """Qualities of a link, which may differ in the direction back."""

    mtu: int | None = Field(
        default=None,
        ge=MIN_MTU[4],
        le=MAX_MTU,
        description="MTU of the link, in bytes; the fabric's if absent",
    )
    offload: bool | None = Field(
        default=None,
        description="off: no segments larger than the MTU on this link; always off with loss, duplicate or reorder",
    )
    back: Qualities | None = Field(
        default=None, description="different qualities in the direction from the second end to the first"
    )


def _two(value: object) -> tuple[str, ...]:
    ends = tuple(value) if isinstance(value, list | tuple) else ()
    if len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError("must be two names of nodes, switches or routers, such as [node1, rack1]")
    return ends


class _Ends(Spec):
    ends: Annotated[
        tuple[str, ...],
        BeforeValidator(_two),
        WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
    ] = Field(description="the two ends of the link: nodes, switches or routers")


class Link(LinkQualities, _Ends):
    """A link by its ends, with its qualities."""


def planned(
    ends: tuple[str, str],
    link: LinkQualities,
    mtu: int,
    defaults: Defaults | None = None,
) -> PlannedLink:
    """A link with its own qualities, and the fabric's for the others."""
    forth = (own_qualities(defaults) if defaults else {}) | own_qualities(link)
    back = forth | (own_qualities(link.back) if link.back else {})
    offload = defaults.offload if defaults and link.offload is None else link.offload
    return PlannedLink(ends, link.mtu or mtu, _quality(forth), _quality(back), offload is not False)


def changed(link: PlannedLink, override: Link) -> PlannedLink:
    """The link with an override applied; the override's ends may be in either order."""
    there = own_qualities(override)
    ways = [there, there | (own_qualities(override.back) if override.back else {})]
    forth, back = ways if override.ends == link.ends else ways[::-1]
    return replace(
        link,
        mtu=override.mtu or link.mtu,
        forth=replace(link.forth, **_in_units(forth)),
        back=replace(link.back, **_in_units(back)),
        offload=link.offload if override.offload is None else override.offload,
    )


def own_qualities(qualities: Qualities) -> dict[str, Any]:
    """The qualities that are set, for one direction."""
    return {key: value for key in Qualities.model_fields if (value := getattr(qualities, key)) is not None}


def _quality(found: Mapping[str, Any]) -> Quality:
    return Quality(**_in_units(found))


def _in_units(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Quality`."""
    return dict(_IN_UNITS[key](value) for key, value in found.items())


def _as_it_is(field: str) -> Callable[[Any], tuple[str, Any]]:
    return lambda value: (field, value)


_IN_UNITS: Mapping[str, Callable[[Any], tuple[str, Any]]] = {
    "rate": lambda rate: ("rate", rate or None),
    "delay": lambda delay: ("delay_us", delay // _MICROSECOND),
    "jitter": lambda jitter: ("jitter_us", jitter // _MICROSECOND),
    **{field: _as_it_is(field) for field in ("queue", "loss", "duplicate", "reorder")},
}


def link_misfits(at: Loc, link: LinkQualities, whole: PlannedLink) -> Iterator[Misfit]:
    """Qualities of a link that do not fit together; `whole` is the link with its defaults."""
    yield from quality_misfits(at, link, whole.forth)
    if link.back:
        yield from quality_misfits((*at, "back"), link.back, whole.back)


def quality_misfits(at: Loc, written: Qualities, quality: Quality) -> Iterator[Misfit]:
    """`link_misfits` for one direction."""
    if quality.reorder and not quality.delay_us and (written.reorder or written.delay is not None):
        yield Misfit(
            (*at, "reorder" if written.reorder else "delay"),
            "reorder requires a delay; write one, such as 1ms",
        )
    if quality.jitter_us > quality.delay_us and not (written.jitter is None and written.delay is None):
        yield Misfit(
            (*at, "delay" if written.jitter is None else "jitter"),
            f"jitter of {_text(quality.jitter_us)} exceeds the delay of {_text(quality.delay_us)}; write a delay that "
            "is at least as long",
        )


def _text(microseconds: int) -> str:
    return f"{microseconds / 1000:g}ms" if microseconds >= 1000 or not microseconds else f"{microseconds}us"


def usual_queue(rate: int) -> int:
    """Default queue of a link with that rate, in bytes."""
    return max(rate // 8 * QUEUE_MS // 1000, MIN_QUEUE)
