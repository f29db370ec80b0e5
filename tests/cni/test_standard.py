"""What is known of the standard plugins: what they require, types of values, ranges that nodes share."""

import json
from itertools import chain as chained
from pathlib import Path
from typing import Any

import pytest

from testbed.cni.network import example_network, network_of_texts, read_network
from testbed.cni.standard import STANDARD, features_of, programs_of, stays_on_node
from testbed.designs import CATALOGUE, design_of
from testbed.designs.fitting import check_design
from testbed.experiment.needs import UNAVAILABLE, left_out, need_for_lab
from testbed.kernel.features import FEATURES
from testbed.kernel.lacking import MachineLacks, PluginNowhere
from testbed.kernel.programs import DEBIAN_PLUGINS, PROGRAMS
from testbed.spec.load import Loaded, load_design, load_topology
from testbed.spec.problems import Problem, SpecError
from testbed.spec.render import render_all
from testbed.spec.topology import Topology
from tests.cli.test_cli import golden
from tests.cni.conftest import DEBIAN, chain, needs_plugins


def written(folder: Path, text: str, name: str = "net.conflist") -> Path:
    (folder / name).write_text(text)
    return folder / name


def listed(*plugins: dict[str, Any]) -> str:
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}, indent=2)


def refused(file: Path, topology: Loaded[Topology]) -> tuple[Problem, ...]:
    """The problems of a network on a topology; none if it fits."""
    try:
        check_design(design_of(load_design(file, CATALOGUE)), topology)
    except SpecError as error:
        return error.problems
    return ()


def test_the_standard_plugins_require_known_features_and_programs() -> None:
    assert set(STANDARD) == DEBIAN_PLUGINS | {"flannel"}
    for plugin in STANDARD.values():
        assert {*plugin.features, *chained.from_iterable(plugin.features_by_key.values())} <= set(FEATURES)
        assert {*plugin.programs, *chained.from_iterable(plugin.programs_by_key.values())} <= set(PROGRAMS)


@pytest.mark.parametrize(
    ("plugin", "features"),
    [
        ({"type": "ipvlan"}, {"ipvlan"}),
        ({"type": "vlan", "vlanId": 5}, {"vlan"}),
        ({"type": "bridge"}, {"veth", "bridge"}),
        ({"type": "bridge", "vlan": 0}, {"veth", "bridge"}),
        ({"type": "bridge", "vlan": 5}, {"veth", "bridge", "bridge-vlan"}),
        ({"type": "flannel", "delegate": {"type": "macvlan"}}, {"macvlan"}),
        ({"type": "mine"}, set()),
    ],
)
def test_features_follow_from_plugins_and_their_keys(plugin: dict[str, Any], features: set[str]) -> None:
    assert set(features_of(network_of_texts([("f", listed(plugin))]))) == features


def test_features_follow_from_arguments_of_pods() -> None:
    network = chain("bandwidth")
    assert features_of(network) == ()
    assert features_of(network, [{"bandwidth": {"egressRate": 1000}}]) == ("tbf", "ifb")


def test_masquerading_calls_iptables() -> None:
    network = network_of_texts([("f", listed({"type": "bridge", "ipMasq": True}))])
    assert programs_of(network) == ("iptables", "ip6tables")


