"""Kubernetes manifests on a living lab: pods come, go and are replaced, and everything follows."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import Lab
from testbed.api import Pod
from testbed.lab.living import ChangeFailed, ChangeRefused, CommandRefused
from testbed.spec.problems import SpecError

pytestmark = pytest.mark.root

ROOT = Path(__file__).parent.parent.parent
TWO_NODES = ROOT / "topologies/two-nodes.yaml"
SHOP = ROOT / "examples/manifests/shop.yaml"
PATIENCE_S = 30


def eventually(true: Any, patience_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


def web(lab: Lab, app: str = "web") -> list[Pod]:
    """The pods of an app that do not terminate."""
    return [
        pod
        for pod in lab.pods.values()
        if pod.labels.get("app") == app and "deletionTimestamp" not in pod.data["metadata"]
    ]


def asked(lab: Lab, source: str, address: object, port: int = 8080, path: str = "hostname") -> str:
    """What an HTTP server answers; empty if it does not."""
    url = f"http://[{address}]:{port}/{path}" if ":" in str(address) else f"http://{address}:{port}/{path}"
    done = lab[source].run(["curl", "-s", "-m", "2", url], stdout=subprocess.PIPE)
    return str(done.stdout.decode())


def deployment(name: str = "web", replicas: int = 2, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": "nginx", "ports": [{"containerPort": 8080}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **spec}},
        },
    }


@contextmanager
def pinging(lab: Lab, source: str, target: str) -> Iterator[None]:
    """A ping every 10 ms, which must lose nothing."""
    command = ["ping", "-i", "0.01", "-w", "600", "-q", target]
    with lab[source].start(command, stdout=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.send_signal(2)
            said = process.communicate(timeout=10)[0].decode()
    assert " 0% packet loss" in said, said


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab that begins with the shop's manifests."""
    with Lab.up(TWO_NODES, design="l3-host-routes", manifests=SHOP) as found:
        yield found


def test_a_lab_begins_with_manifests(lab: Lab) -> None:
    pods = web(lab)
    assert len(pods) == 3
    assert {pod.node for pod in pods} == {"node1", "node2"}
    assert eventually(lambda: all(pod.is_ready for pod in web(lab)))
    for pod in pods:
        assert asked(lab, "client", pod.addresses[0]) == pod.name
        assert pod.data["status"]["podIP"] == str(pod.addresses[0])
    verdict = lab.check()
    assert verdict.is_good, verdict
    assert lab.inspect() == ()


def test_a_deleted_pod_is_replaced_by_one_with_another_name_and_address(lab: Lab) -> None:
    before = web(lab)
    with pinging(lab, "client", "web-2"):
        lab.delete("pod", before[0].name)
    after = web(lab)
    assert len(after) == 3
    assert before[0].name not in lab.pods
    fresh = next(pod for pod in after if pod.name not in {one.name for one in before})
    assert fresh.addresses != before[0].addresses
    assert asked(lab, "client", before[0].addresses[0]) == ""
    assert asked(lab, "client", fresh.addresses[0]) == fresh.name


def test_a_pod_of_a_stateful_set_keeps_its_name_and_gets_another_address(lab: Lab) -> None:
    before = lab.pods["db-0"]
    lab.delete("pod", "db-0")
    assert eventually(lambda: "db-0" in lab.pods and lab.pods["db-0"].is_ready)
    after = lab.pods["db-0"]
    assert after.uid != before.uid
    assert after.addresses != before.addresses
    assert asked(lab, "client", after.addresses[0], 5432) == "db-0"


def test_replicas_follow_their_number(lab: Lab) -> None:
    lab.apply(deployment("many", 1))
    lab.scale("deployment/many", 4)
    assert len(web(lab, "many")) == 4
    lab.scale("deployment/many", 0)
    assert web(lab, "many") == []
    lab.delete("deployment/many")
    with pytest.raises(CommandRefused, match='"many" not found'):
        lab.scale("deployment/many", 1)


def test_an_update_replaces_all_pods_and_never_has_too_few(lab: Lab) -> None:
    lab.apply(deployment("rolled", 4))
    before = {pod.name for pod in web(lab, "rolled")}
    assert len(before) == 4
    assert lab.apply(deployment("rolled", 4, terminationGracePeriodSeconds=1)) == ("deployment.apps/rolled configured",)
    assert eventually(lambda: len(web(lab, "rolled")) == 4 and not before & {pod.name for pod in web(lab, "rolled")})
    lab.delete("deployment/rolled")


def test_what_is_unchanged_changes_nothing(lab: Lab) -> None:
    plan, uids = lab.plan, {name: pod.uid for name, pod in lab.pods.items()}
    # Without neighbours, which probes of pods confirm at any time.
    command = ["timeout", "1", "ip", "monitor", "link", "address", "route"]
    # A bridge reports its ports for some time after they were added.
    assert eventually(lambda: lab["node1"].run(command, stdout=subprocess.PIPE).stdout == b"")
    with lab["node1"].start(command, stdout=subprocess.PIPE) as process:
        assert all(line.endswith(" unchanged") for line in lab.apply(SHOP))
        assert process.communicate(timeout=10)[0] == b""
    assert lab.plan is plan
    assert {name: pod.uid for name, pod in lab.pods.items()} == uids


