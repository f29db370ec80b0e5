"""The worked example in the specification's appendix: the input of each plugin of `dbnet` at ADD, CHECK and DEL.

The plugins' answers are from the appendix, which contradicts itself in three places:

- the network has `routes` in `ipam`, but the requests (01, 07, 12) have not; objects are passed on unchanged, so the
  test expects them;
- the results (02, 03, 05) lack `cniVersion`, which results must have; one without it counts as one of the requested
  version, and is passed on unchanged;
- the namespace is /var/run/netns/blue, as in the result, wherever it was bound.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from testbed.cni.network import network_of_texts
from testbed.cni.request import Attachment
from tests.cni.conftest import CASES, Plugins

BLUE = Attachment(
    "example",
    "/var/run/netns/blue",
    "eth0",
    {
        "mac": "00:11:22:33:44:66",
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1},
    },
)
VERSIONS = json.dumps({"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]})


def appendix(number: int) -> dict[str, Any]:
    found = json.loads((CASES / "cni-spec-appendix" / f"{number:02}.json").read_text())
    assert isinstance(found, dict)
    if found.get("type") == "bridge":
        found["ipam"]["routes"] = [{"dst": "0.0.0.0/0"}]
    return found


@pytest.fixture
def dbnet(plugins: Plugins) -> Plugins:
    answers: Mapping[str, int] = {"bridge": 3, "tuning": 5, "portmap": 5}
    for name, number in answers.items():
        plugins.answering(name, appendix(number), VERSION=f"echo '{VERSIONS}'")
    plugins.write("host-local")
    return plugins


def test_the_requests_are_those_of_the_appendix(dbnet: Plugins) -> None:
    network = network_of_texts([("dbnet", (CASES / "01b-cni-spec-dbnet.conflist").read_text())])
    assert dbnet.runtime.version(network) == "1.1.0"
    dbnet.forget()
    result = dbnet.runtime.add(network, BLUE)
    assert dbnet.called == ["bridge ADD", "tuning ADD", "portmap ADD"]
    assert dbnet.inputs == [appendix(1), appendix(4), appendix(6)]
    assert [str(address) for address in result.addresses_of("eth0")] == ["10.1.0.5"]
    dbnet.forget()
    dbnet.runtime.check(network, BLUE)
    assert dbnet.called == ["bridge CHECK", "tuning CHECK", "portmap CHECK"]
    assert dbnet.inputs == [appendix(7), appendix(8), appendix(9)]
    dbnet.forget()
    dbnet.runtime.delete(network, BLUE)
    assert dbnet.called == ["portmap DEL", "tuning DEL", "bridge DEL"]
    assert dbnet.inputs == [appendix(10), appendix(11), appendix(12)]
