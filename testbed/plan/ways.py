from testbed.plan.addressing import Layout
from testbed.plan.fabric import UPLINK, switch_port
from testbed.plan.naming import mac_address
from testbed.plan.sightings import Direction, Sighting, Way
from testbed.spec.topology import ROUTER, SWITCH


def ways(
    layout: Layout, source: str, target: str, family: int, by_router: bool = False, node_device: str = UPLINK
) -> tuple[Way, ...]:
    one, gw, other = mac_address(source, node_device), mac_address(ROUTER, UPLINK), mac_address(target, node_device)

    def sw(a: str, b: str, m: str, n: str) -> list[Sighting]:
        return [
            Sighting(SWITCH, switch_port(a), Direction.IN, m, n),
            Sighting(SWITCH, switch_port(b), Direction.OUT, m, n),
        ]

    if not by_router:
        return (tuple(sw(source, target, one, other)),)
    return (
        (
            *sw(source, ROUTER, one, gw),
            Sighting(ROUTER, UPLINK, Direction.IN, one, gw),
            Sighting(ROUTER, UPLINK, Direction.OUT, gw, other),
            *sw(ROUTER, target, gw, other),
        ),
    )
