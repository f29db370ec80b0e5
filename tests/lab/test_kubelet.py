"""Containers of pods in a lab: programs of the machine, stand-ins, their probes and their end."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.designs import DESIGNS
from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.deleting import terminated
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.state import ClusterState, Owner, Pod
from testbed.lab.kubelet import Kubelet, PodStatus, UnknownContainer, container
from testbed.lab.kubelet.log import LOG_BYTES, Log
from testbed.lab.lab import Lab
from testbed.spec.topology import Topology
from tests.kubernetes.clusters import Object, cluster, nodes
from tests.kubernetes.clusters import pod as written

PATIENCE_S = 20.0
NODES = {"client": "node1", "web-1": "node1", "web-2": "node2"}
"""The pods of the topology two-nodes, whose places the pods of a test take."""


def program(script: str, name: str = "web", **fields: Any) -> Object:
    return {"name": name, "image": "host", "command": ["sh", "-c", script], **fields}


def server(*ports: int, name: str = "web", image: str = "nginx", **fields: Any) -> Object:
    return {"name": name, "image": image, "ports": [{"containerPort": port} for port in ports], **fields}


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    return written(name, containers=list(containers), nodeName=NODES.get(name, "node1"), **spec)


class Running:
    """A lab with a kubelet, and the state that it follows."""

    def __init__(self, lab: Lab, kubelet: Kubelet, state: ClusterState) -> None:
        self.lab, self.kubelet, self.state = lab, kubelet, state
        kubelet.follow(state)

    def pod(self, name: str) -> Pod:
        return next(one for one in self.state.pods if one.name == name)

    def status(self, name: str) -> PodStatus:
        return self.kubelet.statuses().get(self.pod(name).uid, PodStatus())

    def container(self, name: str, number: int = 0) -> ContainerStatus:
        known = self.status(name).containers
        return known[number] if known else ContainerStatus(name="")

    def until(self, holds: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        end = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < end, {one.name: self.status(one.name) for one in self.state.pods}
            time.sleep(0.02)

    def until_ready(self, *names: str) -> None:
        self.until(lambda: all(self.status(name).ready for name in names))

    def put(self, *pods: Pod) -> None:
        self.state = self.state.changed(pods)
        self.kubelet.follow(self.state)

    def delete(self, name: str, grace: int | None = None) -> None:
        self.put(terminated(self.pod(name), time.time(), grace))

    def output(self, name: str, container_name: str = "web", previous: bool = False) -> str:
        log = self.kubelet.log(self.pod(name), container_name, previous)
        return log.read()[0].decode() if log else ""

    def curl(self, place: str, url: str) -> str:
        return self.lab.run(place, ["curl", "-s", "-m", "2", url]).stdout


@contextmanager
def running(topology: Topology, *objects: Object, host_images: bool = True) -> Iterator[Running]:
    with Lab(DESIGNS["l2"].plan(topology)) as lab:
        kubelet = Kubelet(lab.places, host_images, lambda: None)
        try:
            yield Running(lab, kubelet, cluster(*objects, machines=nodes(2)))
        finally:
            kubelet.down()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses between restarts."""
    monkeypatch.setattr(container, "FIRST_BACK_OFF_S", 0.2)
    monkeypatch.setattr(container, "CONFIG_RETRY_S", 0.2)


