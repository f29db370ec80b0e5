"""What links do to what they carry, as a user writes it: rate, delay, losses and the like, in either direction."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from testbed.spec.problems import Loc, Misfit
from testbed.spec.types import Delay, Rate, Share, Size, Spec, duration_text, rate_text
from testbed.spec.underlay import Link as PlannedLink
from testbed.spec.underlay import Quality

MIN_MTU = {4: 576, 6: 1280}
"""The smallest MTU that a link may have: RFC 791 wants every host to take 576 bytes, RFC 8200 sets 1280."""
MAX_MTU = 65535
MIN_RATE = 1_000_000
MAX_RATE = 30_000_000_000
MIN_QUEUE = 70_000
"""In bytes: room for one segment of the largest size, without which a link would carry none."""
MAX_DELAY = timedelta(seconds=10)
_MICROSECOND = timedelta(microseconds=1)


def _link_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"a link carries {rate_text(MIN_RATE)} to {rate_text(MAX_RATE)}, not {rate_text(rate)}")
    return rate


def _link_delay(delay: timedelta) -> timedelta:
    if delay > MAX_DELAY:
        raise ValueError(f"a link takes at most {duration_text(MAX_DELAY)}, not {duration_text(delay)}")
    return delay


class Qualities(Spec):
    """What a link does to what it carries, in one direction or in both."""

    rate: Annotated[Rate, AfterValidator(_link_rate)] | None = Field(
        default=None, description="what a link carries in each direction, such as 1Gbit; unlimited if absent"
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
    forth = (_written(defaults) if defaults else {}) | _written(link)
    back = forth | (_written(link.back) if link.back else {})
    offload = defaults.offload if defaults and link.offload is None else link.offload
    return PlannedLink(ends, link.mtu or mtu, _quality(forth), _quality(back), offload is not False)


def _written(qualities: Qualities) -> dict[str, Any]:
    return {key: value for key in Qualities.model_fields if (value := getattr(qualities, key)) is not None}


def _quality(found: Mapping[str, Any]) -> Quality:
    return Quality(
        rate=found.get("rate"),
        queue=found.get("queue"),
        delay_us=found.get("delay", timedelta(0)) // _MICROSECOND,
        jitter_us=found.get("jitter", timedelta(0)) // _MICROSECOND,
        loss=found.get("loss", 0.0),
        duplicate=found.get("duplicate", 0.0),
        reorder=found.get("reorder", 0.0),
    )


def link_misfits(at: Loc, link: LinkQualities, whole: PlannedLink) -> Iterator[Misfit]:
    """What of a link's qualities makes no sense together; `whole` is the link with its defaults."""
    yield from quality_misfits(at, link, whole.forth)
    if link.back:
        yield from quality_misfits((*at, "back"), link.back, whole.back)


def quality_misfits(at: Loc, written: Qualities, quality: Quality) -> Iterator[Misfit]:
    """As `link_misfits`, for one direction."""
    if written.reorder and not quality.delay_us:
        yield Misfit(
            (*at, "reorder"), "only packets that are delayed can be overtaken; give the link a delay, such as 1ms"
        )
    if written.jitter is not None and quality.jitter_us > quality.delay_us:
        yield Misfit(
            (*at, "jitter"),
            f"a delay of {_text(quality.delay_us)} cannot vary by {_text(quality.jitter_us)}; give the link a delay "
            "that is at least as long",
        )


def _text(microseconds: int) -> str:
    return f"{microseconds / 1000:g}ms" if microseconds >= 1000 or not microseconds else f"{microseconds}us"
