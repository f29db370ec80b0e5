"""The labs of an experiment: one per arm, built when needed, checked before measuring."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from testbed.designs.design import Design
from testbed.experiment.needs import left_out
from testbed.experiment.schedule import Schedule, Site
from testbed.experiment.trial import Witness
from testbed.kernel.freeing import await_freed
from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import PlanRefused
from testbed.kernel.steering import steer
from testbed.lab.lab import Lab
from testbed.observe import counters
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.plan.objects import Plan
from testbed.plan.plugged import unaddressed
from testbed.plan.shell import script
from testbed.spec.topology import Topology

if TYPE_CHECKING:
    from testbed.lab.cluster import Cluster


@dataclass(frozen=True)
class Prepared:
    """A lab, or None if it cannot be measured, and its facts for the manifest."""

    lab: Lab | None
    facts: dict[str, Any]

    @property
    def news(self) -> str:
        """The facts in one line, and a line for each failure."""
        if "check" not in self.facts:
            return str(self.facts["reason"])
        check = self.facts["check"]
        done = f"up in {self.facts['up_seconds'] * 1000:.0f} ms, {check['passed']} of {check['asked']} checks passed"
        return "\n".join([done, *(f"  {failure}" for failure in check["failures"])])


def plan_of(site: Site, design: str) -> Plan:
    """The plan of a design at a site."""
    return site.designs[design].plan(site.topology, site.offload)


def plans_of(schedule: Schedule) -> dict[str, str]:
    """The commands that build each design by hand, at the first site that it fits.

    A design that cannot be planned is absent; that is reported when its lab is built.
    """
    found = {}
    for name in dict.fromkeys(schedule.arms.values()):
        site = next((site for site in schedule.sites if site.fits(name)), None)
        with suppress(Exception):
            if site:
                found[name] = script(plan_of(site, name))
    return found


def prepare(site: Site, design_name: str, labs: ExitStack) -> Prepared:
    """Build a design's lab and check it: which pods and nodes reach each other, and by which path.

    A lab that passes stays up until `labs` closes; others are taken down immediately.
    """
    design, topology = site.designs[design_name], site.topology
    if out := left_out(design, topology):
        state, reason = out
        return Prepared(None, {"summary": design.summary, "state": state, "reason": reason})
    facts: dict[str, Any] = {"summary": design.summary}
    try:
        with ExitStack() as own:
            facts["pod_mtu"] = design.pod_mtu(topology)
            lab = own.enter_context(Lab(plan_of(site, design_name)))
            if site.cluster is not None:
                own.callback(_with_cluster(lab, design, topology, site.cluster).down)
            if site.steering:
                steer(lab.plan, lab.namespaces, site.steering)
            facts |= _checked(design, topology, lab)
            if failures := facts["check"]["failures"]:
                return Prepared(None, facts | {"state": "failed", "reason": f"{len(failures)} checks failed"})
            labs.push(own.pop_all())
    except PlanRefused as error:
        return Prepared(None, facts | {"state": "failed", "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - recorded; a design that cannot be built costs no other its samples
        return Prepared(None, facts | {"state": "failed", "reason": f"{type(error).__name__}: {error}"})
    return Prepared(lab, facts | {"state": "measured", "reason": ""})


def _with_cluster(lab: Lab, design: Design, topology: Topology, state: object) -> "Cluster":
    """The Kubernetes objects of a lab that is up, with their containers running."""
    from testbed.kubernetes.state import ClusterState  # Loaded only when needed.
    from testbed.lab.cluster import Cluster
    from testbed.lab.editing import Editing

    assert isinstance(state, ClusterState)
    cluster = Cluster(Editing(lab, design, topology), state, topology.host_images)
    cluster.begin()
    cluster.await_quiet()
    return cluster


def _checked(design: Design, topology: Topology, lab: Lab) -> dict[str, Any]:
    """The facts of a lab that is up: which pods and nodes reach each other, and by which path."""
    bare = list(unaddressed(lab.plan))
    reach = check_reach(lab.plan, lab.namespaces)
    # After check_reach: before, switches would flood frames to addresses that they have not learned yet.
    sent, astray = check_crossings(design, topology, lab.plan, lab.namespaces)
    # All labs of the machine share one limit of neighbours: the entries of these checks could block the next lab.
    forget_learned_in(lab.namespaces.values())
    failures = [*bare, *reach.failures, *astray]
    asked = len(bare) + reach.asked + sent
    return {
        "up_seconds": round(lab.up_seconds, 4),
        "check": {"asked": asked, "passed": asked - len(failures), "failures": failures},
        "evidence": [] if astray else [f"{sent} packets between nodes were seen on the fabric as claimed"],
    }


def path_watch(site: Site, design: str, lab: Lab, source: str, target: str, family: int) -> Callable[[], Witness]:
    """Watch the counters of the devices that a path's packets must and must not cross under the design."""
    passage = counters.passage(site.designs[design], site.topology, lab.plan, source, target, family)

    def watch() -> Witness:
        before = counters.read(passage, lab.namespaces)
        return lambda: counters.astray(passage, before, counters.read(passage, lab.namespaces))

    return watch


class Labs:
    """The labs that are up, by site and arm; all are taken down on exit."""

    def __init__(self) -> None:
        self._stacks: dict[int, ExitStack] = {}
        self._fit: dict[int, dict[str, Lab]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._stacks):
            self._close(key)

    def _close(self, key: int) -> None:
        self._fit.pop(key, None)
        if stack := self._stacks.pop(key, None):
            stack.close()

    def at(self, site: Site) -> Mapping[str, Lab] | None:
        """The labs that are up at a site, by arm; None if none were built."""
        return self._fit.get(id(site))

    def build(
        self, site: Site, arms: Mapping[str, str], on_prepared: Callable[[str, Prepared], None]
    ) -> Mapping[str, Lab]:
        """Build and check a lab for each arm, in this order; call `on_prepared` with each result."""
        await_freed()  # the freeing of earlier labs would slow down the first of these
        stack = self._stacks[id(site)] = ExitStack()
        fit = self._fit[id(site)] = {}
        for arm, design in arms.items():
            prepared = prepare(site, design, stack)
            on_prepared(arm, prepared)
            if prepared.lab is not None:
                fit[arm] = prepared.lab
        return fit

    def take_down(self, site: Site) -> None:
        """Take down the labs of a site, if any."""
        self._close(id(site))
