"""Pods: containers, probes, names, DNS."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from testbed.kubernetes.fields import found
from testbed.kubernetes.models.meta import LabelSelector, Object, ObjectMeta
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.scheduling import Affinity, Toleration, TopologySpread, duplicates
from testbed.kubernetes.models.values import (
    Address,
    Count,
    HttpPath,
    Items,
    Label,
    LabelKey,
    Labels,
    Port,
    PortName,
    PortOrName,
    Protocol,
    Quantity,
    Subdomain,
    Text,
    either,
    env_name,
    quantity,
    within,
    word,
)
from testbed.spec.problems import Loc, Misfit

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")


class ContainerPort(Model):
    """A port on which a container serves."""

    container_port: Port
    name: PortName | None = None
    protocol: Protocol = "TCP"
    host_port: Port | None = None
    host_ip: Address | None = Field(default=None, alias="hostIP")


class EnvVar(Model):
    """An environment variable."""

    name: Annotated[str, AfterValidator(env_name)]
    value: str | None = None
    value_from: dict[str, object] | None = None

    def misfits(self) -> Iterator[Misfit]:
        if self.value and self.value_from is not None:
            yield Misfit(("valueFrom",), "cannot be used together with a value; remove one", at_key=True)
        elif self.value_from is not None and len(self.value_from) != 1:
            yield Misfit(("valueFrom",), "must have exactly one source, such as fieldRef", at_key=True)


class NamedSource(Model):
    """A ConfigMap or Secret."""

    name: str = ""
    optional: bool = False


class EnvFrom(Model):
    """A ConfigMap or Secret of which each key becomes an environment variable."""

    prefix: Annotated[str, AfterValidator(lambda text: text and env_name(text))] = ""
    config_map_ref: NamedSource | None = None
    secret_ref: NamedSource | None = None

    def misfits(self) -> Iterator[Misfit]:
        given = [one for one in (self.config_map_ref, self.secret_ref) if one is not None]
        if len(given) != 1:
            yield Misfit((), f"must have exactly one of configMapRef, secretRef, found {len(given)}", at_key=True)


class HttpGet(Model):
    """A probe by HTTP."""

    port: PortOrName
    path: HttpPath = "/"
    host: str = ""
    scheme: Annotated[str, word("HTTP", "HTTPS")] = "HTTP"
    http_headers: Items[dict[str, str]] = ()


class TcpSocket(Model):
    """A probe by a connection."""

    port: PortOrName
    host: str = ""


class Exec(Model):
    """A probe by a command."""

    command: Items[str] = ()


class Grpc(Model):
    """A probe by gRPC."""

    port: Port
    service: str = ""


class Handler(Model):
    """One of several ways to probe."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None

    def misfits(self) -> Iterator[Misfit]:
        given = [handler for handler in (self.exec, self.http_get, self.tcp_socket, self.grpc) if handler is not None]
        if len(given) != 1:
            yield Misfit((), f"must have exactly one of {', '.join(HANDLERS)}, found {len(given)}", at_key=True)


class Probe(Handler):
    """A question to a container, asked again and again. Times are in seconds."""

    initial_delay_seconds: Count = 0
    timeout_seconds: Annotated[int, within(1)] = 1
    period_seconds: Annotated[int, within(1)] = 10
    success_threshold: Annotated[int, within(1)] = 1
    failure_threshold: Annotated[int, within(1)] = 3
    termination_grace_period_seconds: Annotated[int, within(1)] | None = None


class Sleep(Model):
    """A wait, in seconds."""

    seconds: Count


class Hook(Model):
    """What happens after a container has started, or before it is stopped."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    sleep: Sleep | None = None

    def misfits(self) -> Iterator[Misfit]:
        given = [hook for hook in (self.exec, self.http_get, self.tcp_socket, self.sleep) if hook is not None]
        if len(given) != 1:
            yield Misfit((), f"must have exactly one of {', '.join(HOOKS)}, found {len(given)}", at_key=True)


class Lifecycle(Model):
    """Hooks of a container."""

    post_start: Hook | None = None
    pre_stop: Hook | None = None
    stop_signal: str | None = None


class Resources(Model):
    """What a container asks for and may use."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)

    def misfits(self) -> Iterator[Misfit]:
        for key, values in (("requests", self.requests), ("limits", self.limits)):
            for name, value in values.items():
                if quantity(value) < 0:
                    yield Misfit((key, name), f"must be at least 0, not {value}")
        for name, value in self.requests.items():
            if name in self.limits and quantity(value) > quantity(self.limits[name]):
                yield Misfit(("requests", name), f"must be at most the limit of {self.limits[name]}, not {value}")


