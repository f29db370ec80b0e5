"""The system programs that the testbed runs, with their Debian packages."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.kernel.lacking import MachineLacks


@dataclass(frozen=True)
class Program:
    """A program of the system."""

    name: str
    package: str
    purpose: str
    version_option: str = "--version"
    optional: bool = False
    """Whether only some designs or commands need it."""

    @property
    def installed(self) -> bool:
        return shutil.which(self.name) is not None

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"apt-get install {self.package}"

    @property
    def lacking(self) -> str:
        """What is missing, in the reason why a design is unavailable."""
        return f"the program {self.name} (package {self.package})"

    def version(self) -> str:
        """The first version number that it prints; empty if there is none."""
        if not self.version_option:
            return ""
        try:
            output = subprocess.run(
                [self.name, self.version_option],
                capture_output=True,
                text=True,
                timeout=5,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        found = re.search(r"\d+(\.\d+)+[-\w.+]*|\d{6,}", output.stdout + output.stderr)
        return found[0] if found else ""


PROGRAMS = {
    program.name: program
    for program in (
        Program("mnexec", "mininet", "starts Mininet's hosts", "-v"),
        Program("ifconfig", "net-tools", "Mininet looks for it", "--version"),
        Program("taskset", "util-linux", "binds probes to CPUs"),
        Program("ethtool", "ethtool", "reads the offloads of devices"),
        Program("iperf3", "iperf3", "probe: throughput"),
        Program("sockperf", "sockperf", "probe: request-response latency"),
        Program("irtt", "irtt", "probe: latency at a fixed rate", "version"),
        Program("fping", "fping", "probe: ICMP"),
        Program("wrk", "wrk", "probe: new connections", "-v"),
        Program("nginx", "nginx", "probe: the web server of wrk and curl", "-v"),
        Program("curl", "curl", "probe: how long connecting takes"),
        Program("netperf", "netperf", "probe: a further driver, in Debian's non-free", "-V", optional=True),
        Program("netserver", "netperf", "probe: the server of netperf", "-V", optional=True),
        Program("ip", "iproute2", "for the commands that `testbed plan` prints", "-V"),
        Program("bridge", "iproute2", "for the commands that `testbed plan` prints", "-V"),
        Program("sysctl", "procps", "for the commands that `testbed plan` prints"),
        Program("unshare", "util-linux", "for the commands that `testbed plan` prints"),
        Program("tcpdump", "tcpdump", "for `testbed capture`"),
        Program("wg", "wireguard-tools", "for designs with WireGuard", optional=True),
        Program("iptables", "iptables", "for designs with rules of iptables", optional=True),
        Program("ip6tables", "iptables", "for designs with rules of iptables", optional=True),
        Program("ipset", "ipset", "for designs with rules of iptables that name sets", optional=True),
        Program("ovs-dpctl", "openvswitch-switch", "for designs with a datapath of Open vSwitch", "-V", optional=True),
        Program("bird", "bird2", "for designs whose routes come by BGP", optional=True),
        Program("birdc", "bird2", "asks bird", optional=True),
        # Plugins print the supported CNI versions, not their own.
        Program("/usr/lib/cni/bridge", "containernetworking-plugins", "designs with CNI plugins", "", optional=True),
        Program("clang", "clang", "compiles eBPF programs", optional=True),
        Program("bpftool", "bpftool", "loads eBPF programs", "version", optional=True),
        Program("dot", "graphviz", "for the pictures of `testbed graph`", "-V"),
        Program("nft", "nftables", "for designs with rules of nftables, and to look at them", optional=True),
        Program("ipvsadm", "ipvsadm", "for Services by IPVS", optional=True),
        Program("ping", "iputils-ping", "to try by hand", "-V", optional=True),
    )
}

DEBIAN_PLUGINS = frozenset(
    (
        *("bandwidth", "bridge", "dhcp", "dummy", "firewall", "host-device", "host-local", "ipvlan", "loopback"),
        *("macvlan", "portmap", "ptp", "sbr", "static", "tap", "tuning", "vlan", "vrf"),
    )
)
"""The standard CNI plugins in Debian's package."""
PLUGINS_REMEDY = "apt-get install containernetworking-plugins"


def installed_plugins(folders: Iterable[str]) -> tuple[str, ...]:
    """The names of the executables in these folders."""
    paths = (path for folder in map(Path, folders) if folder.is_dir() for path in folder.iterdir())
    return tuple(sorted({path.name for path in paths if path.is_file() and os.access(path, os.X_OK)}))


@dataclass(frozen=True)
class MissingPlugin:
    """A CNI plugin that is not installed."""

    name: str
    looked_in: str
    """The folders, in words."""
    remedy: str
    """What to do; empty if unknown."""

    @property
    def lacking(self) -> str:
        """What is missing, in the reason why a design is unavailable."""
        return f"the CNI plugin {self.name}{f' ({self.remedy})' if self.remedy else ''}"


FOR_LABS = ("mnexec", "ifconfig")
FOR_PROBES = ("taskset", "ethtool")


def missing(names: Iterable[str]) -> tuple[Program, ...]:
    """The named programs that are not installed."""
    return tuple(PROGRAMS[name] for name in names if not PROGRAMS[name].installed)


def need(name: str) -> None:
    """Raises MachineLacks if the program is not installed."""
    for program in missing((name,)):
        raise MachineLacks([f"the program {name} is missing: {program.remedy}"])