def test_back_off_doubles_up_to_five_minutes() -> None:
    pauses = [container.back_off(number) for number in range(1, 10)]
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_log_keeps_the_last_lines() -> None:
    log = Log()
    lines = [f"line {number}\n".encode() for number in range(LOG_BYTES // 5)]
    for line in lines:
        log.write(line)
    data, end = log.read()
    assert len(data) <= LOG_BYTES
    assert end == sum(map(len, lines))
    assert data.splitlines(keepends=True) == lines[-len(data.splitlines()) :]
    assert log.read(end - len(lines[-1])) == (lines[-1], end)


@pytest.mark.sealed
def test_a_program_sees_the_pods_network_names_and_variables(two_nodes: Topology) -> None:
    script = "hostname; pwd; echo $IP $(IP); cat /etc/hosts /etc/resolv.conf; getent hosts web-2; sleep 1000"
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    own = program(script, env=env, workingDir="/tmp")
    alias = [{"ip": "10.9.9.9", "hostnames": ["far"]}]
    with running(two_nodes, pod("web-1", own, hostname="db", subdomain="shop", hostAliases=alias)) as lab:
        lab.until(lambda: "10.244.1.2 " in lab.output("web-1").partition("options")[2])
        address = str(lab.lab.plan["web-1"].reached_at[0])
        said = lab.output("web-1").splitlines()
        assert said[:3] == ["db", "/tmp", f"{address} {address}"]
        assert f"{address}\tdb.shop.default.svc.cluster.local\tdb" in said
        assert "10.9.9.9\tfar" in said
        assert "search default.svc.cluster.local svc.cluster.local cluster.local" in said
        begin = time.monotonic()
        assert lab.lab.run("web-1", ["getent", "hosts", "www.example.org"]).returncode == 2
        assert time.monotonic() - begin < 2
        assert lab.status("web-1").ready


@pytest.mark.sealed
def test_without_host_images_nothing_of_the_machine_runs(two_nodes: Topology) -> None:
    mark = Path("/run/testbed/ran")
    touching = f"touch {mark}; sleep 1000"
    probe = {"exec": {"command": ["sh", "-c", touching]}, "periodSeconds": 1}
    hooks = {"postStart": probe | {"periodSeconds": None}, "preStop": {"exec": {"command": ["sh", "-c", touching]}}}
    del hooks["postStart"]["periodSeconds"]
    whole = program(touching, image="busybox", readinessProbe=probe, livenessProbe=probe, lifecycle=hooks)
    first = program(touching, name="first", image="busybox")
    with running(two_nodes, pod("web-1", whole, initContainers=[first]), host_images=False) as lab:
        lab.until_ready("web-1")
        lab.delete("web-1")
        lab.until(lambda: lab.status("web-1").ended)
        assert not mark.exists()
        assert lab.kubelet.log(lab.pod("web-1"), "web") is None


@pytest.mark.sealed
def test_containers_of_a_pod_share_its_network_and_a_port_can_be_had_once(two_nodes: Topology, impatient: None) -> None:
    containers = (server(80), server(8080, name="side"), server(80, name="late"))
    with running(two_nodes, pod("web-2", *containers)) as lab:
        lab.until(lambda: lab.container("web-2", 2).reason == "CrashLoopBackOff")
        status = lab.status("web-2")
        assert [one.ready for one in status.containers] == [True, True, False]
        last = status.containers[2].last
        assert last is not None
        assert (last.reason, last.exit_code) == ("Error", 1)
        assert "port 80/TCP: address already in use" in last.message
        assert (status.phase, status.ready) == ("Running", False)
        address = lab.lab.plan["web-2"].reached_at[0]
        for port, name in ((80, "web"), (8080, "side")):
            assert f"container: {name}\n" in lab.curl("client", f"http://{address}:{port}/")
            assert f"container: {name}\n" in lab.curl("web-2", f"http://localhost:{port}/")


@pytest.mark.sealed
@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")],
)
def test_a_pod_ends_as_its_restart_policy_says(two_nodes: Topology, policy: str, code: int, phase: str) -> None:
    with running(two_nodes, pod("web-1", program(f"exit {code}"), restartPolicy=policy)) as lab:
        lab.until(lambda: lab.status("web-1").phase == phase)
        one = lab.container("web-1")
        assert (one.state, one.exit_code, one.restart_count) == ("terminated", code, 0)
        assert one.reason == ("Error" if code else "Completed")


@pytest.mark.sealed
def test_a_failing_program_is_restarted_with_a_pause(two_nodes: Topology, impatient: None) -> None:
    with running(two_nodes, pod("web-1", program("echo run; exit 3"))) as lab:
        lab.until(lambda: lab.container("web-1").reason == "CrashLoopBackOff")
        one = lab.container("web-1")
        assert one.last is not None
        assert (one.state, one.last.exit_code, one.last.state) == ("waiting", 3, "terminated")
        assert one.message.startswith("back-off 0.2s restarting failed container=web pod=web-1_default(")
        lab.until(lambda: lab.container("web-1").restart_count >= 3)
        assert lab.output("web-1", previous=True) == "run\n"
        assert lab.status("web-1").phase == "Running"


@pytest.mark.sealed
def test_programs_that_cannot_start_say_why(two_nodes: Topology, impatient: None) -> None:
    missing = {"name": "web", "image": "host", "command": ["no-such-program"]}
    unset = program("true", envFrom=[{"configMapRef": {"name": "gone"}}])
    with running(
        two_nodes, pod("web-1", missing, restartPolicy="Never"), pod("web-2", unset, restartPolicy="Never")
    ) as lab:
        lab.until(lambda: lab.status("web-1").phase == "Failed")
        one = lab.container("web-1")
        assert (one.reason, one.exit_code) == ("StartError", 128)
        assert "no-such-program" in one.message
        lab.until(lambda: lab.container("web-2").reason == "CreateContainerConfigError")
        assert lab.container("web-2").message == 'configmap "gone" not found'
        config = cluster({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gone"}}).of("ConfigMap")
        lab.state = lab.state.changed(config.values())
        lab.kubelet.follow(lab.state)
        lab.until(lambda: lab.status("web-2").phase == "Succeeded")


@pytest.mark.sealed
def test_init_containers_run_in_order_and_sidecars_stay(two_nodes: Topology) -> None:
    inits = [
        program("sleep 0.3; echo 1 >> /run/order", name="one"),
        program("echo side >> /run/order; sleep 1000", name="side", restartPolicy="Always"),
        program("echo 2 >> /run/order", name="two"),
    ]
    last = program("cat /run/order; sleep 0.5")
    with running(two_nodes, pod("web-1", last, initContainers=inits, restartPolicy="Never")) as lab:
        lab.until(lambda: lab.container("web-1").state == "running")
        assert lab.container("web-1", 3).reason == "PodInitializing"
        assert lab.status("web-1").phase == "Pending"
        lab.until(lambda: lab.status("web-1").phase == "Running")
        lab.until(lambda: lab.status("web-1").phase == "Succeeded")
        assert lab.output("web-1").splitlines()[0] == "1"
        assert set(lab.output("web-1").splitlines()) == {"1", "side", "2"}
        lab.until(lambda: lab.container("web-1", 1).state == "terminated")
        assert [one.is_init for one in lab.status("web-1").containers] == [True, True, True, False]


@pytest.mark.sealed
def test_a_failed_init_container_fails_the_pod(two_nodes: Topology) -> None:
    one = pod("web-1", server(80), initContainers=[program("exit 1", name="init")], restartPolicy="Never")
    with running(two_nodes, one) as lab:
        lab.until(lambda: lab.status("web-1").phase == "Failed")
        assert lab.container("web-1", 1).state == "waiting"
        assert lab.curl("web-1", "http://localhost/") == ""


@pytest.mark.sealed
def test_a_readiness_probe_is_asked_from_the_node(two_nodes: Topology) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1}
    port = [{"containerPort": 8080, "name": "http"}]
    served = server(name="web") | {"ports": port, "readinessProbe": probe}
    script = "while test ! -e /run/ok; do sleep 0.1; done; sleep 1000"
    by_exec = program(script, readinessProbe={"exec": {"command": ["test", "-e", "/run/ok"]}, "periodSeconds": 1})
    by_tcp = server(readinessProbe={"tcpSocket": {"port": 81}, "periodSeconds": 1}, image="agnhost", args=["netexec"])
    with running(two_nodes, pod("web-2", served), pod("web-1", by_exec), pod("client", by_tcp)) as lab:
        lab.until_ready("web-2")
        lab.kubelet.set_ready(lab.pod("web-2").uid, False)
        lab.until(lambda: not lab.status("web-2").ready)
        assert lab.status("web-2").phase == "Running"
        lab.kubelet.set_ready(lab.pod("web-2").uid, True)
        lab.until_ready("web-2")
        assert lab.container("web-1").started
        assert not lab.container("web-1").ready
        lab.lab.run("web-1", ["touch", "/run/ok"])
        lab.until_ready("web-1")
        assert not lab.status("client").ready
        client = lab.lab.run("web-2", ["curl", "-s", "localhost:8080/clientip"]).stdout
        assert client.startswith("127.0.0.1:")


@pytest.mark.sealed
def test_a_stand_in_serves_the_ports_of_its_probes(two_nodes: Topology) -> None:
    secure = {"httpGet": {"path": "/live", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1}
    own = server(readinessProbe=secure, livenessProbe={"grpc": {"port": 9090}, "periodSeconds": 1})
    with running(two_nodes, pod("web-1", own)) as lab:
        lab.until_ready("web-1")
        assert "port" not in lab.container("web-1").message
        assert "container: web\n" in lab.curl("web-1", "http://localhost:8443/live")


@pytest.mark.sealed
def test_a_host_name_that_is_too_long_keeps_the_pod_pending(two_nodes: Topology) -> None:
    long = {"hostname": "w" * 40, "subdomain": "shop", "setHostnameAsFQDN": True}
    with running(two_nodes, pod("web-1", server(80), **long)) as lab:
        lab.until(lambda: lab.container("web-1").reason == "CreateContainerConfigError")
        message = lab.container("web-1").message
        assert message.startswith("host name " + "w" * 40 + ".shop.default.svc.cluster.local has 71 characters")
        assert lab.status("web-1").phase == "Pending"
        assert lab.lab.run("web-1", ["hostname"]).stdout == "w" * 40 + "\n"


@pytest.mark.sealed
def test_gates_keep_a_pod_from_being_ready(two_nodes: Topology) -> None:
    gates = [{"conditionType": "example.org/on"}]
    with running(two_nodes, pod("web-1", server(80), readinessGates=gates)) as lab:
        lab.until(lambda: lab.container("web-1").ready)
        assert not lab.status("web-1").ready
        lab.put(replace(lab.pod("web-1"), gates=frozenset(["example.org/on"])))
        lab.until_ready("web-1")


@pytest.mark.sealed
def test_a_failing_liveness_probe_restarts_the_container(two_nodes: Topology) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/run/bad"]}, "periodSeconds": 1, "failureThreshold": 2}
    one = program("rm -f /run/bad; echo run; sleep 1000", livenessProbe=probe)
    with running(two_nodes, pod("web-1", one, terminationGracePeriodSeconds=1)) as lab:
        lab.until(lambda: "run" in lab.output("web-1"))
        lab.lab.run("web-1", ["touch", "/run/bad"])
        lab.until(lambda: lab.container("web-1").restart_count == 1 and lab.container("web-1").state == "running")
        last = lab.container("web-1").last
        assert last is not None
        assert last.exit_code == 128 + signal.SIGTERM
        assert last.message.startswith("Liveness probe failed: command failed with exit code 1")


@pytest.mark.sealed
def test_other_probes_wait_for_the_startup_probe(two_nodes: Topology) -> None:
    startup = {"exec": {"command": ["test", "-e", "/run/up"]}, "periodSeconds": 1, "failureThreshold": 60}
    liveness = {"exec": {"command": ["test", "-e", "/run/up"]}, "periodSeconds": 1, "failureThreshold": 1}
    one = program("sleep 1000", startupProbe=startup, livenessProbe=liveness)
    with running(two_nodes, pod("web-1", one)) as lab:
        lab.until(lambda: lab.container("web-1").state == "running")
        time.sleep(1.5)
        assert (lab.container("web-1").started, lab.container("web-1").restart_count) == (False, 0)
        lab.lab.run("web-1", ["touch", "/run/up"])
        lab.until_ready("web-1")


@pytest.mark.sealed
def test_a_terminating_pod_serves_until_its_hook_is_done(two_nodes: Topology) -> None:
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}
    with running(two_nodes, pod("web-2", server(80, **hook))) as lab:
        lab.until_ready("web-2")
        address = lab.lab.plan["web-2"].reached_at[0]
        begin = time.monotonic()
        lab.delete("web-2")
        time.sleep(0.5)
        assert not lab.status("web-2").ended
        assert "pod: web-2\n" in lab.curl("client", f"http://{address}/")
        lab.until(lambda: lab.status("web-2").ended)
        assert 2 <= time.monotonic() - begin < 4
        assert lab.curl("client", f"http://{address}/") == ""
        lab.state = lab.state.changed(gone=lab.state.pods)
        lab.kubelet.follow(lab.state)
        lab.until(lambda: not lab.kubelet.statuses())


@pytest.mark.sealed
@pytest.mark.parametrize(
    ("script", "grace", "code", "least_s", "most_s"),
    [
        ("trap 'sleep 0.5; exit 7' TERM; while :; do sleep 0.1; done", 20, 7, 0.5, 5),
        ("trap '' TERM; while :; do sleep 0.1; done", 1, 137, 1, 3),
        ("trap '' TERM; while :; do sleep 0.1; done", 0, 137, 0, 1),
        ("sleep 1000 & wait", 20, 143, 0, 1),
    ],
)
def test_a_program_gets_its_grace_period(
    two_nodes: Topology, script: str, grace: int, code: int, least_s: float, most_s: float
) -> None:
    with running(two_nodes, pod("web-1", program(script), terminationGracePeriodSeconds=grace)) as lab:
        lab.until_ready("web-1")
        time.sleep(0.3)  # Until its trap is set.
        begin = time.monotonic()
        lab.delete("web-1")
        lab.until(lambda: lab.status("web-1").ended)
        assert least_s <= time.monotonic() - begin < most_s
        assert lab.container("web-1").exit_code == code
        assert processes(script) == []


@pytest.mark.sealed
def test_a_second_deletion_shortens_the_grace_period(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-1", program("trap '' TERM; while :; do sleep 0.1; done"))) as lab:
        lab.until_ready("web-1")
        begin = time.monotonic()
        lab.delete("web-1")
        lab.delete("web-1", grace=1)
        lab.until(lambda: lab.status("web-1").ended)
        assert time.monotonic() - begin < 4


@pytest.mark.sealed
def test_much_output_ends_with_the_program(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-1", program("seq 100000; echo last"), restartPolicy="Never")) as lab:
        lab.until(lambda: lab.status("web-1").phase == "Succeeded")
        lines = lab.output("web-1").splitlines()
        assert lines[-1] == "last"
        assert lines[:-1] == [str(number) for number in range(int(lines[0]), 100001)]


def processes(text: str) -> list[str]:
    """The command lines that contain a text, and programs named sleep."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        if (text in line or line.startswith("sleep 1000")) and folder.name != str(os.getpid()):
            found.append(line)
    return found


@pytest.mark.sealed
def test_a_pod_that_is_gone_from_the_state_is_ended_at_once(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-1", program("trap '' TERM; sleep 1000")), pod("web-2", server(80))) as lab:
        lab.until_ready("web-1", "web-2")
        lab.state = lab.state.changed(gone=lab.state.pods)
        lab.kubelet.follow(lab.state)
        lab.until(lambda: not processes("trap '' TERM; sleep 1000") and not lab.kubelet.statuses())
        lab.until(lambda: lab.curl("web-2", "http://localhost/") == "")


@pytest.mark.sealed
def test_a_pod_is_active_no_longer_than_its_deadline(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-1", program("sleep 1000"), activeDeadlineSeconds=1)) as lab:
        lab.until(lambda: lab.status("web-1").phase == "Failed")
        assert lab.status("web-1").reason == "DeadlineExceeded"
        lab.until(lambda: lab.container("web-1").state == "terminated")


@pytest.mark.sealed
def test_an_evicted_pod_stays_failed(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-1", server(80))) as lab:
        lab.until_ready("web-1")
        lab.put(replace(lab.pod("web-1"), phase="Failed", failure="Evicted", message="no memory"))
        lab.until(lambda: lab.status("web-1").ended)
        status = lab.status("web-1")
        assert (status.phase, status.reason, status.message) == ("Failed", "Evicted", "no memory")


@pytest.mark.sealed
def test_a_pod_that_lost_its_place_is_ended(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-1", program("sleep 1000")), pod("web-2", program("sleep 1000"))) as lab:
        lab.until_ready("web-1", "web-2")
        for name in ("web-1", "web-2"):
            lab.lab.places.remove(name)
        lab.put(replace(lab.pod("web-1"), phase="Failed", failure="Evicted"))
        lab.delete("web-2")
        lab.until(lambda: lab.status("web-1").ended and lab.status("web-2").ended)
        assert processes("sleep 1000") == []


@pytest.mark.sealed
def test_a_host_network_pod_has_the_network_of_its_node(two_nodes: Topology) -> None:
    name = program("hostname; ip -br link show eth0; sleep 1000", name="tool")
    probe = {"readinessProbe": {"httpGet": {"path": "/", "port": 9100}, "periodSeconds": 1}}
    with running(two_nodes, pod("agent", server(9100, **probe), name, hostNetwork=True)) as lab:
        lab.until_ready("agent")
        lab.until(lambda: "eth0" in lab.output("agent", "tool"))
        assert lab.output("agent", "tool").startswith("node1\n")
        address = lab.lab.plan["node1"].reached_at[0]
        assert "pod: agent\n" in lab.curl("node2", f"http://{address}:9100/")


@pytest.mark.sealed
def test_a_stand_in_of_a_job_completes_at_once(two_nodes: Topology) -> None:
    one = pod("web-1", {"name": "web", "image": "perl"}, restartPolicy="Never")
    with running(two_nodes, pod("web-2", {"name": "web", "image": "perl"}, restartPolicy="Never")) as lab:
        job = Owner(BY_NAME["Job"], "sums", "uid-of-job")
        made = cluster(one, machines=nodes(2)).pods[0]
        lab.put(replace(made, metadata=replace(made.metadata, owner=job)))
        lab.until(lambda: lab.status("web-1").phase == "Succeeded")
        lab.until_ready("web-2")


@pytest.mark.sealed
def test_another_image_restarts_its_container_alone(two_nodes: Topology) -> None:
    with running(two_nodes, pod("web-2", server(80, image="nginx:1"), server(81, name="side"))) as lab:
        lab.until_ready("web-2")
        changed = cluster(pod("web-2", server(80, image="nginx:2"), server(81, name="side")), machines=nodes(2)).pods[0]
        lab.put(replace(lab.pod("web-2"), typed=changed.typed))
        lab.until(lambda: lab.container("web-2").restart_count == 1 and lab.status("web-2").ready)
        assert lab.container("web-2").image == "nginx:2"
        assert lab.container("web-2", 1).restart_count == 0
        address = lab.lab.plan["web-2"].reached_at[0]
        assert "image: nginx:2\n" in lab.curl("client", f"http://{address}/")


@pytest.mark.sealed
def test_hooks_after_the_start(two_nodes: Topology, impatient: None) -> None:
    good = program("sleep 1000", lifecycle={"postStart": {"exec": {"command": ["touch", "/run/started"]}}})
    bad = program("sleep 1000", lifecycle={"postStart": {"httpGet": {"path": "/", "port": 81}}})
    with running(two_nodes, pod("web-1", good), pod("web-2", bad)) as lab:
        lab.until_ready("web-1")
        assert lab.lab.run("web-1", ["ls", "/run/started"]).returncode == 0
        lab.until(lambda: lab.container("web-2").reason == "CrashLoopBackOff")
        last = lab.container("web-2").last
        assert last is not None
        assert last.message.startswith("PostStartHook failed: http://")


@pytest.mark.sealed
def test_variables_of_a_container_by_name(two_nodes: Topology) -> None:
    own = server(80, env=[{"name": "X", "value": "1"}])
    with running(two_nodes, pod("web-1", own, server(81, name="side", env=[{"name": "X", "value": "2"}]))) as lab:
        one = lab.pod("web-1")
        assert lab.kubelet.variables(one)["X"] == "1"
        assert lab.kubelet.variables(one, "side")["X"] == "2"
        with pytest.raises(UnknownContainer) as raised:
            lab.kubelet.variables(one, "sid")
        assert raised.value.containers == ("web", "side")


@pytest.mark.sealed
def test_following_an_unchanged_state_looks_at_no_pod(two_nodes: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(two_nodes, pod("web-1", server(80))) as lab:
        lab.until_ready("web-1")
        before = lab.kubelet.statuses()
        monkeypatch.setattr(lab.kubelet, "_loop", None)  # Its thread goes on; nothing can be handed to it.
        lab.kubelet.follow(lab.state)
        lab.kubelet.follow(lab.state.at(5.0))
        monkeypatch.undo()
        after = lab.kubelet.statuses()
        assert all(after[uid] is status for uid, status in before.items())
