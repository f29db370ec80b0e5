"""The kubelet of all nodes of a lab: it runs the containers of pods, and reports their status.

One thread with an event loop does everything; `follow` hands it changes of the cluster state, and it calls `notify`
when a status has changed.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

from testbed.kubernetes import pod_files
from testbed.kubernetes.environment import Addresses
from testbed.kubernetes.state import ClusterState, Key, Pod
from testbed.lab.kubelet.container import ContainerLife
from testbed.lab.kubelet.home import Home, place_of
from testbed.lab.kubelet.log import Log
from testbed.lab.kubelet.pod import PodLife
from testbed.lab.kubelet.standins import StandIns
from testbed.lab.kubelet.status import PodStatus
from testbed.lab.names import HOST_NAME, HOSTS, NO_DNS, RESOLVER, other_places
from testbed.lab.places import Places
from testbed.lab.standin import StandIn
from testbed.plan.objects import File, Plan, Space

DOWN_PATIENCE_S = 2.0


class UnknownContainer(LookupError):
    """The pod has no container of that name."""

    def __init__(self, pod: str, name: str, containers: tuple[str, ...]) -> None:
        super().__init__(name)
        self.pod, self.name, self.containers = pod, name, containers


class Kubelet:
    """Runs the containers of a lab's pods."""

    def __init__(
        self,
        places: Places,
        host_images: bool,
        notify: Callable[[], None],
        cluster_dns: tuple[str, ...] = (),
        standin: Callable[[Callable[[], None]], StandIn] = StandIn,
    ) -> None:
        """`host_images` allows programs of the machine; `cluster_dns` are the addresses of the DNS service."""
        self._places, self._host_images, self._notify, self._cluster_dns = places, host_images, notify, cluster_dns
        self._state = ClusterState()
        self._pods: Mapping[Key, Pod] = {}
        """As of the last `follow`."""
        self._waiting: dict[str, Pod] = {}
        """Pods that have a node but no place yet, by UID."""
        self._by_place: dict[str, Pod] = {}
        """Pods with a network of their own."""
        self._lives: dict[str, PodLife] = {}
        self._statuses: dict[str, PodStatus] = {}
        self._changed: set[str] = set()
        """UIDs of pods whose status may differ from the published one."""
        self._loop = asyncio.new_event_loop()
        self._standins = StandIns(standin, self._loop)
        self._thread = threading.Thread(target=self._loop.run_forever, name="kubelet", daemon=True)
        self._thread.start()
        places.pod_files = self._files

    def follow(self, state: ClusterState) -> None:
        """Start the containers of pods that have a node and a place, end those of deleted pods, forget pods that are
        gone. Returns at once; only what has changed since the last call is looked at.
        """
        self._state = state
        pods = cast("Mapping[Key, Pod]", state.of("Pod"))
        if pods is self._pods and not self._waiting:
            return
        before, self._pods = self._pods, pods
        ended = [one for key, one in before.items() if key not in pods or pods[key].uid != one.uid]
        changed = [one for key, one in pods.items() if one is not before.get(key)]
        for one in ended:
            self._waiting.pop(one.uid, None)
            self._by_place.pop(place_of(one), None)
        self._waiting |= {one.uid: one for one in changed if one.node}
        placed = [one for one in self._waiting.values() if self._can_be_followed(one)]
        for one in placed:
            del self._waiting[one.uid]
            if not one.spec.host_network:
                self._by_place[place_of(one)] = one
        homes = [(one, self._home(one)) for one in placed]
        self._loop.call_soon_threadsafe(self._take, [one.uid for one in ended], homes)

    def _can_be_followed(self, pod: Pod) -> bool:
        """Whether a pod has a place, or needs none any more."""
        return pod.is_terminating or pod.is_finished or place_of(pod) in self._places.namespaces

    def _home(self, pod: Pod) -> Home | None:
        """Where a pod runs; None for a pod without a place, which ends before it began."""
        place = place_of(pod)
        if place not in self._places.namespaces or pod.node not in self._places.namespaces:
            return None
        plan = self._places.plan
        own, node = (tuple(map(str, plan[name].reached_at)) for name in (place, pod.node))
        return Home(
            places=self._places,
            standins=self._standins,
            state=lambda: self._state,
            changed=partial(self._note, pod.uid),
            pod=pod,
            place=place,
            network=self._places.namespaces[place],
            addresses=Addresses(own, node),
        )

    def _take(self, gone: Iterable[str], homes: Iterable[tuple[Pod, Home | None]]) -> None:
        """In the loop: begin, update and forget pods."""
        for uid in gone:
            if life := self._lives.pop(uid, None):
                life.end(0)
            self._statuses.pop(uid, None)
        for pod, home in homes:
            if life := self._lives.get(pod.uid):
                life.update(pod)
            elif home is None or pod.is_terminating or pod.is_finished:
                self._statuses[pod.uid] = PodStatus(pod.phase, pod.failure, pod.message, ended=True)
                self._note(pod.uid)
            else:
                life = self._lives[pod.uid] = PodLife(home, self._host_images)
                life.begin()
                self._note(pod.uid)

    def _note(self, uid: str) -> None:
        """Publish the status of a pod after this turn of the loop."""
        if not self._changed:
            self._loop.call_soon(self._publish)
        self._changed.add(uid)

    def _publish(self) -> None:
        changed, self._changed = self._changed, set()
        news = {uid: life.status() for uid in changed if (life := self._lives.get(uid))}
        fresh = {uid: status for uid, status in news.items() if self._statuses.get(uid) != status}
        self._statuses |= fresh
        if fresh or len(news) < len(changed):
            self._notify()

    def statuses(self) -> Mapping[str, PodStatus]:
        """The status of each pod that has begun, by UID. A status that has not changed is the same object."""
        return self._statuses.copy()

    def set_ready(self, uid: str, ready: bool, container: str = "") -> None:
        """Let the stand-in of a container, or of all, answer that it is ready or not."""

        def there() -> None:
            if life := self._lives.get(uid):
                life.set_ready(container, ready)

        self._loop.call_soon_threadsafe(there)

    def is_of_manifest(self, place: str) -> bool:
        """Whether a place has the network of a pod that a manifest or a controller made."""
        pod = self._by_place.get(place)
        return pod is not None and bool(pod.metadata.owner or pod.applied)

    def variables(self, pod: Pod, container: str = "") -> Mapping[str, str]:
        """The variables of a container, the first if no name is given. Raises UnknownContainer, ConfigError."""
        spec = next((one for _, one in pod.spec.all_containers if one.name == container), None)
        if container and spec is None:
            raise UnknownContainer(pod.name, container, tuple(one.name for _, one in pod.spec.all_containers))
        home = self._home(pod)
        return home.variables(spec or pod.spec.containers[0]) if home else {}

    def log(self, pod: Pod, container: str, previous: bool = False) -> Log | None:
        """The output of a container's current or previous run; None if it ran no program. Raises UnknownContainer."""
        life = self._container(pod, container)
        if life is None:
            return None
        return life.previous_log if previous else life.log

    def _container(self, pod: Pod, name: str) -> ContainerLife | None:
        names = tuple(one.name for _, one in pod.spec.all_containers)
        if name not in names:
            raise UnknownContainer(pod.name, name, names)
        return next((one for one in self._lives.get(pod.uid) or () if one.spec.name == name), None)

    def _files(self, plan: Plan, space: Space) -> Iterable[File]:
        """The files of a pod's place; none for other places."""
        pod = self._by_place.get(space.name)
        if pod is None:
            return
        hosts = pod_files.hosts(pod, map(str, space.reached_at)) + other_places(plan, space)
        yield File(HOSTS, hosts)
        yield File(HOST_NAME, f"{pod_files.host_name(pod)}\n")
        yield File(RESOLVER, pod_files.resolver(pod, self._cluster_dns, NO_DNS))

    def down(self) -> None:
        """End all containers at once, and the thread."""

        async def end() -> None:
            for life in self._lives.values():
                life.end(0)
                life.kill()
            if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                _, left = await asyncio.wait(tasks, timeout=DOWN_PATIENCE_S)
                for task in left:
                    task.cancel()

        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._standins.down()
