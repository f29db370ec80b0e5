"""The picture of a walk: every sighting in its place's column, in order, and the outcome."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from testbed.observe.frames import Packet
from testbed.observe.picture import ROW, svg
from testbed.observe.trace import Hop, Walk
from testbed.plan.sightings import Tunnel

SVG = "{http://www.w3.org/2000/svg}"
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
TUNNEL = Tunnel("VXLAN 1", "192.168.56.1", "192.168.56.2", 8472, ("02:00:00:00:00:03", "02:00:00:00:00:04"))


def hop(time: float, place: str, device: str, *tunnels: Tunnel, changes: tuple[str, ...] = (), error: str = "") -> Hop:
    packet = Packet(MACS, tunnels, "10.244.0.2", "10.244.1.2", "icmp", None, 64, 84, error)
    return Hop(time, place, device, "out", packet, changes)


def walk(forth: tuple[Hop, ...], back: tuple[Hop, ...], outcome: str = "answered", reason: str = "") -> Walk:
    addresses = ("10.244.0.2", "10.244.1.2")
    return Walk("client", "web-2", "icmp", addresses, forth, back, outcome, reason)  # type: ignore[arg-type]


def texts(picture: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture).iter(f"{SVG}text"))


def test_it_shows_place_time_and_tunnels() -> None:
    forth = (
        hop(0, "client", "eth0"),
        hop(7.5, "node1", "flannel.1", changes=("TTL 64 > 63",)),
        hop(9, "node1", "eth0", TUNNEL),
    )
    picture = svg(walk(forth, (hop(20, "client", "eth0"),)), "vxlan")
    shown = [text.text for text in texts(picture)]
    assert shown.count("→ eth0") == 3
    for wanted in (
        *("7.5 µs", "TTL 64 > 63", "…00:01 → …00:02", "…00:03 → …00:04"),
        "IP 192.168.56.1 → 192.168.56.2 UDP 8472, VXLAN 1",
        "answered after 20.0 µs; 3 sightings there, 1 back",
    ):
        assert wanted in shown
    places = {text.text: text.get("x") for text in texts(picture) if text.get("font-weight") == "bold"}
    devices = [text for text in texts(picture) if text.text and text.text.startswith("→ ")]
    assert [device.get("x") for device in devices] == [
        places[place] for place in ("client", "node1", "node1", "client")
    ]
    heights = [int(str(device.get("y"))) for device in devices]
    assert heights == sorted(heights)
    assert min(b - a for a, b in pairwise(heights)) == ROW


def test_a_lost_packet_has_a_cross_and_its_reason() -> None:
    picture = svg(walk((hop(0, "client", "eth0"),), (), "lost", "client: no route for the packet"), "l2")
    assert len(list(ElementTree.fromstring(picture).iter(f"{SVG}path"))) == 1
    summary = "lost, last seen at eth0 of client; client: no route for the packet"
    assert summary in [text.text for text in texts(picture)]


def test_a_packet_that_was_never_seen_is_drawn_too() -> None:
    assert "lost, never left client; x" in [text.text for text in texts(svg(walk((), (), "lost", "x"), "l2"))]


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_breaks_the_picture(device: str, reason: str) -> None:
    legible = [text for text in (device, reason) if text.isprintable()]
    assert svg(walk((hop(0, "client", device),), (), "lost", reason), "l2").startswith("<svg")
    if len(legible) == 2:
        ElementTree.fromstring(svg(walk((hop(0, "client", device),), (), "lost", reason), "l2"))
