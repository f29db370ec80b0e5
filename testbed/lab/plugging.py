"""A lab's container runtime: it calls CNI plugins on the nodes of pods, and reads the objects that they created.

Pods of one node are attached one after the other; several nodes work in parallel.
"""

import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from testbed.cni.calls import Call, CniError, PluginFailed
from testbed.cni.network import network_of_texts
from testbed.cni.result import Result
from testbed.cni.runtime import Runtime
from testbed.cni.standard import stays_on_node
from testbed.kernel.folders import bind_namespace, release_namespace, within
from testbed.kernel.namespace import Namespace
from testbed.kernel.offload import switch_offloads
from testbed.kernel.refusal import PlanRefused
from testbed.kernel.rulesets import to_list
from testbed.kernel.state import State, nft_tables, state
from testbed.kernel.sysctls import all_settings
from testbed.lab.adopting import adopted, lacking, without
from testbed.lab.completing import Completion, mismatches, places_of
from testbed.lab.steps import UNPLUG_PATIENCE_S, Step, Verb
from testbed.plan.change import touched
from testbed.plan.objects import Plan, Plugged, Sysctl
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.kinds import KINDS
from testbed.plan.parts import not_identical_items
from testbed.plan.plugged import attachment_of
from testbed.plan.rulesets import Backend, Ruleset, iptables
from testbed.plan.rulesets.merge import Whole

T = TypeVar("T")
NODES_AT_A_TIME = 4
DELS_AT_A_TIME = 16
"""Calls of DEL when a lab goes down."""
_COUNTING = ("net/netfilter/nf_conntrack_count",)
"""Sysctls whose value is a counter."""
MOST_CALLS = 10_000
"""Number of logged calls; older ones are dropped."""


@dataclass(frozen=True)
class Sight:
    """A snapshot of a place."""

    state: State
    settings: Mapping[str, str]

    @property
    def lines(self) -> list[str]:
        """Devices, addresses, routes, rules and other objects, in the syntax of the commands that create them."""
        return _lines(self.state)


