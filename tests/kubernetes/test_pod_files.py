"""Host names, /etc/hosts and /etc/resolv.conf of pods."""

from typing import Any

import pytest

from testbed.kubernetes import pod_files
from testbed.kubernetes.state import Pod
from tests.kubernetes.clusters import cluster, only_pod, pod

NODE = "# The lab has no server.\nnameserver 127.0.0.1\nsearch lan\noptions timeout:1 attempts:1\n"
DNS = ("10.96.0.10",)


def made(name: str = "web-1", **spec: Any) -> Pod:
    return only_pod(cluster(pod(name, **spec)))


@pytest.mark.parametrize(
    ("name", "spec", "host_name"),
    [
        ("web-1", {}, "web-1"),
        ("web-1", {"hostname": "db"}, "db"),
        ("web-1", {"hostname": "db", "subdomain": "shop"}, "db"),
        ("web-1", {"subdomain": "shop", "setHostnameAsFQDN": True}, "web-1.shop.default.svc.cluster.local"),
        ("web-1", {"setHostnameAsFQDN": True}, "web-1"),
        ("a" * 62 + "-b" + "c" * 20, {}, "a" * 62),
    ],
)
def test_host_name(name: str, spec: dict[str, Any], host_name: str) -> None:
    assert pod_files.host_name(made(name, **spec)) == host_name


def test_hosts_as_kubelet_writes_them() -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["foo.remote", "bar.remote"]}, {"ip": "10.1.2.4", "hostnames": ["baz"]}]
    found = pod_files.hosts(made(subdomain="shop", hostAliases=aliases), ["10.244.0.7", "fd00::7"])
    assert found == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
        "10.244.0.7\tweb-1.shop.default.svc.cluster.local\tweb-1\n"
        "fd00::7\tweb-1.shop.default.svc.cluster.local\tweb-1\n"
        "\n# Entries added by HostAliases.\n"
        "10.1.2.3\tfoo.remote\tbar.remote\n"
        "10.1.2.4\tbaz\n"
    )


CLUSTER = "search default.svc.cluster.local svc.cluster.local cluster.local lan\n"


@pytest.mark.parametrize(
    ("spec", "dns", "text"),
    [
        ({}, DNS, f"{CLUSTER}nameserver 10.96.0.10\noptions ndots:5\n"),
        ({}, (), f"{CLUSTER}nameserver 127.0.0.1\noptions ndots:5 timeout:1 attempts:1\n"),
        ({"dnsPolicy": "Default"}, DNS, "search lan\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
        ({"hostNetwork": True}, DNS, "search lan\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            DNS,
            f"{CLUSTER}nameserver 10.96.0.10\noptions ndots:5\n",
        ),
        (
            {
                "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["1.2.3.4"], "searches": ["my.dns"], "options": [{"name": "edns0"}]},
            },
            DNS,
            "search my.dns\nnameserver 1.2.3.4\noptions edns0\n",
        ),
        (
            {
                "dnsConfig": {
                    "nameservers": ["10.96.0.10", "1.2.3.4"],
                    "searches": ["lan", "more"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                }
            },
            DNS,
            f"{CLUSTER[:-1]} more\nnameserver 10.96.0.10\nnameserver 1.2.3.4\noptions ndots:2 edns0\n",
        ),
    ],
)
def test_resolver(spec: dict[str, Any], dns: tuple[str, ...], text: str) -> None:
    assert pod_files.resolver(made(**spec), dns, NODE) == text


def test_at_most_three_servers() -> None:
    servers = ["1.0.0.1", "1.0.0.2", "1.0.0.3"]
    found = pod_files.resolver(made(dnsConfig={"nameservers": servers}), DNS, NODE)
    assert [line.split()[1] for line in found.splitlines() if line.startswith("nameserver")] == [*DNS, *servers[:2]]
