"""The verbs that change a lab that is up: output and errors."""

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import cli, golden
from tests.cli.test_lab_verbs import refused, up

pytestmark = pytest.mark.sealed


def done(repository: Path, *words: str) -> str:
    said = cli(*words, cwd=repository)
    assert (said.returncode, said.stderr) == (0, "")
    return said.stdout


def test_the_check_passes_after_changes_of_pods_nodes_and_links(repository: Path) -> None:
    with up(repository, "one"):
        assert done(repository, "pod", "add", "late", "--node", "node2").startswith("late added to node2 (")
        assert "10.244.1.3/24" in done(repository, "exec", "late", "--", "ip", "-br", "address", "show", "eth0")
        added = json.loads(done(repository, "node", "add", "node3", "--pod", "one", "--pod", "two", "--json"))
        assert added["lab"] == "one"
        assert added["changes"] > added["spaces"] > 3
        done(repository, "link", "set", "node1,fabric", "rate=100Mbit")
        assert "late" in done(repository, "exec", "two", "--", "ping", "-c", "1", "-W", "5", "late")
        assert done(repository, "check").endswith("checks passed\n")
        assert done(repository, "pod", "remove", "late").startswith("late removed (")
        assert done(repository, "node", "remove", "node1").startswith("node1 removed (")
        assert "late" not in done(repository, "exec", "two", "--", "cat", "/etc/hosts")
        assert done(repository, "exec", "node2", "--", "ip", "netns", "list").split()[0] != "node1"
        assert done(repository, "check").endswith("checks passed\n")
        assert "match the plan of design" in done(repository, "inspect")
        (listed,) = json.loads(done(repository, "list", "--json"))
        assert (listed["nodes"], listed["pods"]) == (2, 3)


def test_a_freed_address_is_not_allocated_again(repository: Path) -> None:
    with up(repository, "one"):
        for name, address in (("a", "10.244.1.3"), ("b", "10.244.1.4")):
            done(repository, "pod", "add", name, "--node", "node2")
            assert address in done(repository, "exec", name, "--", "ip", "-br", "address", "show", "eth0")
            done(repository, "pod", "remove", name)


@pytest.mark.parametrize(
    "words",
    [
        "pod add late --node nod2",
        "pod add web-1 --node node2",
        "pod add Late --node node2",
        "pod add late --node node2 --label app",
        "pod remove web1",
        "node add client",
        "node add node3 --at rack1",
        "node add node3 --pods 300",
        "node remove nod1",
        "link set node1,fabrik rate=1Gbit",
        "link set node1 rate=1Gbit",
        "link set node1,fabric rate=1",
        "link set node1,fabric speed=1Gbit",
        "link set node1,fabric rate",
    ],
)
def test_an_impossible_change_is_refused_and_changes_nothing(words: str, repository: Path) -> None:
    with up(repository, "one"):
        before = done(repository, "list", "--json")
        said = refused(repository, *words.split())
        golden(f"change-{words.replace(' ', '-').replace(',', '-').replace('=', '-')}", said)
        assert done(repository, "list", "--json") == before
        assert "match the plan of design" in done(repository, "inspect")