def test_a_manifest_with_a_mistake_changes_nothing(lab: Lab) -> None:
    plan = lab.plan
    wrong = deployment("wrong")
    wrong["spec"]["replicas"] = -1
    with pytest.raises(SpecError) as refused:
        lab.apply(deployment("right"), wrong)
    assert "replicas" in refused.value.problems[0].where
    with pytest.raises(CommandRefused):
        lab.delete("pods")
    assert lab.plan is plan
    assert web(lab, "right") == []


def test_two_containers_of_a_pod_share_its_ports(lab: Lab) -> None:
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "two"}}
    port = [{"containerPort": 81}]
    containers = [{"name": name, "image": "nginx", "ports": port} for name in ("first", "second")]
    lab.apply({**pod, "spec": {"containers": containers}})
    states = {one["name"]: one for one in lab.get("pod", "two")[0]["status"]["containerStatuses"]}
    assert "running" in states["first"]["state"]
    assert eventually(lambda: "81/TCP" in str(lab.get("pod", "two")[0]["status"]["containerStatuses"]))
    assert lab.check().is_good
    lab.delete("pod", "two", grace=0)


def test_pods_without_an_address_wait_until_one_is_free(tmp_path: Path) -> None:
    topology = tmp_path / "small.yaml"
    text = TWO_NODES.read_text().replace("10.244.0.0/16", "10.244.0.0/24").replace("node_prefix: 24", "node_prefix: 29")
    topology.write_text(text)  # Addresses for five pods on each node.
    manifest = tmp_path / "web.yaml"
    manifest.write_text(yaml.safe_dump(deployment("web", 9)))
    with Lab.up(topology, design="l3-host-routes", manifests=manifest) as lab:
        without = [one for one in lab.get("pods") if one["status"]["phase"] == "Pending"]
        assert len(without) == 2
        assert all("addresses for 5 pods" in one["status"]["message"] for one in without)
        assert lab.check().is_good
        lab.delete("pods", selector="app=web")
        assert eventually(lambda: len([pod for pod in web(lab) if pod.is_ready]) == 7)
        lab.scale("deployment/web", 7)
        assert eventually(lambda: [pod.is_ready for pod in web(lab)] == [True] * 7)
        assert lab.inspect() == ()


def test_a_pod_that_a_plugin_cannot_attach_is_tried_again(tmp_path: Path) -> None:
    design, add, delete = _faulty_plugin(tmp_path)
    with Lab.up(TWO_NODES, design=str(design)) as lab:
        add.touch()
        lab.apply(deployment("web", 2))
        assert {one["status"]["phase"] for one in lab.get("pods", selector="app=web")} == {"Pending"}
        assert all("no more room" in one["status"]["message"] for one in lab.get("pods", selector="app=web"))
        assert lab.inspect() == ()
        assert lab.check().is_good
        add.unlink()
        assert eventually(lambda: [pod.is_ready for pod in web(lab)] == [True, True])
        assert lab.inspect() == ()
        delete.touch()
        with pytest.raises(ChangeFailed, match="cannot delete"):
            lab.delete("pods", selector="app=web")
        delete.unlink()
        assert len(web(lab)) == 2
        assert lab.check().is_good
        assert lab.inspect() == ()


def _faulty_plugin(folder: Path) -> tuple[Path, Path, Path]:
    """A design with the plugin of the examples, and two files: if one exists, ADD or DEL fails."""
    shutil.copytree(ROOT / "examples/cni", folder / "cni")
    design = folder / "my-plugin.yaml"
    shutil.copy(ROOT / "examples/my-plugin.yaml", design)
    plugin = folder / "cni/bin/veth"
    add, delete = folder / "add", folder / "delete"
    text = plugin.read_text()
    text = text.replace("ADD)", f'ADD) [ -e {add} ] && fail "no more room"')
    plugin.write_text(text.replace("DEL)", f'DEL) [ -e {delete} ] && fail "cannot delete";'))
    return design, add, delete


def test_nodes_come_and_go_with_their_pods() -> None:
    with Lab.up(TWO_NODES, design="flannel-vxlan", manifests=SHOP) as lab:
        lab.add_node("node3")
        assert eventually(lambda: {pod.node for pod in web(lab, "agent")} == {"node1", "node2", "node3"})
        lab.remove_node("node2")
        assert {name for name, pod in lab.pods.items() if pod.node == "node2"} == set()
        assert eventually(lambda: len(web(lab)) == 3 and all(pod.is_ready for pod in web(lab)))
        assert [one["metadata"]["name"] for one in lab.get("nodes")] == ["node1", "node3"]
        assert lab.check().is_good
        assert lab.inspect() == ()
        with pytest.raises(ChangeRefused):
            lab.remove_node("node2")


