import json

from testbed.designs import DESIGNS
from testbed.plan.serialise import as_data
from testbed.spec.topology import Topology


def test_a_plan_survives_json(two_nodes: Topology) -> None:
    plan = DESIGNS["vxlan"].plan(two_nodes)
    data = json.loads(json.dumps(as_data(plan)))
    assert (data["type"], data["design"], data["pod_mtu"]) == ("plan", "vxlan", 1450)
    assert [space["name"] for space in data["spaces"]] == [space.name for space in plan.spaces]
    node1 = data["spaces"][2]
    assert node1["fdb"] == [
        {
            "type": "fdbentry",
            "mac": plan.device("node2", "flannel.1").mac,
            "dev": "flannel.1",
            "remote": "192.168.56.2",
        }
    ]
