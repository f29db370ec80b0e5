"""A test with pytest: which pods are affected if a node loses a route?

sudo .venv/bin/python -m pytest examples
"""

from collections.abc import Callable

from testbed import Lab


def test_a_lost_route_breaks_only_the_pods_behind_it(lab_up: Callable[..., Lab]) -> None:
    lab = lab_up("topologies/two-nodes.yaml", design="vxlan")
    assert lab.check().is_good

    lab["node1"].run(["ip", "route", "del", "10.244.1.0/24"], check=True)

    failed = {(failure.source, failure.target) for failure in lab.check().failures}
    assert ("client", "web-2") in failed
    assert ("client", "web-1") not in failed
    assert [difference.place for difference in lab.inspect()] == ["node1"]
