"""What links do to what they carry, as a user writes it: rate, delay, losses and the like, in either direction."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from testbed.spec.problems import Loc, Misfit
from testbed.spec.types import Delay, Share, Size, Spec, duration_text, rate_of, rate_text
from testbed.spec.underlay import Link as PlannedLink
from testbed.spec.underlay import Quality

MIN_MTU = {4: 576, 6: 1280}
"""The smallest MTU that a link may have: RFC 791 wants every host to take 576 bytes, RFC 8200 sets 1280."""
MAX_MTU = 65535
MIN_RATE = 1_000_000
MAX_RATE = 30_000_000_000
MIN_QUEUE = 70_000
"""In bytes: room for one segment of the largest size, without which a link would carry none."""
QUEUE_MS = 50
"""How long a full queue takes to empty, where the topology does not say how much waits for a link."""
UNLIMITED = 0
"""The rate of a link that is said to have none."""
MAX_DELAY = timedelta(seconds=10)
_MICROSECOND = timedelta(microseconds=1)


def _link_rate(value: object) -> int:
    if value in ("unlimited", UNLIMITED):
        return UNLIMITED
    rate = rate_of(value)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"a link carries {rate_text(MIN_RATE)} to {rate_text(MAX_RATE)}, not {rate_text(rate)}")
    return rate


def _link_delay(delay: timedelta) -> timedelta:
    if delay > MAX_DELAY:
        raise ValueError(f"a link takes at most {duration_text(MAX_DELAY)}, not {duration_text(delay)}")
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
"""Bits per second; `UNLIMITED`."""


class Qualities(Spec):
    """What a link does to what it carries, in one direction or in both."""

    rate: LinkRate | None = Field(
        default=None,
        description="what a link carries in each direction, such as 1Gbit; unlimited if absent, or if written so",
    )
    queue: Annotated[Size, Field(ge=MIN_QUEUE, le=2**30)] | None = Field(
        default=None,
        description="how many bytes wait for a link that has a rate before packets are dropped; if absent what the "
        "link carries in 50 ms",
    )
    delay: Annotated[Delay, AfterValidator(_link_delay)] | None = Field(
        default=None, description="how long a packet takes over a link, one way, such as 20ms or 100us"
    )
    jitter: Annotated[Delay, AfterValidator(_link_delay)] | None = Field(
        default=None, description="by how much the delay varies, up and down; packets may overtake each other"
    )
    loss: Share | None = Field(default=None, description="how many packets a link loses, such as 0.1%")
    duplicate: Share | None = Field(default=None, description="how many packets come twice")
    reorder: Share | None = Field(
        default=None, description="how many packets are not delayed, and so overtake those before them"
    )


class Defaults(Qualities):
    """Qualities in a fabric: those of each link that a node hangs on, unless the link has others."""

    offload: bool | None = Field(
        default=None, description="off: no segments larger than the MTU on the links that nodes hang on"
    )


class LinkQualities(Qualities):
    """Those of a link, which may be others in the direction back."""

    mtu: int | None = Field(
        default=None,
        ge=MIN_MTU[4],
        le=MAX_MTU,
        description="largest packet of the link, in bytes; the fabric's if absent",
    )
    offload: bool | None = Field(
        default=None,
        description="off: no segments larger than the MTU on this link, as on links that lose, double or reorder",
    )
    back: Qualities | None = Field(
        default=None, description="what is different in the direction from the second end to the first"
    )


def _two(value: object) -> tuple[str, ...]:
    ends = tuple(value) if isinstance(value, list | tuple) else ()
    if len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError("a link has two ends, each the name of a node, switch or router, such as [node1, rack1]")
    return ends


class _Ends(Spec):
    ends: Annotated[
        tuple[str, ...],
        BeforeValidator(_two),
        WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
    ] = Field(description="the two places that it links: nodes, switches, routers")


class Link(LinkQualities, _Ends):
    """A link of a fabric whose parts are named."""


def planned(
    ends: tuple[str, str],
    link: LinkQualities,
    mtu: int,
    defaults: Defaults | None = None,
) -> PlannedLink:
    """A link with all that it has of its own, and what it lacks from the fabric."""
    forth = (own_qualities(defaults) if defaults else {}) | own_qualities(link)
    back = forth | (own_qualities(link.back) if link.back else {})
    offload = defaults.offload if defaults and link.offload is None else link.offload
    return PlannedLink(ends, link.mtu or mtu, _quality(forth), _quality(back), offload is not False)


def changed(link: PlannedLink, override: Link) -> PlannedLink:
    """The link with all that an override says of it, whose ends may be written the other way round."""
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
    """What is written of it, for one direction."""
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
    """What of a link's qualities makes no sense together; `whole` is the link with its defaults."""
    yield from quality_misfits(at, link, whole.forth)
    if link.back:
        yield from quality_misfits((*at, "back"), link.back, whole.back)


def quality_misfits(at: Loc, written: Qualities, quality: Quality) -> Iterator[Misfit]:
    """As `link_misfits`, for one direction."""
    if quality.reorder and not quality.delay_us and (written.reorder or written.delay is not None):
        yield Misfit(
            (*at, "reorder" if written.reorder else "delay"),
            "only packets that are delayed can be overtaken; give the link a delay, such as 1ms",
        )
    if quality.jitter_us > quality.delay_us and not (written.jitter is None and written.delay is None):
        yield Misfit(
            (*at, "delay" if written.jitter is None else "jitter"),
            f"a delay of {_text(quality.delay_us)} cannot vary by {_text(quality.jitter_us)}; give the link a delay "
            "that is at least as long",
        )


def _text(microseconds: int) -> str:
    return f"{microseconds / 1000:g}ms" if microseconds >= 1000 or not microseconds else f"{microseconds}us"


def usual_queue(rate: int) -> int:
    """How many bytes wait for a link of that rate where nobody says."""
    return max(rate // 8 * QUEUE_MS // 1000, MIN_QUEUE)