class VolumeMount(Model):
    """A volume in a container."""

    name: str
    mount_path: str

    def misfits(self) -> Iterator[Misfit]:
        if not self.mount_path:
            yield Misfit(("mountPath",), "cannot be empty")


class Container(Model):
    """A container: a process of the pod, with its ports."""

    name: Label
    image: Text | None = None
    command: Items[str] = ()
    args: Items[str] = ()
    working_dir: str = ""
    ports: Items[ContainerPort] = ()
    env: Items[EnvVar] = ()
    env_from: Items[EnvFrom] = ()
    lifecycle: Lifecycle = Field(default_factory=Lifecycle)
    resources: Resources = Field(default_factory=Resources)
    volume_mounts: Items[VolumeMount] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    restart_policy: Annotated[str, word("Always", "OnFailure", "Never")] | None = None
    image_pull_policy: Annotated[str, word("Always", "IfNotPresent", "Never")] | None = None
    termination_message_policy: Annotated[str, word("File", "FallbackToLogsOnError")] = "File"

    def misfits(self) -> Iterator[Misfit]:
        named = tuple(port for port in self.ports if port.name)
        numbers = {id(port): number for number, port in enumerate(self.ports)}
        for misfit in duplicates(named, lambda port: (("name",), port.name), "port name"):
            yield Misfit(("ports", numbers[id(named[int(misfit.loc[0])])], "name"), misfit.message)
        for misfit in duplicates(self.volume_mounts, lambda mount: (("mountPath",), mount.mount_path), "mountPath"):
            yield Misfit(("volumeMounts", *misfit.loc), misfit.message)
        for key, probe in (("livenessProbe", self.liveness_probe), ("startupProbe", self.startup_probe)):
            if probe is not None and probe.success_threshold != 1:
                yield Misfit((key, "successThreshold"), f"must be 1, not {probe.success_threshold}")
        if self.image is None:
            yield Misfit((), "the field 'image' is missing", at_key=True)


class HostAlias(Model):
    """A line of /etc/hosts."""

    ip: Address
    hostnames: Items[Subdomain] = ()


class DnsOption(Model):
    """An option of /etc/resolv.conf."""

    name: str = ""
    value: str | None = None


class DnsConfig(Model):
    """Lines of /etc/resolv.conf."""

    nameservers: Items[Address] = ()
    searches: Items[str] = ()
    options: Items[DnsOption] = ()

    def misfits(self) -> Iterator[Misfit]:
        for key, items, most in (
            ("nameservers", self.nameservers, MAX_NAMESERVERS),
            ("searches", self.searches, MAX_SEARCHES),
        ):
            if len(items) > most:
                yield Misfit((key,), f"can have at most {most} entries, found {len(items)}", at_key=True)
        for number, option in enumerate(self.options):
            if not option.name:
                yield Misfit(("options", number), "the field 'name' is missing", at_key=True)


class ReadinessGate(Model):
    """A condition that must be true before the pod is ready."""

    condition_type: LabelKey


class SchedulingGate(Model):
    """A reason not to schedule the pod yet."""

    name: LabelKey


class Volume(Model):
    """A volume of a pod."""

    name: Label


