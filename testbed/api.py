"""Labs from Python: `from testbed import Lab`.

    with Lab.up("topologies/two-nodes.yaml", design="vxlan") as lab:
        lab["client"].run(["ping", "-c", "1", "web-2"], check=True)
        assert lab.check().is_good
        print(lab.trace("client", "web-2").outcome)

A lab brought up here ends with the `with` block, or with the process, even if that is killed. Requires root, or the
right to make user namespaces: see `testbed doctor`.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from testbed.designs import CATALOGUE, DESIGNS, design_of, pairs
from testbed.designs.fitting import check_design
from testbed.experiment.needs import need_for_lab
from testbed.kernel.lacking import MachineLacks, PluginNowhere
from testbed.kernel.search_path import add_sbin
from testbed.lab.beginning import begun_with
from testbed.lab.door import Address
from testbed.lab.living import (
    CannotBeBuilt,
    ChangeFailed,
    ChangeRefused,
    CommandRefused,
    LivingLab,
    NameTaken,
    UnknownPlace,
    facts_of,
)
from testbed.lab.mending import mended
from testbed.observe.check import check as check_lab
from testbed.observe.inspect import Difference
from testbed.observe.inspect import inspect as inspect_lab
from testbed.observe.ports import TRACE_PORT
from testbed.observe.served import Expected
from testbed.observe.shots import Protocol
from testbed.observe.trace import Walk
from testbed.observe.trace import trace as trace_packet
from testbed.observe.verdict import Verdict
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.agents import OWN
from testbed.spec.design import JOINED, is_file, is_network
from testbed.spec.load import load_design, load_topology
from testbed.spec.topology import DEFAULT_NAMESPACE
from testbed.spec.types import Address as IPAddress

__all__ = [
    "CannotBeBuilt",
    "ChangeFailed",
    "ChangeRefused",
    "CommandRefused",
    "Difference",
    "Lab",
    "MachineLacks",
    "NameTaken",
    "Place",
    "PluginNowhere",
    "Pod",
    "UnknownPlace",
    "Verdict",
    "Walk",
]


class Place:
    """A pod, a node, the gateway or the fabric's switch of a lab."""

    def __init__(self, lab: "Lab", space: Space) -> None:
        self.lab = lab
        self.name = space.name
        self.kind: Kind = space.kind
        self.node: str = space.home
        """The node of a pod; for all other places, their own name."""
        self.addresses: tuple[IPAddress, ...] = space.reached_at
        """Where other places reach it: one address of each family; empty for the switch."""

    def run(self, command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[Any]":
        """Runs a program in this place and waits for its end; `options` are those of `subprocess.run`.

        Without `stdout` or `capture_output`, output goes where this process prints. Names of pods and nodes resolve.
        """
        timeout, check = options.pop("timeout", None), options.pop("check", False)
        given = options.pop("input", None)
        if options.pop("capture_output", False):
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if given is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(command, **options) as process:
            try:
                out, err = process.communicate(given, timeout=timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(list(command), process.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    def start(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Starts a program in this place, which ends with the lab. `options` are those of `subprocess.Popen`."""
        return self.lab._living.start(self.name, command, **options)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} of lab {self.lab.name}>"


class Pod(Place):
    """A pod of a lab, with what Kubernetes knows of it."""

    def __init__(self, lab: "Lab", name: str, space: Space, data: Mapping[str, Any]) -> None:
        super().__init__(lab, space)
        self.name = name
        """Its name, followed by its namespace unless that is `default`: `web-1.shop`."""
        self.data: Mapping[str, Any] = data
        """The whole object, as the API server shows it."""
        self.namespace: str = data["metadata"]["namespace"]
        """Its Kubernetes namespace."""
        self.labels: Mapping[str, str] = data["metadata"].get("labels", {})
        """Its labels."""
        self.uid: str = data["metadata"]["uid"]
        """Its UID: another pod of the same name has another one."""
        self.node: str = data["spec"].get("nodeName", "")
        """Its node."""
        self.phase: str = data.get("status", {}).get("phase", "Pending")
        """Pending, Running, Succeeded or Failed."""
        self.is_ready: bool = _is_ready(data)
        """Whether its condition Ready is true."""


def _is_ready(data: Mapping[str, Any]) -> bool:
    conditions = data.get("status", {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


class Lab:
    """A lab that is up."""

    def __init__(self, living: LivingLab) -> None:
        self._living = living

    @classmethod
    def up(
        cls,
        topology: str | Path,
        design: str,
        name: str | None = None,
        offload: bool = True,
        manifests: str | Path | Sequence[str | Path] = (),
        host_images: bool = False,
        proxy: str = OWN,
        policies: str = OWN,
    ) -> Self:
        """Brings a lab up, which ends with this process at the latest.

        `topology` is a YAML file; `design` a name, ATTACH+TRANSPORT, a design file, or a CNI network configuration;
        `name` must be unique, and by default contains the PID of this process. `manifests` are files or folders of
        Kubernetes manifests to begin with; with `host_images` containers of the image `host` and of well-known tool
        images run their command from this machine's files. `proxy` is own (that of the design), iptables, nftables or
        none. `policies` is what enforces NetworkPolicies: own (the design's engine, if it has one), nftables, calico,
        kube-router, weave or none.
        Raises SpecError for mistakes in files, or a design that does not fit the topology, KeyError for an unknown
        design, MachineLacks for missing features, programs or rights, PluginNowhere, NameTaken, ChangeRefused and
        CannotBeBuilt.
        """
        add_sbin()
        loaded = load_topology(Path(topology))
        try:
            in_file = is_file(design) or is_network(design)
            wanted = design_of(load_design(Path(design), CATALOGUE) if in_file else design)
        except KeyError:
            raise KeyError(
                f"unknown design {design!r}; valid: {', '.join(DESIGNS)}, or ATTACH+TRANSPORT: {', '.join(pairs())}"
            ) from None
        check_design(wanted, loaded, design)
        need_for_lab(wanted, loaded.value)
        begun = begun_with(loaded, wanted, _paths(manifests), offload=offload, proxy=proxy, policies=policies)
        facts = facts_of(begun.loaded, wanted.spec, host_images or loaded.value.host_images, begun.agents)
        number = 1
        while True:
            chosen = name or f"{loaded.value.name}-{wanted.name.replace(JOINED, '-')}-{os.getpid()}-{number}"
            try:
                living = LivingLab.bring_up(begun.plan, chosen, facts, tied=True, state=begun.state)
            except NameTaken:
                if name:
                    raise
                number += 1
            else:
                if begun.state is not None:
                    living.command("apply")  # Waits for the first containers.
                return cls(living)

    @classmethod
    def find(cls, name: str) -> Self:
        """This user's lab of that name, brought up by `testbed up` or another process."""
        add_sbin()
        found = cls(LivingLab(Address(os.geteuid(), name)))
        _ = found._living.facts
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def down(self) -> None:
        """Ends the lab, and everything that runs in it."""
        self._living.down()

    @property
    def name(self) -> str:
        """Its name, by which verbs of the command line find it."""
        return self._living.name

    @property
    def plan(self) -> Plan:
        """Every kernel object that each namespace must have."""
        return self._living.plan

    def __getitem__(self, place: str) -> Place:
        """The pod, node, `gateway` or `fabric` of that name. Raises UnknownPlace, a LookupError."""
        places = {space.name: space for space in self.plan.spaces}
        if place not in places:
            raise UnknownPlace(place, tuple(places))
        return Place(self, places[place])

    def __iter__(self) -> Iterator[Place]:
        """Pods and nodes."""
        return (Place(self, space) for space in self.plan.of_kind(Kind.NODE, Kind.POD))

    def add_pod(
        self, name: str, node: str, namespace: str = DEFAULT_NAMESPACE, labels: Mapping[str, str] | None = None
    ) -> Place:
        """Adds a pod to a node, attached by the design; returns the pod.

        It gets the next address of its node; other pods keep theirs. This method and the four below raise
        ChangeRefused or MachineLacks if nothing has changed, and ChangeFailed if the change failed halfway.
        """
        self._living.change("pod add", name=name, node=node, namespace=namespace, labels=dict(labels or {}))
        return self[_pod_id(name, namespace)]

    def remove_pod(self, name: str) -> None:
        """Removes a pod by name: `web-1`, or `web-1.shop` in the Kubernetes namespace `shop`."""
        self._living.change("pod remove", name=name)

    def add_node(self, name: str, pods: int | Sequence[str] | None = None, at: str | None = None) -> Place:
        """Adds a node with pods, by name or number; returns the node. `at` is its rack, leaf, site or switch."""
        self._living.change("node add", name=name, pods=pods if isinstance(pods, int | None) else list(pods), at=at)
        return self[name]

    def remove_node(self, name: str) -> None:
        """Removes a node with its pods."""
        self._living.change("node remove", name=name)

    def set_link(self, ends: str, **qualities: str | None) -> None:
        """Sets qualities of a link: `set_link("node1,fabric", rate="100Mbit")`.

        `node1>fabric` is one direction only. Values are as in a topology file; None removes the link's own value.
        """
        self._living.change("link set", ends=ends, **qualities)

    def apply(
        self, *manifests: "str | Path | Mapping[str, Any]", namespace: str = DEFAULT_NAMESPACE
    ) -> tuple[str, ...]:
        """Applies Kubernetes manifests: files, folders, or objects as mappings. Returns what became of each object.

        Returns when pods are attached and containers have started. Raises SpecError for every mistake, with nothing
        changed, and ChangeFailed.
        """
        from testbed.lab.manifests import texts_of

        objects = [one for one in manifests if isinstance(one, Mapping)]
        texts = list(texts_of(Path(one) for one in manifests if not isinstance(one, Mapping)).texts)
        texts += ((f"object {number}.json", json.dumps(one)) for number, one in enumerate(objects, 1))
        return tuple(self._living.command("apply", texts, namespace=namespace)["lines"])

    def delete(self, *words: str, namespace: str = DEFAULT_NAMESPACE, wait_s: float = 60.0, **options: Any) -> None:
        """Deletes Kubernetes objects: `delete("pod", "web-1")`, or `delete("pods", every=True)`.

        Waits until they are gone, at most `wait_s`. `options` are `selector`, `grace` in seconds, `cascade`. Raises
        CommandRefused, with nothing changed, and ChangeFailed.
        """
        self._living.command("delete", await_s=wait_s, words=words, namespace=namespace, **options)

    def scale(self, workload: str, replicas: int, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Sets the number of pods of a workload: `scale("deployment/web", 5)`. Raises like `delete`."""
        self._living.command("scale", words=[workload], replicas=replicas, namespace=namespace)

    def get(
        self, *words: str, namespace: str = DEFAULT_NAMESPACE, all_namespaces: bool = False, selector: str = ""
    ) -> list[dict[str, Any]]:
        """Kubernetes objects, as the API server shows them: `get("pods", selector="app=web")`.

        Raises CommandRefused.
        """
        answer = self._living.objects(
            words, namespace=namespace, all_namespaces=all_namespaces, selector=selector, output="json"
        )
        found = json.loads(answer["text"])
        return list(found["items"]) if found["kind"] == "List" else [found]

    @property
    def pods(self) -> Mapping[str, Pod]:
        """The pods that have a network, by name: `web-1`, or `web-1.shop` in the Kubernetes namespace `shop`."""
        spaces = {space.name: space for space in self.plan.spaces}
        found = {}
        for data in self.get("pods", all_namespaces=True):
            name = _pod_id(data["metadata"]["name"], data["metadata"]["namespace"])
            # A pod with hostNetwork is in the network of its node.
            place = data["spec"].get("nodeName", "") if data["spec"].get("hostNetwork") else name
            if space := spaces.get(place):
                found[name] = Pod(self, name, space, data)
        return found

    def check(self) -> Verdict:
        """Checks every pair of pods and nodes, and every port of a container, and explains failures.

        The verdict prints as `testbed check` does; `assert lab.check().is_good` shows the first cause if it fails.
        """
        plan, topology, design = self.plan, self._living.topology, self._living.design
        ended, expected = self._living.ended(), Expected.of(self._living.reachable())
        return self._living.inside(
            lambda namespaces: check_lab(design, topology, plan, namespaces, ended, expected=expected)
        )

    def inspect(self) -> tuple[Difference, ...]:
        """Differences between the kernel's state and the plan, including processes that have ended."""
        plan, ended = self.plan, self._living.ended()
        return self._living.inside(lambda namespaces: inspect_lab(plan, namespaces, ended))

    def mend(self) -> tuple[Difference, ...]:
        """Fixes all differences from the plan, restarts processes that have ended, and returns what remains."""
        return tuple(mended(self._living, self.inspect(), self.inspect).left)

    def trace(
        self,
        source: str,
        target: str,
        protocol: Protocol = "icmp",
        port: int = TRACE_PORT,
        size: int = 0,
        family: int | None = None,
    ) -> Walk:
        """The path of one packet from a pod or node to another, and of its answer; see `testbed.observe.trace`."""
        plan, ended = self.plan, self._living.ended()
        return self._living.inside(
            lambda namespaces: trace_packet(plan, namespaces, source, target, protocol, port, size, family, ended)
        )


def _pod_id(name: str, namespace: str) -> str:
    return name if namespace == DEFAULT_NAMESPACE else f"{name}.{namespace}"


def _paths(manifests: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(manifests)] if isinstance(manifests, str | Path) else [Path(one) for one in manifests]
