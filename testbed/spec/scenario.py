"""A scenario: topology, designs, paths, probes and rounds.

name: compare-designs
topology: ../topologies/two-nodes.yaml
designs: [l2, l3-gateway, l3-host-routes, vxlan]
baseline: l3-host-routes
paths:
  cross-node: {from: client, to: web-2}
probes:
  latency:    {tool: sockperf, protocol: tcp, message: 64B, duration: 2s}
  throughput: {tool: iperf3, protocol: tcp, streams: 1, duration: 2s}
rounds: 5                         # or auto, with a budget

A design is given by name, in full with its parameters, or as a file: see testbed.spec.design.

Further keys: aa, headline, budget, settle, rebuild_every, pin, offload, sweep, unfit.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from testbed.spec.design import (
    Catalogue,
    Choice,
    CniSpec,
    DesignChoice,
    DesignSpec,
    ReadCni,
    is_file,
    is_network,
    name_of,
)
from testbed.spec.limits import MAX_SEED
from testbed.spec.metrics import Directed
from testbed.spec.probes import Probe, SockperfProbe
from testbed.spec.problems import Misfit
from testbed.spec.topology import Topology
from testbed.spec.types import Duration, Name, Share, Spec, duration_text

MAX_ROUNDS = 1000
AUTO: Literal["auto"] = "auto"
AA = "aa"
"""Name in results of the baseline's second measurement in each round."""
LIMITS = "limits"
"""Name in results of the probes' own limits, measured over loopback."""
HEADLINE: tuple[Directed, ...] = ("rtt_p50", "throughput", "connections")
"""The metrics that a scenario is about unless it says otherwise."""
MIN_BUDGET = timedelta(seconds=10)
MAX_BUDGET = timedelta(hours=24)
MAX_CELLS = 1000
MAX_CPU = 4095


class Path(Spec):
    """The two ends of a path."""

    source: str = Field(alias="from", description="a pod or node")
    target: str = Field(alias="to", description="a pod or node")


def _rounds(value: object) -> int | Literal["auto"]:
    if value == AUTO:
        return AUTO
    if type(value) is int and 1 <= value <= MAX_ROUNDS:
        return value
    raise ValueError(f"must be a whole number from 1 to {MAX_ROUNDS}, or auto")


Rounds = Annotated[
    int | Literal["auto"],
    PlainValidator(_rounds),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_ROUNDS}, {"const": AUTO}]}),
]


def _budget(budget: timedelta) -> timedelta:
    if not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise ValueError(
            f"must be {duration_text(MIN_BUDGET)} to {duration_text(MAX_BUDGET)}, not {duration_text(budget)}"
        )
    return budget


def _cpus(value: object) -> str:
    """CPU numbers and ranges, in the format of taskset."""
    text = str(value) if type(value) is int else value
    parts = text.split(",") if isinstance(text, str) else [""]
    for part in parts:
        low, dash, high = part.partition("-")
        numbers = [low, high] if dash else [low]
        if not all(number.isascii() and number.isdigit() and int(number[:9]) <= MAX_CPU for number in numbers):
            raise ValueError("must be CPU numbers and ranges, such as 0 or '0,2-3'")
        if dash and int(low) > int(high):
            raise ValueError(f"range {part} ends before it starts")
    return ",".join(parts)


Cpus = Annotated[
    str, PlainValidator(_cpus), WithJsonSchema({"type": ["string", "integer"], "examples": ["1", "0,2-3"]})
]


class Pin(Spec):
    """CPUs of the two ends of a probe."""

    source: Cpus = Field(description="CPUs of the programs at the source, such as 1 or '0,2-3'")
    target: Cpus = Field(description="CPUs of the programs at the target")
    steering: Cpus | None = Field(
        default=None,
        description="CPUs that process packets received by a device (receive packet steering); "
        "the sending CPU if absent",
    )


def _pin(value: object) -> object:
    """YAML reads an unquoted `off` as false."""
    return "off" if value is False else value


def _word_or_mapping(value: object) -> str:
    return "mapping" if isinstance(value, dict | Pin) else "word"


PinChoice = Annotated[
    Annotated[Literal["auto", "off"], Tag("word")] | Annotated[Pin, Tag("mapping")],
    Discriminator(_word_or_mapping),
    BeforeValidator(_pin),
]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Sweep = Annotated[
    tuple[Any, ...],
    BeforeValidator(_tuple, json_schema_input_type=Annotated[list[Any], Field(min_length=1)]),
    Field(min_length=1),
]


def _is_unread(choice: Choice) -> bool:
    """Whether it is a file that could not be read, so that the design's name is unknown."""
    return is_file(choice) or is_network(choice) or (isinstance(choice, CniSpec) and not isinstance(choice, ReadCni))


