"""Configurations of networks: what is valid, and the errors of what is not."""

import json
from pathlib import Path

import pytest

from testbed.cni.calls import CniError, PluginMissing
from testbed.cni.network import Network, network_of_texts, read_network
from testbed.cni.template import EXAMPLE, filled
from testbed.spec.problems import Problem, SpecError
from testbed.spec.render import render_all
from tests.cni.conftest import BLUE, CASES, Plugins, chain, network, shipped


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as error:
        network_of_texts([("net.conflist", text)])
    return error.value.problems


def load(path: Path) -> Network:
    return network_of_texts(read_network(path)[1])


def test_net_01_the_newest_common_version_is_used(plugins: Plugins) -> None:
    for name, versions in (("old", ["0.3.1", "0.4.0"]), ("new", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])):
        plugins.write(name, VERSION=f"echo '{json.dumps({'cniVersion': '0.4.0', 'supportedVersions': versions})}'")
    several = {"cniVersion": "0.3.1", "cniVersions": ["0.4.0", "1.0.0", "1.1.0", "9.9.9"]}
    assert plugins.runtime.version(chain("new", **several)) == "1.1.0"
    assert plugins.runtime.version(chain("new", "old", **several)) == "0.4.0"


def test_net_01_a_network_without_a_supported_version_is_refused(plugins: Plugins) -> None:
    (problem,) = problems_of('{"cniVersion": "2.0.0", "cniVersions": ["3.0.0"], "name": "net", "plugins": []}')
    assert "2.0.0, 3.0.0" in problem.message
    assert "1.1.0" in problem.valid
    plugins.write("old", VERSION='echo \'{"cniVersion": "0.2.0", "supportedVersions": ["0.2.0"]}\'')
    with pytest.raises(CniError, match=r"no common CNI version.*old: 0\.2\.0"):
        plugins.runtime.version(chain("old", cniVersions=["0.4.0", "1.0.0"]))


@pytest.mark.parametrize("name", ["net", "0net", "Net_1.2-x"])
def test_net_02_valid_names_are_accepted(name: str) -> None:
    assert chain("p", name=name).name == name


@pytest.mark.parametrize("name", ["", "-net", ".net", "a net", "net/x", "nét"])
def test_net_02_other_names_are_refused(name: str) -> None:
    (problem,) = problems_of(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "p"}]}))
    assert (problem.where, problem.column) == ("name", 33)


def test_net_02_a_missing_name_is_an_error() -> None:
    (problem,) = problems_of('{"plugins": [{"type": "p"}]}')
    assert "'name' is missing" in problem.message


def test_net_03_unknown_keys_are_passed_through(plugins: Plugins) -> None:
    own = {"type": "p", "keyA": ["some more", {"deep": None}], "dns": {"nameservers": ["10.1.0.1"]}, "x": 1.5}
    plugins.answering("p", {"cniVersion": "1.0.0"})
    plugins.runtime.add(network(plugins=[own], unknown="of the list"), BLUE)
    assert plugins.inputs == [{**own, "cniVersion": "1.0.0", "name": "net"}]


@pytest.mark.parametrize("key", ["runtimeConfig", "args", "prevResult", "cni.dev/valid-attachments", "cni.dev/mine"])
def test_net_04_keys_reserved_for_the_runtime_are_refused(key: str) -> None:
    (problem,) = problems_of(f'{{"name": "net",\n "plugins": [{{"type": "p",\n  "{key}": {{}}}}]}}')
    assert (problem.line, problem.column) == (3, 3)
    assert "is reserved" in problem.message


def test_net_05_a_missing_program_is_reported_before_any_call(plugins: Plugins) -> None:
    plugins.answering("there", {"cniVersion": "1.0.0"})
    (plugins.folder / "no-program").write_text("not executable")
    with pytest.raises(PluginMissing) as error:
        plugins.runtime.add(chain("there", "nowhere", "no-program"), BLUE)
    assert error.value.names == ("nowhere", "no-program")
    assert str(plugins.folder) in str(error.value)
    assert plugins.called == []
    assert plugins.runtime.store.all("net") == ()


