import os
import subprocess
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.kernel import encode
from testbed.kernel.features import FEATURES, Feature, missing, unavailable
from testbed.kernel.netlink import send
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed


def test_every_design_needs_known_features(shaped: Topology) -> None:
    assert {name for design in DESIGNS.values() for name in design.needs_on(shaped)} <= set(FEATURES)


def test_a_fabric_with_a_rate_needs_token_buckets(shaped: Topology, two_nodes: Topology) -> None:
    vxlan = DESIGNS["vxlan"]
    assert set(vxlan.needs_on(shaped)) - set(vxlan.needs_on(two_nodes)) == {"tbf"}
    assert FEATURES["tbf"].remedy == "needs a kernel with CONFIG_NET_SCH_TBF (modprobe sch_tbf)"


BY_HAND = {
    "veth": "ip link add x0 type veth",
    "bridge": "ip link add x0 type bridge",
    "vxlan": "ip link add x0 type vxlan id 1 dstport 8472",
    "lwtunnel": "ip link add x0 type vxlan external dstport 8472 && ip link set x0 up && "
    "ip route add 192.0.2.0/24 encap ip id 1 dst 127.0.0.1 dev x0",
    "macvlan": "ip link add x1 type veth && ip link add x0 link x1 type macvlan",
    "ipvlan": "ip link add x1 type veth && ip link add x0 link x1 type ipvlan",
    "vlan": "ip link add x1 type veth && ip link add link x1 name x0 type vlan id 5",
    "bridge-vlan": "ip link add x0 type bridge vlan_filtering 1",
    "vrf": "ip link add x0 type vrf table 10",
    "dummy": "ip link add x0 type dummy",
    "ifb": "ip link add x0 type ifb",
    "ipip": "ip link add x0 type ipip local 127.0.0.1 remote any",
    "ip6tnl": "ip link add x0 type ip6tnl local ::1 remote ::2",
    "gre": "ip link add x0 type gre local 127.0.0.1 remote 127.0.0.2",
    "ip6gre": "ip link add x0 type ip6gre local ::1 remote ::2",
    "geneve": "ip link add x0 type geneve id 1 remote 192.0.2.1",
    "wireguard": "ip link add x0 type wireguard",
    "esp": "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 9 mode transport "
    "aead 'rfc4106(gcm(aes))' 0x0000000000000000000000000000000000000000 128",
    "seg6": "ip link set lo up && ip -6 route add 2001:db8::/64 encap seg6 mode encap segs ::1 dev lo",
    "tun": "ip tuntap add x0 mode tun",
    "tbf": "tc qdisc add dev lo root tbf rate 1gbit burst 125000 limit 125000",
    "netem": "tc qdisc add dev lo root netem delay 1ms",
    "masquerade": "iptables -t nat -A POSTROUTING -m mark --mark 1 -m comment --comment x -j MASQUERADE --random-fully",
    "ipset": "ipset create x0 hash:net && iptables -A FORWARD -m set --match-set x0 src -j ACCEPT",
    "bridge-nf": "iptables -A FORWARD -m physdev --physdev-is-bridged -j NFLOG --nflog-group 7",
    "esp-marks": "iptables -A OUTPUT -p esp -m esp --espspi 7 -m policy --dir out --pol ipsec -j ACCEPT",
    "nftables": "nft add table ip x0 && nft add chain ip x0 x0 '{ type nat hook prerouting priority -100; }'",
    "ipvs": "ipvsadm -A -t 192.0.2.1:80 -s rr",
    "openvswitch": "ovs-dpctl add-dp x0",
    "bpf": "tc qdisc add dev lo clsact && tc filter add dev lo ingress bpf bytecode '1,6 0 0 0'",
}
"""An independent test of each feature. The ip of Debian 12 does not support netkit."""


def test_every_feature_except_netkit_has_a_command() -> None:
    assert set(BY_HAND) | {"netkit"} == set(FEATURES)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_feature_is_found_if_its_command_succeeds(name: str) -> None:
    asked = subprocess.run(["sh", "-c", BY_HAND[name]], capture_output=True, check=False)
    assert (not missing((name,))) == (asked.returncode == 0)


def test_working_features_are_cached_and_missing_ones_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tries = []

    def attempt(_: int) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError

    monkeypatch.setitem(FEATURES, "shy", Feature("shy", "CONFIG_SHY", "shy", attempt))
    assert [len(missing(("shy",))) for _ in range(4)] == [1, 0, 0, 0]
    assert len(tries) == 2


def test_a_cache_of_another_user_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert missing(("veth",)) == ()
    (file,) = tmp_path.iterdir()
    file.write_text("impossible\n")
    os.chown(file, 1234, 1234)

    def attempt(_: int) -> None:
        raise OSError

    monkeypatch.setitem(FEATURES, "impossible", Feature("impossible", "CONFIG_IMPOSSIBLE", "impossible", attempt))
    assert len(missing(("impossible",))) == 1


def test_trying_leaves_nothing_behind() -> None:
    def links() -> bytes:
        return subprocess.run(["ip", "-o", "link"], capture_output=True, check=True).stdout

    before = links()
    missing(tuple(FEATURES))
    assert links() == before


def test_a_refused_attempt_is_a_missing_feature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Setting up a missing device fails on every kernel."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    request = encode.link_up(99_999)
    lacking = Feature("impossible", "CONFIG_IMPOSSIBLE", "impossible", lambda _: send([request]))
    monkeypatch.setitem(FEATURES, "impossible", lacking)
    assert missing(("veth", "impossible")) == (lacking,)
    assert unavailable([lacking]) == "not available here: needs CONFIG_IMPOSSIBLE (module impossible)"
    assert lacking.remedy == "needs a kernel with CONFIG_IMPOSSIBLE (modprobe impossible)"