def test_a_node_is_drained() -> None:
    with Lab.up(ROOT / "topologies/three-nodes.yaml", design="vxlan", manifests=SHOP) as lab:
        drain = [sys.executable, "-m", "testbed", "node", "drain", "--lab", lab.name, "node2", "--ignore-daemonsets"]
        refused = subprocess.run(drain, capture_output=True, text=True, timeout=60)
        assert (refused.returncode, "default/web-2" in refused.stderr) == (1, True)
        done = subprocess.run([*drain, "--force"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "node/node2 drained"), done.stderr
        left = [pod for pod in lab.pods.values() if pod.node == "node2"]
        assert {pod.labels.get("app") for pod in left} == {"agent"}
        assert eventually(lambda: len(web(lab)) == 3)


def test_a_node_that_is_cut_off_loses_its_pods(tmp_path: Path) -> None:
    topology = tmp_path / "three.yaml"
    text = (ROOT / "topologies/three-nodes.yaml").read_text()
    topology.write_text(text.replace("cluster:\n", "cluster:\n  node_grace: 2s\n"))
    toleration = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    with Lab.up(topology, design="vxlan") as lab:
        lab.apply(deployment("web", 3, tolerations=[{**toleration, "tolerationSeconds": 1}]))
        assert {pod.node for pod in web(lab)} == {"node1", "node2", "node3"}
        lab["node3"].run(["ip", "link", "set", "eth0", "down"], check=True)
        assert eventually(lambda: _status(lab, "node3") == "Unknown")
        assert eventually(lambda: len(web(lab)) == 3 and {pod.node for pod in web(lab)} == {"node1", "node2"})
        # Its kubelet has not heard of the deletion.
        assert any("deletionTimestamp" in pod.data["metadata"] for pod in lab.pods.values() if pod.node == "node3")
        lab["node3"].run(["ip", "link", "set", "eth0", "up"], check=True)
        assert eventually(lambda: _status(lab, "node3") == "True")
        assert eventually(lambda: not any(pod.node == "node3" and pod.labels for pod in lab.pods.values()))
        assert {_status(lab, node) for node in ("node1", "node2")} == {"True"}


def _status(lab: Lab, node: str) -> str:
    """Status of a node's condition Ready."""
    conditions = lab.get("node", node)[0]["status"]["conditions"]
    return str(next(one["status"] for one in conditions if one["type"] == "Ready"))


DESIGNS = ("l3-host-routes", "flannel-vxlan", "calico-bgp", "cilium-native", "weave-sleeve", "examples/my-plugin.yaml")


@pytest.mark.parametrize("design", DESIGNS)
def test_pods_are_replaced_at_random_under_load(design: str) -> None:
    random.seed(design)
    where = str(ROOT / design) if design.endswith(".yaml") else design
    with Lab.up(TWO_NODES, design=where, manifests=SHOP) as lab:
        assert eventually(lambda: all(pod.is_ready for pod in lab.pods.values() if pod.phase == "Running"))
        with pinging(lab, "client", "web-2"):
            for number in range(10):
                _replace(lab, number)
        assert eventually(lambda: len(web(lab)) == 3 and all(pod.is_ready for pod in web(lab)))
        verdict = lab.check()
        assert verdict.is_good, verdict
        assert lab.inspect() == ()


def _replace(lab: Lab, number: int) -> None:
    """Replaces pods, each time in another way: delete, scale, an update."""
    match number % 5:
        case 3:
            lab.scale("deployment/web", 5 - number // 5 * 2)
        case 4:
            edited = next(one for one in yaml.safe_load_all(SHOP.read_text()) if one["kind"] == "Deployment")
            edited["spec"]["template"]["metadata"]["annotations"] = {"number": str(number)}
            lab.apply(edited)
        case _:
            owned = [pod for pod in lab.pods.values() if "ownerReferences" in pod.data["metadata"]]
            lab.delete("pod", random.choice(owned).name)


def test_an_application_of_others_runs() -> None:
    """A web application with a database, in a namespace, as in many manifests."""
    text = (ROOT / "examples/manifests/shop.yaml").read_text()
    objects = [one for one in yaml.safe_load_all(text) if one]
    with Lab.up(TWO_NODES, design="vxlan") as lab:
        lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        lab.apply(*objects, namespace="shop")
        pods = [pod for name, pod in lab.pods.items() if name.endswith(".shop") and pod.labels.get("app") == "web"]
        assert len(pods) == 3
        assert asked(lab, "client", pods[0].addresses[0]) == pods[0].data["metadata"]["name"]
        lab.delete("namespace/shop")
        assert not [name for name in lab.pods if name.endswith(".shop")]
        assert lab.inspect() == ()