def test_net_05_the_ipam_plugin_is_one_of_the_programs(plugins: Plugins) -> None:
    plugins.answering("p", {"cniVersion": "1.0.0"})
    net = network(plugins=[{"type": "p", "ipam": {"type": "nowhere"}}])
    with pytest.raises(PluginMissing) as error:
        plugins.runtime.add(net, BLUE)
    assert error.value.names == ("nowhere",)
    assert plugins.called == []
    plugins.write("nowhere")
    plugins.runtime.add(net, BLUE)
    assert plugins.called == ["p ADD"]  # The plugin itself calls the IPAM plugin.


@pytest.mark.parametrize("text", ['{"name": "net", "plugins": [{}]}', '{"name": "net", "plugins": [{"bridge": "b"}]}'])
def test_net_06_a_missing_type_is_an_error(text: str) -> None:
    (problem,) = problems_of(text)
    assert "'type' is missing" in problem.message
    assert problem.where == "plugins[0]"


@pytest.mark.parametrize("kind", ['""', '"../bridge"', "7"])
def test_net_06_a_type_is_the_name_of_a_program(kind: str) -> None:
    assert problems_of(f'{{"name": "net", "plugins": [{{"type": {kind}}}]}}')


@pytest.mark.parametrize("version", [None, ""])
def test_net_07_no_version_means_0_1_0(version: str | None, plugins: Plugins) -> None:
    keys = {"name": "net", "plugins": [{"type": "p"}]} | ({} if version is None else {"cniVersion": version})
    found = network_of_texts([("net.conflist", json.dumps(keys))])
    plugins.answering("p", {"ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]}})
    result = plugins.runtime.add(found, BLUE)
    assert plugins.inputs[0]["cniVersion"] == "0.1.0"
    assert [str(address) for address in result.addresses_of("eth0")] == ["10.1.0.5"]


def test_net_08_a_single_plugin_is_a_list_of_one(plugins: Plugins) -> None:
    found = shipped("02-bridge-hairpin-ipmasq.conf")
    assert (found.name, found.versions, [plugin.type for plugin in found.plugins]) == ("mynet", ("0.3.1",), ["bridge"])
    plugins.answering("bridge", {"cniVersion": "0.3.1"})
    plugins.write("host-local")
    plugins.runtime.add(found, BLUE)
    assert plugins.inputs == [json.loads((CASES / "02-bridge-hairpin-ipmasq.conf").read_text())]


def test_net_09_a_published_mistake_is_located() -> None:
    file = CASES / "05-bridge-disabled-interface.MALFORMED.conf"
    with pytest.raises(SpecError) as error:
        read_network(file)
    said = render_all(error.value.problems)
    assert said == (
        f"{file}:6:40: trailing ',' before the '}}'; remove it\n"
        '    6 |     "disableContainerInterface": "true",\n'
        "      |                                        ^"
    )


WRONG = [
    ("", 0, 0, "empty"),
    ("[]", 1, 1, "an object"),
    ('{"name": "net"', 1, 1, "not closed"),
    ("{'name': 1}", 1, 2, "a key in double quotes"),
    ("{name: 1}", 1, 2, '"name"'),
    ('{"name" "net"}', 1, 2, "expected ':'"),
    ('{"name": True}', 1, 10, "write true"),
    ('{"name": "a"\n "plugins": []}', 2, 2, "expected ',' or the '}'"),
    ('{"name": "a\nb"}', 1, 10, "not closed"),
    ('{"name": "a", "name": "b", "type": "p"}', 1, 15, "appears twice"),
    ('{"name": "net", "plugins": {"type": "p"}}', 1, 28, "a list of plugins"),
    ('{"name": "net", "plugins": ["bridge"]}', 1, 29, "an object with its `type`"),
    ('{"name": "net", "type": "p", "capabilities": {"mac": 1}}', 1, 54, "true or false"),
    ('{"name": "net", "cniVersion": 1.0, "type": "p"}', 1, 31, "three numbers in quotes"),
    ('{"name": "net", "type": "p"} x', 1, 30, "text after the end"),
]


@pytest.mark.parametrize(("text", "line", "column", "what"), WRONG, ids=[what for *_, what in WRONG])
def test_net_09_a_malformed_file_says_where_and_what(text: str, line: int, column: int, what: str) -> None:
    problem = problems_of(text)[0]
    assert (problem.line, problem.column) == (line, column)
    assert what in problem.message


def test_net_10_subfolders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "10-net.conf").write_text('{"name": "net", "type": "p"}')
    with pytest.raises(SpecError):
        read_network(tmp_path)
    (tmp_path / "20-b.conflist").write_text('{"name": "second", "plugins": [{"type": "p"}]}')
    (tmp_path / "10-a.conf").write_text('{"name": "first", "type": "p"}')
    (tmp_path / "00-notes.txt").write_text("not a configuration")
    assert load(tmp_path).name == "first"


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("false", False), ('"true"', True), ('"false"', False)])
def test_net_11_disable_check_is_a_boolean_or_its_word(value: str, meant: bool) -> None:
    text = f'{{"name": "net", "plugins": [{{"type": "p"}}], "disableCheck": {value}}}'
    assert network_of_texts([("net.conflist", text)]).disable_check is meant


