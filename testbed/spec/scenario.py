"""A scenario: which topology, which designs, which paths, which probes, how many rounds.

name: compare-designs
topology: ../topologies/two-nodes.yaml
designs: [l2, l3-gateway, l3-host-routes, vxlan]
baseline: l3-host-routes
paths:
  cross-node: {from: client, to: web-2}
probes:
  latency:    {tool: sockperf, protocol: tcp, message: 64B, duration: 2s}
  throughput: {tool: iperf3, protocol: tcp, streams: 1, duration: 2s}
rounds: 5
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from testbed.spec.problems import Misfit
from testbed.spec.topology import Topology
from testbed.spec.types import Duration, Name, Size, Spec, duration_text

MAX_DURATION = timedelta(minutes=10)
MIN_DURATION = timedelta(seconds=1)
MAX_ROUNDS = 1000
MAX_SEED = 2**32 - 1


def _probe_duration(duration: timedelta) -> timedelta:
    if not MIN_DURATION <= duration <= MAX_DURATION:
        raise ValueError(
            f"a probe measures for {duration_text(MIN_DURATION)} to {duration_text(MAX_DURATION)}, "
            f"not {duration_text(duration)}"
        )
    if duration % timedelta(seconds=1):
        raise ValueError(
            f"a probe measures for whole seconds, since its program counts so, not {duration_text(duration)}"
        )
    return duration


ProbeDuration = Annotated[
    Duration,
    AfterValidator(_probe_duration),
    Field(
        description="how long it measures, such as 2s",
        json_schema_extra={"default": "2s"},
    ),
]
PROBE_DURATION = timedelta(seconds=2)


class Path(Spec):
    """From which pod or node to which."""

    source: str = Field(alias="from", description="a pod or a node")
    target: str = Field(alias="to", description="a pod or a node")


class SockperfProbe(Spec):
    """Request-response latency: one message at a time, each answered before the next is sent."""

    tool: Literal["sockperf"]
    protocol: Literal["tcp", "udp"] = "tcp"
    message: Annotated[Size, Field(ge=14, le=65000)] = Field(
        default=64, description="size of a message, such as 64B", json_schema_extra={"default": "64B"}
    )
    duration: ProbeDuration = PROBE_DURATION


class Iperf3Probe(Spec):
    """Bulk throughput of TCP streams; each stream is an iperf3 process of its own."""

    tool: Literal["iperf3"]
    protocol: Literal["tcp"] = "tcp"
    streams: int = Field(default=1, ge=1, le=64, description="how many streams run at the same time")
    duration: ProbeDuration = PROBE_DURATION


Probe = Annotated[SockperfProbe | Iperf3Probe, Field(discriminator="tool")]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Scenario(Spec):
    """What a scenario file says. The topology is a path relative to the scenario's own file."""

    name: Name = Field(description="what results and reports call this scenario")
    topology: str = Field(description="the topology's file, relative to this one")
    designs: Annotated[
        tuple[str, ...],
        BeforeValidator(_tuple, json_schema_input_type=Annotated[list[str], Field(min_length=1)]),
    ] = Field(min_length=1, description="the designs to compare; `testbed designs` lists them")
    baseline: str = Field(description="the design that the others are compared with")
    paths: dict[Name, Path] = Field(min_length=1, description="the paths to measure, by name")
    probes: dict[Name, Probe] = Field(min_length=1, description="what to measure on each path, by name")
    rounds: int = Field(
        default=5, ge=1, le=MAX_ROUNDS, description="rounds that count; a warm-up round runs before them"
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="seed of the order of designs; drawn and recorded if absent",
    )

    def misfits(self, topology: Topology | None, known_designs: tuple[str, ...]) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed.

        Endpoints are looked up in the topology, if that could be read.
        """
        for index, design in enumerate(self.designs):
            if design not in known_designs:
                yield Misfit(("designs", index), f"there is no design '{design}'", valid=known_designs)
            elif design in self.designs[:index]:
                yield Misfit(("designs", index), f"the design '{design}' is listed twice; list each once")
        if self.baseline not in self.designs:
            yield Misfit(("baseline",), f"the baseline '{self.baseline}' is not among the designs", valid=self.designs)
        if topology is not None:
            yield from self._endpoint_misfits(topology)

    def _endpoint_misfits(self, topology: Topology) -> Iterator[Misfit]:
        endpoints = (*topology.pod_ids, *topology.nodes)
        known = frozenset(endpoints)
        for name, path in self.paths.items():
            for key, endpoint in (("from", path.source), ("to", path.target)):
                if endpoint not in known:
                    yield Misfit(
                        ("paths", name, key),
                        f"there is no pod or node '{endpoint}' in the topology '{topology.name}'",
                        valid=endpoints,
                    )
            if path.source == path.target:
                yield Misfit(
                    ("paths", name, "to"),
                    f"the path begins and ends at '{path.source}'; name two pods or nodes",
                )
