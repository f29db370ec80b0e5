"""A plan with the objects of a policy engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from testbed.kubernetes.policies import resolve
from testbed.kubernetes.policies.members import Member
from testbed.kubernetes.state import ClusterState
from testbed.plan.objects import Bridge, Kind, Object, Plan, Space, Sysctl
from testbed.plan.parts import parts_of
from testbed.plan.rulesets import Ruleset
from testbed.policies.engine import Engine, Local, Node
from testbed.spec.topology import DEFAULT_NAMESPACE


def with_policies(plan: Plan, state: ClusterState, engine: Engine) -> Plan:
    """The plan of a design, in which each node also enforces the policies of a cluster state.

    Call it with each new plan of the design, also if only the cluster state has changed. The design's next plan can be
    based on the plan returned here.
    """
    policies = resolve(state)
    ends = _ends(plan)
    by_node: dict[str, list[Local]] = {}
    for member in policies.members.pods:
        place = _place(member)
        if plan.has(place):
            by_node.setdefault(plan[place].home, []).append(Local(member, ends.get(place, "")))
    families = tuple(sorted({address.version for pod in policies.members.pods for address in pod.addresses}))
    nodes = _as_designed(plan)
    made = {
        name: engine.enforce(space, Node(name, tuple(by_node.get(name, ())), families, policies))
        for name, space in nodes.items()
    }
    return _with_nodes(plan, made)


@dataclass(frozen=True, eq=False)
class _Designed:
    """The spaces of nodes without the objects of an engine, for plans without parts."""

    nodes: Mapping[str, Space]


def _as_designed(plan: Plan) -> dict[str, Space]:
    """The spaces of nodes without the objects of an engine, by name."""
    if isinstance(plan.made_of, _Designed):
        return dict(plan.made_of.nodes)
    parts = parts_of(plan)
    nodes = {space.name: space for space in plan.of_kind(Kind.NODE)}
    return nodes | ({name: part.space for name, part in parts.nodes.items()} if parts else {})


def _with_nodes(plan: Plan, nodes: Mapping[str, Space]) -> Plan:
    """The plan with these spaces of nodes. What the next plan can reuse is kept."""
    made = replace(plan, spaces=tuple(nodes.get(space.name, space) for space in plan.spaces))
    parts = parts_of(plan)
    made.remember(replace(parts, fixed={**parts.fixed, **nodes}) if parts else _Designed(_as_designed(plan)))
    made.reuse_lookups(plan, nodes, nodes.values(), {name: plan.devices_of(name) for name in nodes})
    return made


def _place(member: Member) -> str:
    """The name of a pod's space."""
    namespace, name = member.key
    return name if namespace == DEFAULT_NAMESPACE else f"{name}.{namespace}"


def _ends(plan: Plan) -> Mapping[str, str]:
    """By pod: the name of the other end of its veth pair, in the space of its node."""
    found = {}
    for veth in plan.veths:
        for one, other in ((veth.a, veth.b), (veth.b, veth.a)):
            if plan[one.space].kind is Kind.POD and plan[one.space].node == other.space:
                found[one.space] = other.name
    return found


def with_rulesets(space: Space, parts: Iterable[Ruleset]) -> Space:
    """The space with these parts, each instead of its owner's former part in the same backend."""
    fresh = {(part.owner, part.backend): part for part in parts}
    kept = (
        fresh.pop((item.owner, item.backend), item) if isinstance(item, Ruleset) else item for item in space.objects
    )
    return replace(space, objects=(*kept, *fresh.values()))


def with_bridged_packets(space: Space, families: Iterable[int]) -> Space:
    """The space with packets between ports of its bridges in the hooks of IP, so that rules see them."""
    if not space.of(Bridge):
        return space
    tables = {4: "iptables", 6: "ip6tables"}
    keys = {f"net.bridge.bridge-nf-call-{tables[family]}" for family in families}
    others: list[Object] = [item for item in space.objects if not (isinstance(item, Sysctl) and item.key in keys)]
    return replace(space, objects=(*(Sysctl(key, "1", True) for key in sorted(keys)), *others))
