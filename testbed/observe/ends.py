"""The two ends of a packet: places of a lab by name or by address."""

from dataclasses import dataclass
from ipaddress import ip_address

from testbed.observe.causes import owners
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.nearest import unknown
from testbed.spec.types import Address

_MOST_NAMED = 8


class CannotTrace(Exception):
    """No packet can be sent between the two ends; the message says why."""


@dataclass(frozen=True)
class End:
    """A place, and its address if the user named one."""

    space: Space
    address: Address | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Those that packets may be sent from or to."""
        return (self.address,) if self.address else self.space.reached_at

    def __str__(self) -> str:
        return str(self.address or self.space.name)


def end(plan: Plan, text: str) -> End:
    """The place with that name or address. Raises CannotTrace if the lab has none, or several with that address."""
    if plan.has(text):
        return End(plan[text])
    try:
        address = ip_address(text)
    except ValueError:
        raise CannotTrace(unknown("pod or node", text, tuple(space.name for space in plan.spaces))) from None
    reached = [space.name for space in plan.of_kind(Kind.POD, Kind.NODE) if address in space.reached_at]
    found = reached or list(dict.fromkeys(owners(plan, address)))
    if not found:
        raise CannotTrace(f"{text} is not an address of this lab; it has {_some_addresses(plan, address.version)}")
    if len(found) > 1:
        raise CannotTrace(f"{text} is an address of {' and '.join(found)}: name the place")
    return End(plan[found[0]], address)


def _some_addresses(plan: Plan, family: int) -> str:
    """The addresses of pods and nodes, as many as can be read at a glance."""
    pairs = [(at, space.name) for space in plan.of_kind(Kind.POD, Kind.NODE) for at in space.reached_at]
    own = [f"{at} ({name})" for at, name in pairs if at.version == family] or [f"no IPv{family} addresses"]
    return ", ".join(own[:_MOST_NAMED]) + (f" and {len(own) - _MOST_NAMED} more" if len(own) > _MOST_NAMED else "")


def addresses(one: End, other: End, family: int | None) -> tuple[Address, Address]:
    """The source's and the target's address, in a family that both have. Raises CannotTrace."""
    if one.space is other.space:
        raise CannotTrace(f"source and target are both {one.space.name}: a packet to itself crosses no device")
    for wanted in (family,) if family else (4, 6):
        pair = [[at for at in end.addresses if at.version == wanted] for end in (one, other)]
        if all(pair):
            return pair[0][0], pair[1][0]
    missing = next((str(end) for end in (one, other) if not end.addresses), "")
    if missing:
        raise CannotTrace(f"{missing} has no address to send from or to")
    lack = f"do not both have an IPv{family} address" if family else "share no address family"
    raise CannotTrace(f"{one} and {other} {lack}")