class Scenario(Spec):
    """A scenario file. The topology is a path relative to the scenario file."""

    name: Name = Field(description="name of this scenario in results and reports")
    topology: str = Field(description="file of the topology, relative to this one")
    designs: Annotated[
        tuple[DesignChoice, ...],
        BeforeValidator(
            _tuple, json_schema_input_type=Annotated[list[str | DesignSpec | CniSpec], Field(min_length=1)]
        ),
    ] = Field(
        min_length=1,
        description="the designs to compare: names (`testbed designs` lists them), ATTACH+TRANSPORT, mappings (attach, "
        "transport, ...), design files (.yaml), or CNI network configurations (.conflist)",
    )
    baseline: str = Field(description="the design to compare the others with")
    paths: dict[Name, Path] = Field(min_length=1, description="the paths to measure, by name")
    probes: dict[Name, Probe] = Field(min_length=1, description="what to measure on each path, by name")
    aa: bool = Field(
        default=True,
        description="whether to measure the baseline twice in each round (A/A), to show the machine's own noise",
    )
    headline: Annotated[
        tuple[Directed, ...],
        BeforeValidator(_tuple, json_schema_input_type=Annotated[list[Directed], Field(min_length=1)]),
    ] = Field(
        default=HEADLINE,
        min_length=1,
        description="the metrics that the scenario is about: the probability of one or more false verdicts on them is "
        "at most 5%; of the verdicts on all others at most 5% are false on average",
    )
    rounds: Rounds = Field(
        default=5,
        description="number of measured rounds, or auto (until every verdict is resolved or the budget is spent); "
        "a warm-up round runs first",
    )
    budget: Annotated[Duration, AfterValidator(_budget)] = Field(
        default=timedelta(minutes=15),
        description="with rounds: auto, the time after which no new round starts",
        json_schema_extra={"default": "15min"},
    )
    settle: Share = Field(
        default=0.01,
        description="with rounds: auto, a verdict that is not resolved counts as settled once an effect of this size "
        "would be detected",
        json_schema_extra={"default": "1%"},
    )
    rebuild_every: int = Field(
        default=1,
        ge=1,
        le=MAX_ROUNDS,
        description="number of rounds after which labs are rebuilt; with 1, the intervals include differences between "
        "builds",
    )
    pin: PinChoice = Field(
        default="auto",
        description="CPUs of the probes' ends: auto (latency: one shared CPU; throughput: half of the CPUs each), off, "
        "or a mapping",
    )
    offload: bool = Field(
        default=True,
        description="whether devices carry segments larger than their MTU (TSO, GSO, GRO), the kernel's default",
    )
    sweep: dict[str, Sweep] = Field(
        default_factory=dict,
        description="lists of values, by the dotted path of the key that they replace, such as `topology.fabric.mtu`, "
        "`probes.latency.message` or `offload`; every combination is measured",
    )
    unfit: Literal["refuse", "leave-out"] = Field(
        default="refuse",
        description="action if a design does not fit one of a sweep's topologies: refuse the scenario, or leave the "
        "design out there and report why",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="seed for the order of designs; chosen at random and recorded if absent",
    )

    @property
    def design_names(self) -> tuple[str, ...]:
        """Names of the designs in results."""
        return tuple(map(name_of, self.designs))

    def misfits(self, topology: Topology | None, catalogue: Catalogue) -> Iterator[Misfit]:
        """Values that do not fit together. Endpoints are looked up in the topology, if it could be read."""
        yield from self._design_misfits(catalogue)
        for name, probe in self.probes.items():
            for misfit in probe.misfits():
                yield replace(misfit, loc=("probes", name, *misfit.loc))
        if topology is not None:
            yield from self._endpoint_misfits(topology)
            yield from self._family_misfits(topology)

    def _design_misfits(self, catalogue: Catalogue) -> Iterator[Misfit]:
        names = self.design_names
        for index, (choice, name) in enumerate(zip(self.designs, names, strict=True)):
            if isinstance(choice, str) and _is_unread(choice):
                continue  # Reported when it was read.
            misfits = list(catalogue.misfits(choice))
            for misfit in misfits:
                yield replace(misfit, loc=("designs", index, *misfit.loc))
            if not misfits and name in names[:index]:
                yield Misfit(("designs", index), f"the design '{name}' is listed twice; list it once")
            if name in (AA, LIMITS):
                yield Misfit(("designs", index, "name"), f"the name '{name}' is reserved in results; choose another")
        if self.baseline not in names and not any(map(_is_unread, self.designs)):
            yield Misfit(("baseline",), f"the baseline '{self.baseline}' is not one of the designs", valid=names)

    def _family_misfits(self, topology: Topology) -> Iterator[Misfit]:
        """sockperf 3.7 supports only IPv4."""
        families = {*topology.underlay.families, *(cidr.version for cidr in topology.cluster.pod_cidr)}
        if families == {6}:
            for name, probe in self.probes.items():
                if isinstance(probe, SockperfProbe):
                    yield Misfit(
                        ("probes", name, "tool"),
                        f"sockperf does not support IPv6, and topology '{topology.name}' has only IPv6; "
                        "use irtt, iperf3 or fping",
                    )

    def _endpoint_misfits(self, topology: Topology) -> Iterator[Misfit]:
        endpoints = (*topology.pod_ids, *topology.nodes)
        known = frozenset(endpoints)
        for name, path in self.paths.items():
            for key, endpoint in (("from", path.source), ("to", path.target)):
                if endpoint not in known:
                    yield Misfit(
                        ("paths", name, key),
                        f"unknown pod or node '{endpoint}' in topology '{topology.name}'",
                        valid=endpoints,
                    )
            if path.source == path.target:
                yield Misfit(
                    ("paths", name, "to"),
                    f"both ends are '{path.source}'; write two different pods or nodes",
                )
