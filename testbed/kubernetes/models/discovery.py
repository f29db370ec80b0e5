"""EndpointSlices."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.scheduling import duplicates
from testbed.kubernetes.models.values import Items, Label, LabelKey, Port, Protocol, Subdomain, subdomain, word
from testbed.spec.problems import Misfit

MAX_ADDRESSES = 100
MAX_ENDPOINTS = 1000


class Conditions(Model):
    """What an endpoint can do; unknown is ready and serving."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Model):
    """A zone or a node."""

    name: str


class Hints(Model):
    """Zones and nodes whose clients should use an endpoint."""

    for_zones: Items[Hint] = ()
    for_nodes: Items[Hint] = ()


class Endpoint(Model):
    """The addresses of one pod."""

    addresses: Items[str]
    conditions: Conditions = Field(default_factory=Conditions)
    hostname: Label | None = None
    node_name: Subdomain | None = None
    zone: str | None = None
    hints: Hints = Field(default_factory=Hints)

    def misfits(self) -> Iterator[Misfit]:
        if not 1 <= len(self.addresses) <= MAX_ADDRESSES:
            yield Misfit(("addresses",), f"must have 1 to {MAX_ADDRESSES} addresses, found {len(self.addresses)}")


class EndpointPort(Model):
    """A port of all endpoints of a slice."""

    name: str = ""
    port: Port | None = None
    protocol: Protocol = "TCP"
    app_protocol: LabelKey | None = None


class EndpointSlice(Object):
    """An EndpointSlice."""

    address_type: Annotated[str, word("IPv4", "IPv6", "FQDN")]
    endpoints: Items[Endpoint] = ()
    ports: Items[EndpointPort] = ()

    def misfits(self) -> Iterator[Misfit]:
        if len(self.endpoints) > MAX_ENDPOINTS:
            yield Misfit(("endpoints",), f"can have at most {MAX_ENDPOINTS} endpoints, found {len(self.endpoints)}")
        for misfit in duplicates(self.ports, lambda port: (("name",), port.name), "port name"):
            yield Misfit(("ports", *misfit.loc), misfit.message)
        for number, endpoint in enumerate(self.endpoints):
            for index, text in enumerate(endpoint.addresses):
                if not _is_of_type(text, self.address_type):
                    message = f"must be an address of addressType {self.address_type}, not '{text}'"
                    yield Misfit(("endpoints", number, "addresses", index), message)


def _is_of_type(text: str, kind: str) -> bool:
    try:
        if kind == "FQDN":
            return bool(subdomain(text))
        return f"IPv{ipaddress.ip_address(text).version}" == kind
    except ValueError:
        return False