@pytest.mark.parametrize("value", ['"maybe"', "1", "null", "[]"])
def test_net_11_anything_else_is_an_error(value: str) -> None:
    (problem,) = problems_of(f'{{"name": "net", "plugins": [{{"type": "p"}}], "disableCheck": {value}}}')
    assert problem.where == "disableCheck"


def test_net_12_only_inlined_plugins_requires_plugins(tmp_path: Path) -> None:
    for text in ('{"name": "net"', '{"name": "net", "plugins": []'):
        assert problems_of(f'{text}, "loadOnlyInlinedPlugins": true}}')


def test_net_12_plugins_in_the_networks_folder_are_appended(tmp_path: Path) -> None:
    conflist = tmp_path / "10-net.conflist"
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "b.conf").write_text('{"type": "second", "capabilities": {"mac": true}}')
    (tmp_path / "net" / "c.conf").write_text('{"type": "third"}')
    conflist.write_text('{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "first"}]}')
    assert [plugin.type for plugin in load(conflist).plugins] == ["first", "second", "third"]
    conflist.write_text('{"cniVersion": "1.1.0", "name": "net", "loadOnlyInlinedPlugins": false}')
    assert [plugin.type for plugin in load(conflist).plugins] == ["second", "third"]
    conflist.write_text(
        '{"cniVersion": "1.1.0", "name": "net", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "first"}]}'
    )
    assert [plugin.type for plugin in load(conflist).plugins] == ["first"]
    (tmp_path / "net" / "b.conf").write_text('{"type": 1}')
    conflist.write_text('{"cniVersion": "1.1.0", "name": "net"}')
    with pytest.raises(SpecError) as error:
        read_network(conflist)
    assert [Path(problem.file).name for problem in error.value.problems] == ["b.conf"]


def test_a_network_without_plugins_is_an_error() -> None:
    assert "no plugin" in problems_of('{"name": "net"}')[0].message


def test_a_template_is_filled_for_each_node() -> None:
    text = '{"a": "{{ node.pod_cidr }}", "b": {{ mtu }}, "c": "{{ node.name }}/{{ node.index }}"}\n'
    assert filled(text, "t", EXAMPLE) == '{"a": "10.244.0.0/24", "b": 1500, "c": "node1/0"}\n'
    loop = "{% for cidr in node.pod_cidrs %}[{{ cidr }}]{% endfor %}"
    assert filled(loop, "t", EXAMPLE) == "[10.244.0.0/24]"


@pytest.mark.parametrize(
    ("text", "line", "column", "nearest"),
    [
        ('{\n "a": "{{ node.pod_cdr }}"}', 2, 16, "pod_cidr"),
        ('{"mtuu": 1,\n "a": {{ mtuu }}}', 2, 10, "mtu"),
        ('{"a": "{{ cluster.pod_cidr }}",\n\n "b": "{{ nodes.name }}"}', 3, 11, "node"),
    ],
)
def test_an_unknown_name_in_a_template_is_located(text: str, line: int, column: int, nearest: str) -> None:
    with pytest.raises(SpecError) as error:
        filled(text, "t.conflist", EXAMPLE)
    (problem,) = error.value.problems
    assert (problem.line, problem.column, problem.nearest) == (line, column, nearest)


def test_a_broken_template_is_located() -> None:
    with pytest.raises(SpecError) as error:
        filled('{\n "a": {{ mtu }\n}', "t.conflist", EXAMPLE)
    assert error.value.problems[0].line == 2
