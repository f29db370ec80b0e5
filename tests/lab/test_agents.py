"""Service proxies and policy engines on a living lab: they follow Services, pods and policies."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import Lab
from testbed.policies import ENGINES as KNOWN_ENGINES
from testbed.services.planned import PROXIES as KNOWN_PROXIES
from testbed.spec.agents import ENGINES, OWN, PROXIES
from tests.lab.test_cluster import SHOP, TWO_NODES, asked, deployment, eventually, web


def test_the_names_are_those_of_the_rooms() -> None:
    assert set(PROXIES) == {OWN, *KNOWN_PROXIES}
    assert {*ENGINES, "none"} == set(KNOWN_ENGINES)


def service(name: str = "web", port: int = 8080, **spec: Any) -> dict[str, Any]:
    ports = [{"port": port, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def cluster_ip(lab: Lab, name: str = "web") -> str:
    return str(lab.get("service", name)[0]["spec"]["clusterIP"])


BROKEN = {
    "iptables": ["iptables", "-t", "nat", "-F", "KUBE-SERVICES"],
    "nftables": ["nft", "delete", "table", "ip", "kube-proxy"],
}


@pytest.mark.root
@pytest.mark.parametrize("proxy", ["iptables", "nftables"])
def test_services_follow_their_pods(proxy: str) -> None:
    with Lab.up(TWO_NODES, design="flannel-vxlan", proxy=proxy) as lab:
        lab.apply(deployment("web", 2), service(type="NodePort"))
        address = cluster_ip(lab)
        names = {pod.name for pod in web(lab)}
        assert {asked(lab, source, address) for source in ("client", "node2") for _ in range(12)} == names
        node_port = lab.get("service", "web")[0]["spec"]["ports"][0]["nodePort"]
        assert asked(lab, "gateway", lab["node1"].addresses[0], node_port) in names
        assert lab.check().is_good
        lab["node1"].run(BROKEN[proxy], check=True)
        assert f"8080/TCP of Service default/web ({address}): expected open, found no answer" in str(lab.check())
        assert lab.mend() == ()
        lab.delete("pods", every=True, selector="app=web")
        assert len(web(lab)) == 2
        assert eventually(lambda: asked(lab, "client", address) in {pod.name for pod in web(lab)})
        lab.scale("deployment/web", 0)
        refused = lab["client"].run(["curl", "-s", "-m", "2", f"http://{address}:8080/"])
        assert refused.returncode == 7  # Refused at once.
        assert lab.inspect() == ()
        lab.delete("service/web")
        assert lab.inspect() == ()


@pytest.mark.root
def test_without_a_proxy_services_lead_nowhere() -> None:
    with Lab.up(TWO_NODES, design="vxlan", proxy="none") as lab:
        lab.apply(deployment("web", 1), service())
        assert asked(lab, "client", cluster_ip(lab)) == ""


@pytest.fixture(scope="module", params=["flannel-vxlan nftables", "calico-vxlan own", "kube-router own"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Lab]:
    design, policies = request.param.split()
    with Lab.up(TWO_NODES, design=design, policies=policies, manifests=SHOP) as lab:
        yield lab


def reached(lab: Lab, source: str) -> bool:
    """Whether a place reaches the database, which only the web frontend may."""
    return asked(lab, source, lab.pods["db-0"].addresses[0], 5432) == "db-0"


@pytest.mark.root
def test_policies_follow_pods_labels_and_policies(guarded: Lab) -> None:
    lab = guarded
    frontend = web(lab)[0].name
    assert (reached(lab, frontend), reached(lab, "client")) == (True, False)
    lab.delete("pod", "db-0")
    assert eventually(lambda: "db-0" in lab.pods and lab.pods["db-0"].is_ready)
    assert (reached(lab, frontend), reached(lab, "client")) == (True, False)
    label = [sys.executable, "-m", "testbed", "label", "--lab", lab.name, "pod", "web-2"]
    subprocess.run([*label, "app=web", "tier=frontend"], check=True, capture_output=True, timeout=60)
    assert reached(lab, "web-2")
    subprocess.run([*label, "app-", "tier-"], check=True, capture_output=True, timeout=60)
    assert not reached(lab, "web-2")
    verdict = lab.check()
    assert verdict.is_good, verdict
    assert lab.inspect() == ()
    lab.delete("networkpolicy/db")
    assert reached(lab, "client")
    lab.apply(SHOP)
    assert not reached(lab, "client")


@pytest.mark.root
def test_check_notices_a_policy_that_is_not_enforced() -> None:
    with Lab.up(TWO_NODES, design="vxlan", policies="nftables", manifests=SHOP) as lab:
        assert lab.check().is_good
        tables = lab["node1"].run(["nft", "list", "tables"], stdout=subprocess.PIPE).stdout.decode()
        own = next(line for line in tables.splitlines() if "policies" in line)
        lab["node1"].run(["nft", "delete", *own.split()], check=True)
        found = str(lab.check())
        assert "5432/TCP of default/db-1 (db): expected closed, found open" in found
        assert lab.mend() == ()
        assert lab.check().is_good


def test_an_engine_of_another_design_is_refused() -> None:
    command = [sys.executable, "-m", "testbed", "up", str(TWO_NODES), "--design", "vxlan", "--policies", "calico"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the policy engine calico extends rules that the design vxlan does not have" in done.stderr


def test_paths_are_relative(tmp_path: Path) -> None:
    """Manifests that a topology names are relative to its file."""
    (tmp_path / "shop.yaml").write_text(SHOP.read_text())
    topology = tmp_path / "two.yaml"
    topology.write_text(TWO_NODES.read_text() + "manifests: shop.yaml\n")
    command = [sys.executable, "-m", "testbed", "validate", str(topology)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    topology.write_text(TWO_NODES.read_text() + "manifests: sop.yaml\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "'sop.yaml' not found" in done.stderr) == (2, True)