@needs_plugins
def test_what_standard_plugins_leave_behind_goes_with_the_node(tmp_path: Path) -> None:
    network = network_of_texts([("f", listed({"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}))])
    assert stays_on_node(network, [DEBIAN])
    (tmp_path / "portmap").write_text("#!/bin/sh")
    (tmp_path / "portmap").chmod(0o755)
    assert not stays_on_node(network, [str(tmp_path), DEBIAN])
    assert not stays_on_node(chain("mine"), [DEBIAN])


def test_values_in_quotes_are_located_as_written(tmp_path: Path) -> None:
    text = (
        '{"cniVersion": "1.0.0", "name": "net", "plugins": [\n'
        '  {"type": "bridge", "mtu": "{{ mtu }}", "isGateway": "true", "vlan": true},\n'
        '  {"type": "flannel", "delegate": {"hairpinMode": 1}}]}'
    )
    with pytest.raises(SpecError) as error:
        read_network(written(tmp_path, text))
    shown = render_all(error.value.problems).replace(str(tmp_path), "FOLDER")
    golden("cni-quoted", f"{shown}\n")


def test_text_without_quotes_is_located_as_written(tmp_path: Path) -> None:
    text = '{"name": "net", "type": "mine", "cniVersion": "1.0.0",\n "x": {{ node.pod_cidr }}}'
    with pytest.raises(SpecError) as error:
        read_network(written(tmp_path, text))
    (problem,) = error.value.problems
    assert problem.message == 'text requires double quotes; write "10.244.0.0/24"'
    assert (problem.line, problem.column, problem.excerpt) == (2, 7, ' "x": {{ node.pod_cidr }}}')


HABITS = {
    "Go template": '{"name": "net", "type": "ptp", "ipam": {"type": "host-local", "subnet": "{{ .PodCIDR }}"}}',
    "Go loop": '{"name": "net", "type": "ptp", "x": [{{range $i, $range := .Ranges}}"{{$range}}"{{end}}]}',
    "shell": '{"name": "net", "type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "${POD_CIDR}"}]]}}',
    "installer": '{"name": "net", "type": "calico", "mtu": __CNI_MTU__}',
    "Ansible": '{"name": "net", "type": "ptp", "ipam": {"type": "host-local", "subnet": "{{ kube_pods_subnet }}"}}',
    "no subnet": '{"name": "net", "type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"gateway": "::"}]]}}',
}


def test_templates_of_other_tools_are_named(tmp_path: Path) -> None:
    shown = []
    for text in HABITS.values():
        with pytest.raises(SpecError) as error:
            read_network(written(tmp_path, text))
        shown.append(render_all(error.value.problems).replace(str(tmp_path), "FOLDER"))
    golden("cni-habits", "\n\n".join(shown) + "\n")


def test_a_template_is_valid_if_some_topology_allows_it(tmp_path: Path, repository: Path) -> None:
    both = "{{ node.pod_cidrs[0] }} {{ node.pod_cidrs[1] }} {{ node.addresses[1] }}"
    file = written(tmp_path, listed({"type": "mine", "x": both}))
    assert refused(file, load_topology(repository / "topologies/dual-stack.yaml")) == ()
    (problem,) = refused(file, load_topology(repository / "topologies/two-nodes.yaml"))
    assert problem.file == str(file)
    assert problem.excerpt[problem.column - 1 :].startswith("[1]")
    assert problem.message.endswith("the list has no element 1; the pod ranges of the cluster: 10.244.0.0/16")


def test_a_template_that_no_topology_allows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the list has no element 2"):
        read_network(written(tmp_path, listed({"type": "mine", "x": "{{ node.pod_cidrs[2] }}"})))
    with pytest.raises(SpecError, match="trailing ','"):
        read_network(written(tmp_path, '{"name": "net", "mtu": {{ mtu }},}'))


def test_a_range_that_two_nodes_share_is_refused_with_the_fix(tmp_path: Path, repository: Path) -> None:
    two = load_topology(repository / "topologies/two-nodes.yaml")
    ranges = [[{"subnet": "10.85.0.0/16"}], [{"subnet": "1100:200::/24"}]]
    texts = (
        listed({"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}}),
        listed({"type": "bridge", "ipam": {"type": "host-local", "ranges": ranges}}),
        listed({"type": "bridge", "ipam": {"type": "host-local", "subnet": "{{ cluster.pod_cidr }}"}}),
        listed({"type": "macvlan", "ipam": {"type": "static", "addresses": [{"address": "10.10.0.1/24"}]}}),
        listed({"type": "macvlan", "ipam": {"type": "dhcp"}}),
    )
    problems = [refused(written(tmp_path, text), two) for text in texts]
    golden("cni-shared-range", "\n\n".join(map(render_all, problems)).replace(str(tmp_path), "FOLDER") + "\n")


def test_ranges_that_do_not_overlap_may_be_fixed(tmp_path: Path, repository: Path) -> None:
    two = load_topology(repository / "topologies/two-nodes.yaml")
    ipam = {"type": "host-local", "subnet": "10.1.0.0/16", "rangeStart": "10.1.{{ node.index }}.2"}
    ipam["rangeEnd"] = "10.1.{{ node.index }}.250"
    assert refused(written(tmp_path, listed({"type": "macvlan", "ipam": ipam})), two) == ()
    one = tmp_path / "one.yaml"
    one.write_text(
        "name: one\ncluster: {pod_cidr: 10.244.0.0/16}\nfabric: {subnet: 192.168.56.0/24}\n"
        "nodes: {node1: {pods: [a, b]}, node2: {}}\n"
    )
    fixed = listed({"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}})
    assert refused(written(tmp_path, fixed), load_topology(one)) == ()


@needs_plugins
def test_plugins_that_need_their_agent_are_missing_and_the_preset_is_named(tmp_path: Path, two_nodes: Topology) -> None:
    texts = []
    for plugin in ("calico", "cilium-cni", "weave-net", "multus", "ovn-k8s-cni-overlay", "acme-net"):
        design = design_of(load_design(written(tmp_path, listed({"type": plugin})), CATALOGUE))
        with pytest.raises(MachineLacks) as lacks:
            need_for_lab(design, two_nodes)
        texts += [line for line in lacks.value.lines if "plugin" in line]
        state, reason = left_out(design, two_nodes, lambda *_: ()) or ("", "")
        assert state == UNAVAILABLE
        assert f"the CNI plugin {plugin}" in reason
    golden("cni-agents", "\n".join(texts) + "\n")


@needs_plugins
def test_a_misspelt_plugin_is_a_mistake(tmp_path: Path, two_nodes: Topology) -> None:
    design = design_of(load_design(written(tmp_path, listed({"type": "brigde"})), CATALOGUE))
    with pytest.raises(PluginNowhere, match="did you mean 'bridge'"):
        need_for_lab(design, two_nodes)


def test_flannels_configuration_gets_flannels_transport(tmp_path: Path) -> None:
    file = written(tmp_path, listed({"type": "flannel", "delegate": {"isDefaultGateway": True}}))
    (tmp_path / "gw.yaml").write_text("cni: net.conflist\ntransport: host-routes\n")
    for path, transport in ((file, "vxlan"), (tmp_path / "gw.yaml", "host-routes")):
        design = design_of(load_design(path, CATALOGUE))
        assert (design.transport.name, design.name) == (transport, "net")
        assert design.plugins is not None
        assert "flannel" in example_network(design.plugins.texts).programs
