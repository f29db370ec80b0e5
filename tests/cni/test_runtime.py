"""Calls of plugins by the runtime: their order, their input, and what it does with their answers."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.cni.calls import CniError, PluginFailed, PluginHung
from testbed.cni.request import Attachment, BadAttachment
from testbed.cni.result import NoResult, parsed, written
from testbed.cni.runtime import NotSupported, Unchecked
from tests.cni.conftest import BLUE, Plugins, chain, network

ERROR = """cat <<'END'
{"cniVersion": "1.0.0", "code": 11, "msg": "not yet", "details": "the pool is being made"}
END
echo what a log says >&2
exit 1"""


def result(*interfaces: str, version: str = "1.0.0") -> dict[str, Any]:
    return {
        "cniVersion": version,
        "interfaces": [{"name": name, "sandbox": "/run/netns/blue"} for name in interfaces],
        "ips": [{"address": "10.1.0.5/16", "interface": 0}],
    }


def test_exec_02_each_plugin_gets_the_result_of_the_previous_one(plugins: Plugins) -> None:
    plugins.answering("first", result("eth0"))
    plugins.answering("second", result("eth0", "eth1"))
    plugins.answering("third", result("eth0", "eth2"))
    made = plugins.runtime.add(chain("first", "second", "third"), BLUE)
    assert plugins.called == ["first ADD", "second ADD", "third ADD"]
    assert [config.get("prevResult") for config in plugins.inputs] == [None, result("eth0"), result("eth0", "eth1")]
    assert "prevResult" not in plugins.inputs[0]
    assert [item.name for item in made.interfaces] == ["eth0", "eth2"]


def test_exec_03_a_failure_stops_the_chain_and_nothing_is_stored(plugins: Plugins) -> None:
    plugins.answering("first", result("eth0"))
    plugins.write("second", ADD=ERROR)
    plugins.answering("third", result("eth0"))
    with pytest.raises(PluginFailed):
        plugins.runtime.add(chain("first", "second", "third"), BLUE)
    assert plugins.called == ["first ADD", "second ADD"]
    assert [path.name for path in (plugins.folder / "results").iterdir() if not path.name.startswith(".lock")] == []


def test_exec_04_del_runs_in_reverse_with_the_final_result(plugins: Plugins) -> None:
    plugins.answering("first", result("eth0"))
    plugins.answering("second", result("eth0", "eth9"))
    plugins.runtime.add(chain("first", "second"), BLUE)
    plugins.forget()
    plugins.runtime.delete(chain("first", "second"), BLUE)
    assert plugins.called == ["second DEL", "first DEL"]
    assert [config["prevResult"] for config in plugins.inputs] == [result("eth0", "eth9")] * 2


def test_exec_04_before_0_4_0_del_gets_no_result(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0", version="0.3.1"))
    old = chain("p", cniVersion="0.3.1")
    plugins.runtime.add(old, BLUE)
    plugins.runtime.delete(old, BLUE)
    assert "prevResult" not in plugins.inputs[-1]


def test_exec_05_del_follows_a_failed_add_and_may_be_repeated(plugins: Plugins) -> None:
    plugins.answering("first", result("eth0"))
    plugins.write("second", ADD=ERROR)
    net = chain("first", "second")
    with pytest.raises(PluginFailed):
        plugins.runtime.add(net, BLUE)
    plugins.forget()
    for _ in range(2):
        plugins.runtime.delete(net, BLUE)
    assert plugins.called == ["second DEL", "first DEL"] * 2
    assert all("prevResult" not in config for config in plugins.inputs)


def test_exec_05_a_failed_del_can_be_repeated(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"), DEL=ERROR)
    plugins.runtime.add(chain("p"), BLUE)
    with pytest.raises(PluginFailed):
        plugins.runtime.delete(chain("p"), BLUE)
    plugins.answering("p", result("eth0"))
    plugins.runtime.delete(chain("p"), BLUE)
    assert plugins.inputs[-1]["prevResult"] == result("eth0")
    assert plugins.runtime.store.all("net") == ()


def test_exec_07_check_runs_in_order_with_the_final_result(plugins: Plugins) -> None:
    plugins.answering("first", result("eth0"))
    plugins.answering("second", result("eth0", "eth9"))
    net = chain("first", "second")
    with pytest.raises(Unchecked):
        plugins.runtime.check(net, BLUE)
    plugins.runtime.add(net, BLUE)
    plugins.forget()
    plugins.runtime.check(net, BLUE)
    assert plugins.called == ["first CHECK", "second CHECK"]
    assert [config["prevResult"] for config in plugins.inputs] == [result("eth0", "eth9")] * 2
    plugins.runtime.delete(net, BLUE)
    plugins.forget()
    with pytest.raises(Unchecked):
        plugins.runtime.check(net, BLUE)
    assert plugins.called == []


def test_exec_07_check_is_not_called_if_disabled_or_unsupported(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0", version="0.3.1"))
    old = chain("p", cniVersion="0.3.1")
    plugins.runtime.add(old, BLUE)
    with pytest.raises(NotSupported, match=r"0\.4\.0"):
        plugins.runtime.check(old, BLUE)
    with pytest.raises(Unchecked):
        plugins.runtime.check(chain("p", disableCheck="true"), BLUE)
    assert plugins.called == ["p ADD"]


def test_exec_09_the_same_attachment_is_not_made_twice(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"))
    net = chain("p")
    plugins.runtime.add(net, BLUE)
    with pytest.raises(CniError, match="already"):
        plugins.runtime.add(net, BLUE)
    assert plugins.called == ["p ADD"]
    plugins.runtime.add(net, replace(BLUE, ifname="eth1"))
    plugins.runtime.delete(net, BLUE)
    plugins.runtime.add(net, BLUE)
    assert plugins.called == ["p ADD", "p ADD", "p DEL", "p ADD"]


def test_exec_10_the_result_outlives_the_runtime(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"))
    plugins.runtime.add(chain("p"), BLUE)
    later = Plugins(plugins.folder)
    later.runtime.check(chain("p"), BLUE)
    assert later.inputs[-1]["prevResult"] == result("eth0")
    kept = json.loads((plugins.folder / "results" / "net-blue-eth0").read_text())
    assert (kept["containerId"], kept["ifName"], kept["networkName"]) == ("blue", "eth0", "net")
    assert kept["result"] == result("eth0")


def test_exec_10_a_damaged_record_counts_as_missing(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"))
    plugins.runtime.add(chain("p"), BLUE)
    (plugins.folder / "results" / "net-blue-eth0").write_text('{"kind": "cniCacheV1", "containerId"')
    plugins.runtime.delete(chain("p"), BLUE)
    assert "prevResult" not in plugins.inputs[-1]


def test_exec_10_a_record_without_a_result_counts_as_missing(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"))
    plugins.runtime.add(chain("p"), BLUE)
    file = plugins.folder / "results" / "net-blue-eth0"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"result": {"ips": [{}]}}))
    with pytest.raises(Unchecked):
        plugins.runtime.check(chain("p"), BLUE)
    plugins.runtime.delete(chain("p"), BLUE)
    assert "prevResult" not in plugins.inputs[-1]
    assert not file.exists()


def test_exec_11_requests_are_derived(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"))
    plugins.answering("q", result("eth0"))
    net = network(
        plugins=[
            {"type": "p", "name": "another", "capabilities": {"mac": True, "portMappings": False, "ips": True}},
            {"type": "q", "capabilities": {"portMappings": False}},
            {"type": "q"},
        ]
    )
    plugins.runtime.add(net, replace(BLUE, capabilities={"mac": "00:11:22:33:44:66", "portMappings": []}))
    first, second, third = plugins.inputs
    assert first == {
        "type": "p",
        "name": "net",
        "cniVersion": "1.0.0",
        "runtimeConfig": {"mac": "00:11:22:33:44:66"},
    }
    for config in (second, third):
        assert {"capabilities", "runtimeConfig"}.isdisjoint(config)


def test_exec_12_operations_on_one_container_run_one_at_a_time(plugins: Plugins) -> None:
    note = plugins.folder / "note"
    body = f"echo begin >> {note}; sleep 0.2; echo end >> {note}; echo '{json.dumps(result('eth0'))}'"
    plugins.write("p", ADD=body, DEL=body)
    for other, together in ((BLUE, False), (replace(BLUE, container="green"), True)):
        note.unlink(missing_ok=True)
        errors = _at_once(
            lambda: plugins.runtime.add(chain("p"), BLUE),
            # Another runtime, as another process would have one.
            lambda other=other: Plugins(plugins.folder).runtime.delete(chain("p"), other),
        )
        assert errors == []
        assert (note.read_text().split() == ["begin", "begin", "end", "end"]) is together
        plugins.runtime.delete(chain("p"), BLUE)


def test_exec_12_no_attachment_begins_during_gc(plugins: Plugins) -> None:
    note = plugins.folder / "note"
    slow = f"echo begin >> {note}; sleep 0.2; echo end >> {note}; echo '{json.dumps(result('eth0', version='1.1.0'))}'"
    plugins.write("p", ADD=slow, GC=slow)
    net = chain("p", cniVersion="1.1.0")
    errors = _at_once(
        lambda: plugins.runtime.add(net, BLUE), lambda: Plugins(plugins.folder).runtime.collect(net, [BLUE])
    )
    assert errors == []
    assert note.read_text().split() == ["begin", "end", "begin", "end"]


def test_exec_12_no_attachment_begins_while_stale_ones_are_removed(plugins: Plugins) -> None:
    note = plugins.folder / "note"
    said = json.dumps(result("eth0", version="1.1.0"))
    bodies = {
        verb: f"echo {verb} >> {note}; sleep 0.2; echo {verb} >> {note}; echo '{said}'" for verb in ("ADD", "DEL", "GC")
    }
    plugins.write("p", **bodies)
    net = chain("p", cniVersion="1.1.0")
    plugins.runtime.add(net, replace(BLUE, container="stale"))
    note.unlink()
    with ThreadPoolExecutor() as pool:
        collecting = pool.submit(plugins.runtime.collect, net, [BLUE])
        while not note.exists():
            time.sleep(0.01)
        Plugins(plugins.folder).runtime.add(net, BLUE)
        assert collecting.result() == ()
    assert note.read_text().split() == ["DEL", "DEL", "GC", "GC", "ADD", "ADD"]


def _at_once(*works: Any) -> list[BaseException]:
    errors: list[BaseException] = []

    def carry_out(work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=carry_out, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_exec_13_the_environment_describes_the_call(plugins: Plugins) -> None:
    plugins.answering("p", result("eth0"))
    plugins.runtime.folders = [str(plugins.folder), "/opt/cni/bin"]
    plugins.runtime.add(chain("p"), replace(BLUE, arguments=(("K8S_POD_NAME", "web-1"), ("IgnoreUnknown", "1"))))
    assert plugins.environments == [
        {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "blue",
            "CNI_NETNS": "/run/netns/blue",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "K8S_POD_NAME=web-1;IgnoreUnknown=1",
            "CNI_PATH": f"{plugins.folder}:/opt/cni/bin",
        }
    ]


@pytest.mark.parametrize("container", ["a", "A.b_c-d", "0" * 64])
@pytest.mark.parametrize("ifname", ["eth0", "a", "x" * 15, "..."])
def test_exec_13_valid_names_are_accepted(container: str, ifname: str) -> None:
    assert Attachment(container, "", ifname).ifname == ifname


@pytest.mark.parametrize("container", ["", "-a", ".a", "a b", "a/b", "ä"])
def test_exec_13_invalid_container_ids_are_refused(container: str) -> None:
    with pytest.raises(BadAttachment, match="container"):
        Attachment(container, "", "eth0")


@pytest.mark.parametrize("ifname", ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "x" * 16])
def test_exec_13_invalid_interface_names_are_refused(ifname: str) -> None:
    with pytest.raises(BadAttachment, match="interface"):
        Attachment("a", "", ifname)


def test_exec_14_gc_lists_valid_attachments_and_continues_after_errors(plugins: Plugins) -> None:
    plugins.answering("first", result("eth0", version="1.1.0"), GC=ERROR)
    plugins.answering("second", result("eth0", version="1.1.0"))
    net, green = chain("first", "second", cniVersion="1.1.0"), replace(BLUE, container="green")
    plugins.runtime.add(net, BLUE)
    plugins.runtime.add(net, green)
    plugins.forget()
    (error,) = plugins.runtime.collect(net, [green])
    assert "not yet" in str(error)
    # A stale attachment that is still stored gets its DEL first, without a namespace.
    assert plugins.called == ["second DEL", "first DEL", "first GC", "second GC"]
    assert plugins.environments[0]["CNI_NETNS"] == ""
    valid = [{"containerID": "green", "ifname": "eth0"}]
    assert [config["cni.dev/valid-attachments"] for config in plugins.inputs[2:]] == [valid] * 2
    assert {"prevResult", "runtimeConfig"}.isdisjoint(plugins.inputs[3])
    assert "CNI_CONTAINERID" not in plugins.environments[3]


def test_exec_14_gc_is_not_called_if_disabled_or_unsupported(plugins: Plugins) -> None:
    plugins.write("p")
    assert plugins.runtime.collect(chain("p", cniVersion="1.1.0", disableGC=True), []) == ()
    assert plugins.runtime.collect(chain("p", cniVersion="1.0.0"), []) == ()
    assert plugins.called == []


@pytest.mark.parametrize("code", [50, 51])
def test_exec_15_status_reports_whether_add_can_be_served(code: int, plugins: Plugins) -> None:
    net = chain("p", "q", cniVersion="1.1.0")
    plugins.write("p")
    plugins.write("q")
    plugins.runtime.status(net)
    assert plugins.called == ["p STATUS", "q STATUS"]
    plugins.write("q", STATUS=f'echo \'{{"code": {code}, "msg": "no addresses left"}}\'; exit 1')
    with pytest.raises(PluginFailed, match="no addresses left") as error:
        plugins.runtime.status(net)
    assert error.value.code == code
    with pytest.raises(NotSupported):
        plugins.runtime.status(chain("p"))


def test_exec_16_addresses_belong_to_interfaces(plugins: Plugins) -> None:
    made = parsed(
        {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/run/netns/blue", "mtu": 1450}],
            "ips": [
                {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
                {"address": "10.1.0.1/16", "interface": 0},
                {"address": "fd00::5/64"},
            ],
            "routes": [{"dst": "0.0.0.0/0", "priority": 7}],
            "dns": {"nameservers": ["10.1.0.1"]},
        },
        "1.1.0",
    )
    assert [str(address) for address in made.addresses_of("eth0")] == ["10.1.0.5", "fd00::5"]
    assert [item.sandbox for item in made.interfaces] == ["", "/run/netns/blue"]
    assert (made.interfaces[1].more, made.routes[0].more) == ({"mtu": 1450}, {"priority": 7})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("text", "JSON object"),
        ({"interfaces": [{}]}, "'name' is missing"),
        ({"ips": [{"interface": 0}]}, "'address' is missing"),
        ({"ips": [{"address": "10.1.0.5/99"}]}, "10.1.0.5/99"),
        ({"ips": [{"address": "10.1.0.5/16", "interface": 3}], "interfaces": [{"name": "eth0"}]}, "interface 3"),
        ({"ips": [{"address": "10.1.0.5/16", "interface": "eth0"}]}, "'str'"),
        ({"dns": ["10.1.0.1"]}, "dictionary"),
        ({"cniVersion": "7.0.0"}, "7.0.0"),
    ],
)
def test_exec_16_an_invalid_result_is_refused(data: Any, why: str, plugins: Plugins) -> None:
    with pytest.raises(NoResult, match=why):
        parsed(data, "1.0.0")
    plugins.write("p", ADD=f"echo '{json.dumps(data)}'")
    with pytest.raises(PluginFailed, match=why):
        plugins.runtime.add(chain("p"), BLUE)


EARLY = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
    "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0"}]},
    "dns": {"nameservers": ["10.1.0.1"]},
}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_results_are_equal_in_all_versions(version: str) -> None:
    said = parsed(EARLY, "0.2.0")
    again = written(said, version)
    assert again["cniVersion"] == version
    assert parsed(again, version) == said
    assert ("ip4" in again) is (version < "0.3.0")
    assert all(("version" in ip) is (version < "1.0.0") for ip in again.get("ips", ()))


def test_a_result_of_another_version_is_converted_for_the_next_plugin(plugins: Plugins) -> None:
    plugins.answering("old", EARLY)
    plugins.answering("new", result("eth0"))
    plugins.runtime.add(chain("old", "new"), BLUE)
    assert plugins.inputs[1]["prevResult"]["ips"] == [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1"},
        {"address": "fd00::5/64"},
    ]


def test_exec_17_an_error_is_passed_on_complete(plugins: Plugins) -> None:
    plugins.write("p", ADD=ERROR)
    with pytest.raises(PluginFailed) as error:
        plugins.runtime.add(chain("p"), BLUE)
    failed = error.value
    assert (failed.code, failed.msg, failed.details) == (11, "not yet", "the pool is being made")
    assert failed.call.stderr == "what a log says\n"
    assert str(failed) == (
        "the CNI plugin p failed at ADD for blue: code 11 (try again later): not yet\n"
        "  details: the pool is being made\n"
        "  stderr: what a log says"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 3", "exit code 3, without output"),
        ("echo no JSON; exit 1", "exit code 1, output: no JSON"),
        ("echo no JSON", "exit code 0, but its output is not JSON: no JSON"),
        ("exit 0", "not a result: expected a JSON object"),
        ("kill -9 $$", "killed by signal 9"),
    ],
)
def test_exec_17_other_failures_are_explained(body: str, said: str, plugins: Plugins) -> None:
    plugins.write("p", ADD=body)
    with pytest.raises(PluginFailed, match=said) as error:
        plugins.runtime.add(chain("p"), BLUE)
    assert error.value.code is None


def test_a_plugin_that_cannot_be_run_has_failed(plugins: Plugins) -> None:
    path = plugins.folder / "p"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(PluginFailed, match="cannot be run"):
        plugins.runtime.add(chain("p"), BLUE)


def test_a_plugin_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    plugins = Plugins(tmp_path, patience_s=0.5)
    plugins.write("p", ADD=f"sleep 1000 & echo $! > {tmp_path}/child; echo waiting >&2; wait")
    with pytest.raises(PluginHung, match=r"timed out after 0\.5 s.*\n.*stderr: waiting"):
        plugins.runtime.add(chain("p"), BLUE)
    child = int((tmp_path / "child").read_text())
    assert _is_gone(child)


def test_a_background_process_of_a_plugin_does_not_delay_its_call(plugins: Plugins) -> None:
    plugins.patience_s = 100.0
    plugins.write("p", ADD=f"sleep 1000 & echo $! > {plugins.folder}/child; echo '{json.dumps(result('eth0'))}'")
    try:
        plugins.runtime.add(chain("p"), BLUE)
    finally:
        os.kill(int((plugins.folder / "child").read_text()), 9)


def _is_gone(pid: int) -> bool:
    """Whether a process has ended; it may be a zombie."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_every_call_is_reported(plugins: Plugins) -> None:
    calls: list[Any] = []
    plugins.runtime.on_call = calls.append
    plugins.answering("p", result("eth0"))
    plugins.write("q", ADD=ERROR)
    with pytest.raises(PluginFailed):
        plugins.runtime.add(chain("p", "q"), BLUE)
    assert [(call.plugin, call.command, call.code, call.container) for call in calls] == [
        ("p", "ADD", 0, "blue"),
        ("q", "ADD", 1, "blue"),
    ]
    data = calls[1].as_data()
    assert json.loads(data["stdin"])["prevResult"] == result("eth0")
    assert data["environment"]["CNI_IFNAME"] == "eth0"