class PodSpec(Model):
    """What a pod runs, and where."""

    containers: Items[Container]
    init_containers: Items[Container] = ()
    volumes: Items[Volume] = ()
    node_name: Subdomain | None = None
    node_selector: Labels = Field(default_factory=dict)
    affinity: Affinity = Field(default_factory=Affinity)
    tolerations: Items[Toleration] = ()
    topology_spread_constraints: Items[TopologySpread] = ()
    scheduler_name: str = "default-scheduler"
    scheduling_gates: Items[SchedulingGate] = ()
    priority: int = 0
    priority_class_name: Subdomain | None = None
    preemption_policy: Annotated[str, word("PreemptLowerPriority", "Never")] | None = None
    host_network: bool = False
    hostname: Label | None = None
    subdomain: Label | None = None
    set_hostname_as_fqdn: bool = Field(default=False, alias="setHostnameAsFQDN")
    host_aliases: Items[HostAlias] = ()
    dns_policy: Annotated[str, word("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")] = "ClusterFirst"
    dns_config: DnsConfig | None = None
    restart_policy: Annotated[str, word("Always", "OnFailure", "Never")] = "Always"
    termination_grace_period_seconds: Count = 30
    active_deadline_seconds: Annotated[int, within(1)] | None = None
    readiness_gates: Items[ReadinessGate] = ()
    service_account_name: Subdomain | None = None
    enable_service_links: bool = True

    @property
    def all_containers(self) -> Iterator[tuple[Loc, Container]]:
        """Init containers and containers, with their locations."""
        for key, items in (("initContainers", self.init_containers), ("containers", self.containers)):
            for number, one in enumerate(items):
                yield (key, number), one

    @property
    def host_ports(self) -> tuple[tuple[str, str, int], ...]:
        """Ports that the pod takes on its node: address, protocol, number."""
        found = []
        for _, container in self.all_containers:
            for port in container.ports:
                number = port.host_port or (port.container_port if self.host_network else None)
                if number:
                    found.append((port.host_ip or "0.0.0.0", port.protocol, number))
        return tuple(found)

    def misfits(self) -> Iterator[Misfit]:
        if not self.containers:
            yield Misfit(("containers",), "must have at least one container")
        yield from self._container_misfits()
        yield from self._port_misfits()
        for misfit in duplicates(self.volumes, lambda volume: (("name",), volume.name), "volume name"):
            yield Misfit(("volumes", *misfit.loc), misfit.message)
        for misfit in duplicates(
            self.topology_spread_constraints,
            lambda one: (("topologyKey",), (one.topology_key, one.when_unsatisfiable)),
            "constraint",
        ):
            yield Misfit(("topologySpreadConstraints", *misfit.loc), misfit.message)
        if self.dns_policy == "None" and not (self.dns_config and self.dns_config.nameservers):
            yield Misfit(("dnsPolicy",), "None requires at least one address in dnsConfig.nameservers")

    def _container_misfits(self) -> Iterator[Misfit]:
        names: set[str] = set()
        for loc, container in self.all_containers:
            if container.name in names:
                yield Misfit((*loc, "name"), f"duplicate container name '{container.name}'")
            names.add(container.name)

    def mount_misfits(self, claims: tuple[str, ...] = ()) -> Iterator[Misfit]:
        """Mounts of volumes that do not exist; `claims` are the volumes of a StatefulSet's claim templates."""
        volumes = (*(volume.name for volume in self.volumes), *claims)
        for loc, container in self.all_containers:
            for number, mount in enumerate(container.volume_mounts):
                if mount.name not in volumes:
                    yield Misfit(
                        (*loc, "volumeMounts", number, "name"), f"unknown volume '{mount.name}'", valid=volumes
                    )

    def _port_misfits(self) -> Iterator[Misfit]:
        seen: set[tuple[str, str, int]] = set()
        for loc, container in self.all_containers:
            for number, port in enumerate(container.ports):
                at: Loc = (*loc, "ports", number)
                if port.host_port is None:
                    continue
                if self.host_network and port.host_port != port.container_port:
                    message = f"must equal containerPort {port.container_port}, as the pod uses hostNetwork"
                    yield Misfit((*at, "hostPort"), message)
                key = (port.host_ip or "", port.protocol, port.host_port)
                if key in seen:
                    message = f"duplicate hostPort {port.host_port}/{port.protocol}; a node has each port only once"
                    yield Misfit((*at, "hostPort"), message)
                seen.add(key)


class PodTemplate(Model):
    """Metadata and spec of the pods that a workload makes."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: PodSpec

    def template_misfits(
        self, selector: LabelSelector | None, policies: tuple[str, ...], claims: tuple[str, ...] = ()
    ) -> Iterator[Misfit]:
        """Checks of a workload's template: its selector must match, and only some restart policies are allowed."""
        if selector is not None:
            if selector.is_empty:
                yield Misfit(
                    ("selector",), "must not be empty; write matchLabels with the template's labels", at_key=True
                )
            elif not selector.matches(self.metadata.labels):
                labels = ", ".join(f"{key}={value}" for key, value in self.metadata.labels.items()) or "no labels"
                message = f"selector {selector} does not match the template's labels ({labels})"
                yield Misfit(("template", "metadata", "labels"), f"{message}; make them equal", at_key=True)
        if self.spec.restart_policy not in policies:
            message = f"must be {either(policies)} here{found(self.spec.restart_policy)}"
            yield Misfit(("template", "spec", "restartPolicy"), message, valid=policies)
        for misfit in self.spec.mount_misfits(claims):
            yield Misfit(("template", "spec", *misfit.loc), misfit.message, misfit.valid)


class Pod(Object):
    """A pod as it is written."""

    spec: PodSpec

    def misfits(self) -> Iterator[Misfit]:
        for misfit in self.spec.mount_misfits():
            yield Misfit(("spec", *misfit.loc), misfit.message, misfit.valid)