class Plugging:
    """The container runtime of all nodes of a lab."""

    def __init__(
        self, plan: Plan, namespaces: Mapping[str, Namespace], pids: Mapping[str, int], calls: list[Call]
    ) -> None:
        """`pids` are processes in the nodes' folders, by node; every call is appended to `calls`."""
        self.drawn = plan
        """The plan made by the design."""
        self.calls = calls
        self._namespaces = namespaces
        self._pids = pids
        self._results: dict[str, Result] = {}
        """Results of ADD, by pod."""
        self._begun: set[str] = set()
        """Pods for which ADD was started, also if it failed."""
        self._bound: set[str] = set()
        self.has_left_interfaces = False
        """Whether a plugin did not remove the interface of a pod that left; it goes with the pod's namespace."""
        self._states: dict[str, State] = {}
        """The state of places, of which the plan has been completed; without changes by others than plugins."""
        self._before: dict[str, State] = {}
        """The actual state of places before the change that is going on."""
        self._plan = plan
        """The plan as last completed."""
        self._completion = Completion(namespaces)
        self._stale = {space.name for space in plan.spaces}
        """Places whose plan has changed since it was last completed."""
        self._known: dict[str, frozenset[str]] = {}
        """The supported versions that plugins reported."""

    def add_all(self) -> None:
        """Attaches every pod. Raises PlanRefused with the first failure."""
        self._add_each(self.drawn.plugged, self._add)

    def _add_each(self, items: Iterable[Plugged], add: Callable[[Plugged], None]) -> None:
        by_node: dict[str, list[Plugged]] = {}
        for item in items:
            by_node.setdefault(item.node, []).append(item)

        def add_on(node: str) -> None:
            for item in by_node[node]:
                add(item)

        self._on_nodes(add_on, by_node)

    def leave(self, plan: Plan) -> tuple[str, ...]:
        """Detaches the pods whose attachment is missing or different in another plan. Returns the errors."""
        for name in touched(self.drawn, plan):
            if name in self._states and plan.has(name):
                self._before.setdefault(name, self._state(name))
                # Daemons withdraw and announce routes at any time.
                self._states[name] = lacking(self._states[name], self.drawn[name].learned)
        failed = []
        self.has_left_interfaces = False
        for item in _differing(self.drawn, plan):
            self._forget(item.space, self._before)
            for known in (self._states, self._results, self._before):
                known.pop(item.space, None)
            if item.space in self._begun:
                try:
                    self._remove(item, item.patience_s)
                except (CniError, OSError) as error:
                    failed.append(f"in {item.node}, pod {item.space}: {error}")
                self.has_left_interfaces |= item.ifname in self._interfaces(item.space)
            if item.space in self._bound:
                within(self._pids[item.node], partial(release_namespace, item.space))
                self._bound.discard(item.space)
        return tuple(failed)

    def follow(self, plan: Plan, pids: Mapping[str, int]) -> dict[str, str]:
        """Switches to another plan, and attaches its new pods. Returns the errors of those that cannot be attached."""
        fresh = _differing(plan, self.drawn)
        self._stale.update(touched(self.drawn, plan))
        self.drawn, self._pids = plan, pids
        for name in [name for name in self._states if not plan.has(name)]:
            del self._states[name]
        failed: dict[str, str] = {}

        def add(item: Plugged) -> None:
            try:
                self._add(item)
            except PlanRefused as error:
                failed[item.space] = str(error)

        self._add_each(fresh, add)
        return failed

    def completed(self) -> Plan:
        """The plan with the objects of plugins.

        Only places whose plan has changed since the last call are read (at first all): in other places, changes from
        outside remain differences.
        """
        # A node without pods may still have objects of its last pod.
        places = dict.fromkeys((*places_of(self.drawn), *self._states))
        fresh = {name: self._state(name) for name in places if name in self._stale}
        plan = self._completed(fresh, self._before)
        self._stale.clear()
        self._before.clear()
        return plan

    def mismatched(self) -> dict[str, str]:
        """The pods whose plugin result does not match the kernel, with the first error."""
        items = {item.space: item for item in self.drawn.plugged}
        found: dict[str, str] = {}
        for pod, what in self._mismatches(items):
            found.setdefault(pod, f"in {items[pod].node}, pod {pod}: {what}")
        return found

    def _mismatches(self, pods: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Pods whose plugin result does not match the kernel, with the error; of two with one address the later."""
        for pod, what in mismatches({pod: self._results[pod] for pod in pods if pod in self._results}, self._states):
            texts = next(item.texts for item in self.drawn.plugged if item.space == pod)
            yield pod, f"network {network_of_texts(texts).name}: {what}"

    def _on_nodes(self, work: Callable[[str], None], nodes: Sequence[str] | Mapping[str, object]) -> None:
        with ThreadPoolExecutor(NODES_AT_A_TIME) as pool:
            for done in [pool.submit(work, node) for node in nodes]:
                done.result()

    def _add(self, item: Plugged) -> None:
        try:
            self._begun.add(item.space)
            result = self._on(item, lambda runtime: self._added(runtime, item))
        except (CniError, OSError) as error:
            raise PlanRefused(f"in {item.node}, pod {item.space}: {error}{self._absent_masters(item)}") from error
        self._results[item.space] = result

    def _absent_masters(self, item: Plugged) -> str:
        """A line for each device that the configuration names as `master` and that the node lacks."""
        there = self._interfaces(item.node)
        named = [plugin.keys.get("master") for plugin in network_of_texts(item.texts).plugins]
        return "".join(
            f"\n  master: {item.node} has no device {name}; it has {', '.join(there)}"
            for name in named
            if isinstance(name, str) and name not in there
        )

    def _interfaces(self, place: str) -> list[str]:
        with self._namespaces[place].entered():
            return [name for _, name in socket.if_nameindex()]

    def _added(self, runtime: Runtime, item: Plugged) -> Result:
        if item.space not in self._bound:
            bind_namespace(self._namespaces[item.space], item.space)
            self._bound.add(item.space)
        return runtime.add(network_of_texts(item.texts), attachment_of(item))

    def _on(self, item: Plugged, work: Callable[[Runtime], T], on_call: Callable[[Call], None] | None = None) -> T:
        """Calls `work` in the network and the folders of the pod's node, and returns its result.

        With `on_call` (a step by hand) plugins report their versions again, as the user may have changed them.
        """
        known = {} if on_call else self._known
        runtime = Runtime(item.folders, patience_s=item.patience_s, on_call=on_call or self._record, known=known)

        def there() -> T:
            with self._namespaces[item.node].entered():
                return work(runtime)

        return within(self._pids[item.node], there)

    def _record(self, call: Call) -> None:
        self.calls.append(call)
        del self.calls[:-MOST_CALLS]

    def _state(self, place: str) -> State:
        """The actual state of a place."""
        with self._namespaces[place].entered():
            space = self.drawn[place]
            return state(space.of(Sysctl), to_list(space.of(Ruleset)) | _backends(), space.bpf)

    def _completed(self, fresh: Mapping[str, State], before: Mapping[str, State]) -> Plan:
        """The plan with the objects of plugins: in places with a `fresh` state that one, in others the last known.

        In places with a state from before, only what has changed since then is attributed to plugins.
        """
        self._states |= {
            name: adopted(self._states[name], before[name], state) if name in before else state
            for name, state in fresh.items()
        }
        if not self.drawn.offload:
            self._switch_offloads_off(fresh)
        addresses = {
            item.space: self._results[item.space].addresses_of(item.ifname)
            for item in self.drawn.plugged
            if item.space in self._results
        }
        # After a failed change, other places may differ too.
        looked_at = [name for name in {*fresh, *self._stale} if self.drawn.has(name)]
        self._plan = self._completion.completed(self.drawn, self._states, addresses, looked_at)
        return self._plan

    def _forget(self, pod: str, actual: Mapping[str, State]) -> None:
        """Drops the devices of a detached pod, with their other ends, that somebody else had removed before."""
        own = self._plan.devices_of(pod) if self._plan.has(pod) else {}
        ends = [(pod, dev) for dev in own if not self.drawn.has(pod) or dev not in self.drawn.devices_of(pod)]
        for veth in self._plan.veths:
            if pod in (veth.a.space, veth.b.space):
                ends += ((end.space, end.name) for end in (veth.a, veth.b))
        for place, dev in ends:
            if place in self._states and place in actual and dev not in actual[place].devices:
                self._states[place] = without(self._states[place], [dev])

    def _switch_offloads_off(self, states: Mapping[str, State]) -> None:
        for name, found in states.items():
            planned = self.drawn.devices_of(name)
            made = [dev for dev, device in found.devices.items() if dev not in planned and device.kind]
            if made:
                with self._namespaces[name].entered():
                    switch_offloads(made, on=False)

    def remove_all(self) -> tuple[str, ...]:
        """Detaches all pods within UNPLUG_PATIENCE_S, slow ones in parallel; may be repeated.

        Standard plugins are not called, as everything they leave behind goes with the node. Continues after errors, and
        returns them.
        """
        end = time.monotonic() + UNPLUG_PATIENCE_S
        by_node: dict[str, list[Plugged]] = {}
        for item in reversed(self.drawn.plugged):
            if item.space in self._begun and not stays_on_node(network_of_texts(item.texts), item.folders):
                by_node.setdefault(item.node, []).append(item)
        failed: list[str] = []

        def remove(item: Plugged) -> None:
            try:
                self._remove(item, end - time.monotonic())
            except (CniError, OSError) as error:
                # The namespaces are released anyway, with all their objects.
                failed.append(f"in {item.node}, pod {item.space}: {error}")

        def remove_on(node: str) -> None:
            # Fast ones one after the other; a slow one does not delay the next for long.
            pause_s = UNPLUG_PATIENCE_S / 4 / len(by_node[node])
            for item in by_node[node]:
                wait([pool.submit(remove, item)], pause_s)

        with ThreadPoolExecutor(DELS_AT_A_TIME) as pool:
            self._on_nodes(remove_on, by_node)
        return tuple(sorted(failed))

    def _remove(self, item: Plugged, patience_s: float) -> None:
        """Raises CniError and OSError."""
        self._begun.discard(item.space)
        if patience_s <= 0:
            raise CniError(f"DEL skipped: the time for all calls, {UNPLUG_PATIENCE_S:.0f} s, is used up")
        hasty = replace(item, patience_s=min(item.patience_s, patience_s))
        self._on(hasty, lambda runtime: runtime.delete(network_of_texts(item.texts), attachment_of(item)))

    def step(self, verb: Verb, place: str) -> tuple[Step, Plan | None]:
        """One command by hand: for a pod, or `status` and `gc` for a node. Returns also the new plan, if it changed.

        `check` and `status` do not change the plan: changes from outside remain differences.
        """
        item = next(item for item in self.drawn.plugged if place in (item.space, item.node))
        places = dict.fromkeys((item.node, place))
        calls: list[Call] = []

        def record(call: Call) -> None:
            calls.append(call)
            self._record(call)

        before = {name: self._look(name) for name in places}
        error = ""
        try:
            self._on(item, lambda runtime: self._do(verb, runtime, item), record)
        except (CniError, OSError) as problem:
            error = str(problem)
        after = {name: self._look(name) for name in places}
        changes = {name: _difference(before[name], after[name]) for name in places}
        step = Step(tuple(calls), error, {name: found for name, found in changes.items() if found})
        if verb in ("check", "status"):
            return step, None
        if verb == "del" and not error:
            self._forget(place, _states_of(after))
        plan = self._completed(_states_of(after), _states_of(before))
        if verb == "add" and not error:
            others = [pod for pod in self._results if pod != place]
            wrong = self._mismatches([*others, place])
            step = replace(step, error=next((what for pod, what in wrong if pod == place), ""))
        return step, plan

    def _do(self, verb: Verb, runtime: Runtime, item: Plugged) -> None:
        """Runs one command. After a failed ADD it runs DEL, as runtimes must. Raises CniError and OSError."""
        network, attachment = network_of_texts(item.texts), attachment_of(item)
        match verb:
            case "add":
                self._begun.add(item.space)
                try:
                    self._results[item.space] = self._added(runtime, item)
                except PluginFailed as failed:
                    try:
                        runtime.delete(network, attachment)
                    except CniError as error:
                        raise CniError(f"{failed}\n{error}") from error
                    raise
            case "del":
                runtime.delete(network, attachment)
                self._results.pop(item.space, None)
            case "check":
                runtime.check(network, attachment)
            case "status":
                runtime.status(network)
            case "gc":
                same = [other for other in self.drawn.plugged if other.node == item.node]
                if errors := runtime.collect(network, map(attachment_of, same)):
                    raise CniError("\n".join(map(str, errors)))

    def _look(self, place: str) -> Sight:
        with self._namespaces[place].entered():
            return Sight(state(self.drawn[place].of(Sysctl), _backends()), all_settings())


def _states_of(sights: Mapping[str, Sight]) -> dict[str, State]:
    return {name: sight.state for name, sight in sights.items()}


def _differing(plan: Plan, known: Plan) -> list[Plugged]:
    """The attachments of a plan that are not in the other one."""
    # Skip identical ones first: comparing configurations takes long.
    there = set(not_identical_items(known.plugged, plan.plugged))
    return [item for item in not_identical_items(plan.plugged, known.plugged) if item not in there]


def _backends() -> dict[Backend, tuple[str, ...]]:
    """The installed backends of iptables; empty if the calling thread's namespace has no rules."""
    has_rules = any(nft_tables()) or _has_legacy_tables()
    return {tool: () for tool in iptables.FAMILIES if shutil.which(f"{tool}-save")} if has_rules else {}


def _has_legacy_tables() -> bool:
    for name in ("ip_tables_names", "ip6_tables_names"):
        try:
            with open(f"/proc/thread-self/net/{name}") as file:  # noqa: PTH123 - of the thread's own namespace
                if file.read():
                    return True
        except OSError:
            continue
    return False


def _lines(found: State) -> list[str]:
    """One line per object, in a stable order."""
    devices = []
    for name, device in sorted(found.devices.items()):
        master = f" master {device.master}" if device.master else ""
        kind = f" type {device.kind}" if device.kind else ""
        devices.append(
            f"link {name}{kind} address {device.mac} mtu {device.mtu}{master} {'up' if device.up else 'down'}"
        )
    return [
        *devices,
        *(line for kind in KINDS.values() for line in sorted(_line(kind, item) for item in found.of(kind.type))),
        *sorted(f"route {item}" for item in found.refusals),
        *(f"{tool} {line}" for tool in iptables.FAMILIES for line in _rules(found, tool)),
        *sorted(f"nft table {table}" for table in found.tables),
    ]


def _rules(found: State, tool: Backend) -> list[str]:
    return [line for line, _ in iptables.lines(found.rulesets.get(tool, Whole(tool)))]


def _line(kind: ObjectKind[Any], item: Any) -> str:
    """The object in short: `route default ...` for `ip -4 route add default ...`."""
    words = kind.words(item, "add").removesuffix(" nodad").split()[1:]
    noun, _, *rest = words[1:] if words[0].startswith("-") else words
    return " ".join((noun, *rest))


def _difference(before: Sight, after: Sight) -> tuple[str, ...]:
    """Removed (`-`) and added (`+`) lines. Sysctls that exist only before or after, with a device, are skipped."""
    settings = [
        (f"- sysctl {key} = {value}", f"+ sysctl {key} = {after.settings[key]}")
        for key, value in before.settings.items()
        if after.settings.get(key, value) != value and not key.startswith(_COUNTING)
    ]
    removed = [f"- {line}" for line in before.lines if line not in after.lines]
    added = [f"+ {line}" for line in after.lines if line not in before.lines]
    return (*removed, *(old for old, _ in settings), *added, *(new for _, new in settings))
