"""A scenario: topology, designs, paths, probes and rounds.

name: compare-designs
topology: ../topologies/two-nodes.yaml
designs: [l2, l3-gateway, l3-host-routes, vxlan]
baseline: l3-host-routes
paths:
  cross-node: {from: client, to: web-2}
probes:
  latency:    {tool: sockperf, protocol: tcp, message: 64B, duration: 1s}
  throughput: {tool: iperf3, protocol: tcp, streams: 1, duration: 1s}
rounds: 8                         # or auto; or instead of it a budget, such as budget: 10min

A design is given by name, in full with its parameters, or as a file: see testbed.spec.design.

Further keys: manifests, aa, headline, budget, settle, rebuild_every, pin, offload, sweep, unfit.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

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
from testbed.spec.limits import MAX_ROUNDS, MAX_SEED
from testbed.spec.metrics import Directed
from testbed.spec.probes import Probe, SockperfProbe
from testbed.spec.problems import Invalid, Misfit, each
from testbed.spec.topology import Topology
from testbed.spec.types import Name, Share, Spec, durations, one_or_many

AUTO: Literal["auto"] = "auto"
AA = "aa"
"""Name in results of the baseline's second measurement in each round."""
LIMITS = "limits"
"""Name in results of the probes' own limits, measured over loopback."""
HEADLINE: tuple[Directed, ...] = ("rtt_p50", "throughput", "connections")
"""The metrics that a scenario is about unless it says otherwise."""
AUTO_BUDGET = timedelta(minutes=15)
"""The budget of `rounds: auto` unless the scenario says otherwise."""
MIN_BUDGET = timedelta(seconds=10)
MAX_BUDGET = timedelta(hours=24)
MAX_CELLS = 1000
MAX_CPU = 4095


class Path(Spec):
    """The two ends of a path."""

    source: str = Field(alias="from", description="a pod or node")
    target: str = Field(alias="to", description="a pod or node")

    def misfits(self, known: Collection[str], topology: str) -> Iterator[Misfit]:
        """Unknown ends, of those `known` in a topology, and equal ends; locations are relative to the path."""
        yield from each(self._unknown("source", known, topology), self._unknown("target", known, topology))
        yield from each(self._equal())

    def _unknown(self, field: Literal["source", "target"], known: Collection[str], topology: str) -> Iterator[Misfit]:
        end = getattr(self, field)
        if known and end not in known:
            message = f"unknown pod or node '{end}' in topology '{topology}'"
            yield Misfit((str(Path.model_fields[field].alias),), message, valid=tuple(known))

    def _equal(self) -> Iterator[Misfit]:
        # Two ends that name several pods of manifests are two of them.
        if self.source == self.target and not {"/", "="} & set(self.source):
            yield Misfit(("to",), f"both ends are '{self.source}'; write two different pods or nodes")


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


def is_unread(choice: Choice) -> bool:
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
    manifests: Annotated[tuple[str, ...], *one_or_many({"type": "string"})] = Field(
        default=(),
        description="Kubernetes manifests to apply: a file or folder, relative to this file, or a list; paths can then "
        "also name what made pods (deployment/web) or labels (app=web)",
    )
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
        default=8,
        description="number of measured rounds, or auto (until every verdict is resolved or the budget is spent); "
        "a warm-up round runs first",
    )
    budget: Annotated[timedelta, *durations("15min", "90s", least=MIN_BUDGET, most=MAX_BUDGET)] | None = Field(
        default=None,
        description="the time that the run may take; without rounds, as many rounds are measured as fit; with rounds: "
        "auto, 15min if absent",
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
        description="action if a design does not fit the topology, or one of a sweep's: refuse the scenario, or leave "
        "the design out there and report why; the baseline must fit",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="seed for the order of designs; chosen at random and recorded if absent",
    )

    @property
    def fills_budget(self) -> bool:
        """Whether the number of rounds follows from the budget."""
        return self.budget is not None and "rounds" not in self.model_fields_set

    @property
    def design_names(self) -> tuple[str, ...]:
        """Names of the designs in results."""
        return tuple(map(name_of, self.designs))

    def misfits(self, topology: Topology | None, catalogue: Catalogue) -> Iterator[Misfit]:
        """Values that do not fit together. Endpoints are looked up in the topology, if it could be read."""
        yield from each(self._designs_misfits(catalogue), self._baseline_misfits(), self._probes_misfits(topology))
        yield from each(self._paths_misfits(topology))

    def _designs_misfits(self, catalogue: Catalogue) -> Iterator[Misfit]:
        yield from each(*(self._design_misfits(index, catalogue) for index in range(len(self.designs))))

    def _design_misfits(self, index: int, catalogue: Catalogue) -> Iterator[Misfit]:
        choice = self.designs[index]
        if isinstance(choice, str) and is_unread(choice):
            return  # Reported when it was read.
        misfits = list(each(catalogue.misfits(choice)))
        for misfit in misfits:
            yield replace(misfit, loc=("designs", index, *misfit.loc))
        name = name_of(choice)
        if name in (AA, LIMITS):
            yield Misfit(("designs", index, "name"), f"the name '{name}' is reserved in results; choose another")
        if not misfits and name in map(name_of, self.designs[:index]):
            yield Misfit(("designs", index), f"the design '{name}' is listed twice; list it once")

    def _baseline_misfits(self) -> Iterator[Misfit]:
        if self.baseline not in self.design_names and not any(map(is_unread, self.designs)):
            message = f"the baseline '{self.baseline}' is not one of the designs"
            yield Misfit(("baseline",), message, valid=self.design_names)

    def _probes_misfits(self, topology: Topology | None) -> Iterator[Misfit]:
        for name, probe in self.probes.items():
            with suppress(Invalid):
                for misfit in each(probe.misfits(), _family_misfits(probe, topology)):
                    yield replace(misfit, loc=("probes", name, *misfit.loc))

    def _paths_misfits(self, topology: Topology | None) -> Iterator[Misfit]:
        """Unknown endpoints; none is unknown if the topology's pods could not be read, or are in manifests."""
        # A mapping for its fast look-up, in the order of the file.
        known: Mapping[str, None] = {}
        name = ""
        # Ends may be pods of manifests, which are not read here.
        if topology is not None and not self.manifests and not topology.manifests:
            with suppress(Invalid):
                name, known = topology.name, dict.fromkeys((*topology.pod_ids, *topology.nodes))
        for key, path in self.paths.items():
            with suppress(Invalid):
                for misfit in path.misfits(known, name):
                    yield replace(misfit, loc=("paths", key, *misfit.loc))


def _family_misfits(probe: Probe, topology: Topology | None) -> Iterator[Misfit]:
    """sockperf 3.7 supports only IPv4."""
    if isinstance(probe, SockperfProbe) and topology is not None and topology.families == {6}:
        yield Misfit(
            ("tool",),
            f"sockperf does not support IPv6, and topology '{topology.name}' has only IPv6; use irtt, iperf3 or fping",
        )
