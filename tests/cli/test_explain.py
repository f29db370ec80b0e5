"""`testbed explain`: verdicts with the policies, rules and lines that decide."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.cli import verbs
from testbed.cli.errors import printed_errors

SHOP = ("--topology", "topologies/two-nodes.yaml", "-f", "examples/manifests/shop.yaml")
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in the repository: exit code, output, errors."""
    monkeypatch.chdir(repository)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught, printed_errors():
            verbs.testbed.main([*words], prog_name="testbed", standalone_mode=False)
        told = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, told.out, told.err

    return run


def test_a_denied_connection_ends_with_1_and_names_the_policy(cli: Cli) -> None:
    assert cli("explain", "client", "db-0:5432", *SHOP) == (
        1,
        "default/client -> default/db-0 TCP 5432: denied\n"
        "  no policy decides about egress of default/client\n"
        "  NetworkPolicy default/db isolates default/db-0 for ingress (examples/manifests/shop.yaml:149)\n"
        "  no ingress rule of these policies matches\n",
        "",
    )


def test_an_allowed_connection_names_the_rule_as_json(cli: Cli) -> None:
    name = cli("schedule", *SHOP[1:], "-l", "app=web", "-o", "name")[1].split()[0]
    code, out, _ = cli("explain", name.removeprefix("pod/"), "db-0:5432", *SHOP, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["from"] == f"default/{name.removeprefix('pod/')}"
    assert facts | {"from": "", "why": []} == {
        "from": "",
        "to": "default/db-0",
        "port": 5432,
        "protocol": "TCP",
        "family": 4,
        "allowed": True,
        "why": [],
    }
    assert facts["why"][-1] == "NetworkPolicy default/db: ingress[0] allows it (examples/manifests/shop.yaml:153)"


def test_a_node_and_an_address_are_places(cli: Cli) -> None:
    assert cli("explain", "203.0.113.9", "db-0:5432", *SHOP)[0] == 1
    assert cli("explain", "client", "node2:22", *SHOP)[0] == 0
    assert cli("explain", "[fd00::1]", "web-1:80", "-6", *SHOP)[0] == 2
    assert cli("explain", "client", "[fd00::1]:80", "-6", *SHOP)[0] == 0


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("cleint", "db-0:5432", "'cleint' is no pod, node or address; did you mean 'client'?"),
        ("client", "none:80", "'none' is no pod, node or address; `testbed schedule TOPOLOGY -f MANIFESTS -A` lists"),
        ("client", "db-0", "B is 'db-0', which names no port; write B:PORT, such as db-0:80"),
        ("client", "db-0:0", "B is 'db-0:0'; a port must be 1 to 65535"),
        ("client", "fd00::1", "B is 'fd00::1', which names no port; write B:PORT, such as [fd00::1]:80"),
    ],
)
def test_wrong_places_end_with_2(cli: Cli, source: str, target: str, message: str) -> None:
    code, _, err = cli("explain", source, target, *SHOP)
    assert code == 2
    assert message in err
