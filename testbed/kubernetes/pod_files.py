"""Host name, /etc/hosts and /etc/resolv.conf of a pod, as kubelet writes them."""

from collections.abc import Iterable, Iterator, Sequence

from testbed.kubernetes.models.pods import MAX_NAMESERVERS, MAX_SEARCHES, DnsConfig, PodSpec
from testbed.kubernetes.state import Pod

DOMAIN = "cluster.local"
MAX_HOST_NAME, MAX_FQDN = 63, 64
NDOTS = "ndots:5"
_HOSTS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def host_name(pod: Pod) -> str:
    """The pod's host name: its field `hostname` or its name, at most 63 characters; with `setHostnameAsFQDN` whole."""
    is_whole = pod.spec.set_hostname_as_fqdn and not too_long(pod)
    return fqdn(pod) or short_name(pod) if is_whole else short_name(pod)


def too_long(pod: Pod) -> str:
    """Why the pod cannot start with `setHostnameAsFQDN`; empty if it can."""
    name = fqdn(pod) if pod.spec.set_hostname_as_fqdn else ""
    if len(name) <= MAX_FQDN:
        return ""
    return f"host name {name} has {len(name)} characters, at most {MAX_FQDN} are possible; remove setHostnameAsFQDN"


def short_name(pod: Pod) -> str:
    """The host name without its domain."""
    return (pod.spec.hostname or pod.name)[:MAX_HOST_NAME].rstrip("-.")


def fqdn(pod: Pod) -> str:
    """The host name with its domain; empty for a pod without `subdomain`."""
    subdomain = pod.spec.subdomain
    return f"{short_name(pod)}.{subdomain}.{pod.namespace}.svc.{DOMAIN}" if subdomain else ""


def hosts(pod: Pod, addresses: Iterable[str]) -> str:
    """/etc/hosts."""
    names = "\t".join(filter(None, (fqdn(pod), short_name(pod))))
    return _HOSTS + "".join(f"{address}\t{names}\n" for address in addresses) + "".join(_aliases(pod.spec))


def _aliases(spec: PodSpec) -> Iterator[str]:
    if spec.host_aliases:
        yield "\n# Entries added by HostAliases.\n"
    for alias in spec.host_aliases:
        yield "\t".join((alias.ip, *alias.hostnames)) + "\n"


def resolver(pod: Pod, cluster_dns: Sequence[str], of_node: str) -> str:
    """/etc/resolv.conf. `cluster_dns` are the addresses of the cluster's DNS service, `of_node` is the node's file.

    Without a DNS service, a pod has the servers of its node.
    """
    spec = pod.spec
    from_cluster = spec.dns_policy == "ClusterFirstWithHostNet" or (
        spec.dns_policy == "ClusterFirst" and not spec.host_network
    )
    node = _parsed(of_node)
    searches: Sequence[str] = node["search"]
    servers, options = node["nameserver"], node["options"]
    if spec.dns_policy == "None":
        servers, searches, options = [], [], []
    elif from_cluster:
        cluster = (f"{pod.namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)
        searches = [*cluster, *searches]
        servers, options = list(cluster_dns) or servers, [NDOTS, *([] if cluster_dns else options)]
    return _text(spec.dns_config or DnsConfig(), servers, searches, options)


def _parsed(text: str) -> dict[str, list[str]]:
    """The words of each kind of line; of several `search` lines the last."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        key, *words = line.split() or [""]
        if key == "search":
            found[key] = words
        elif key in found:
            found[key] += words
    return found


def _text(more: DnsConfig, servers: Sequence[str], searches: Sequence[str], options: Sequence[str]) -> str:
    """The file, with the pod's own lines: servers and domains are appended, options replace those of their name."""
    servers = list(dict.fromkeys((*servers, *more.nameservers)))[:MAX_NAMESERVERS]
    searches = list(dict.fromkeys((*searches, *more.searches)))[:MAX_SEARCHES]
    by_name = {one.partition(":")[0]: one for one in options}
    by_name |= {one.name: f"{one.name}:{one.value}" if one.value else one.name for one in more.options}
    return "".join(
        (
            f"search {' '.join(searches)}\n" if searches else "",
            *(f"nameserver {server}\n" for server in servers),
            f"options {' '.join(by_name.values())}\n" if by_name else "",
        )
    )
