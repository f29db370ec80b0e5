#!/bin/sh -e
# Topology two-nodes under the design cilium-native; pods have an MTU of 1500.
# Run as root in new namespaces: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;
#   . ./THIS-FILE; exec sh'

# --- Namespaces
ip netns add fabric    # the fabric's switch
ip netns add gateway    # a router of the fabric
ip netns add node1    # a node
ip netns add node2    # a node
ip netns add client    # a pod on node1
ip netns add web-1    # a pod on node1
ip netns add web-2    # a pod on node2

# --- fabric: settings and devices
ip netns exec fabric sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec fabric sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n fabric link set lo up
ip -n fabric link add br0 index 101 address 02:96:ae:40:61:0f mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n fabric link set br0 up

# --- gateway: settings and devices
ip netns exec gateway sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec gateway sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n gateway link set lo up

# --- node1: settings and devices
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n node1 link set lo up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n node2 link set lo up

# --- client: settings and devices
ip netns exec client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec client sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n client link set lo up

# --- web-1: settings and devices
ip netns exec web-1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n web-1 link set lo up

# --- web-2: settings and devices
ip netns exec web-2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n web-2 link set lo up

# --- Cables: veth pairs, each end in its namespace
ip link add to-gateway index 102 netns fabric address 02:b3:a0:95:66:1a mtu 1500 type veth peer name eth0 index 103 netns gateway address 02:a9:79:c9:b8:46 mtu 1500
ip -n fabric link set to-gateway master br0 up
ip -n gateway link set eth0 up
ip link add to-node1 index 104 netns fabric address 02:e4:03:c9:58:00 mtu 1500 type veth peer name eth0 index 105 netns node1 address 02:8b:a1:fa:84:72 mtu 1500
ip -n fabric link set to-node1 master br0 up
ip -n node1 link set eth0 up
ip link add to-node2 index 106 netns fabric address 02:c3:04:04:4e:27 mtu 1500 type veth peer name eth0 index 107 netns node2 address 02:43:11:61:5f:d5 mtu 1500
ip -n fabric link set to-node2 master br0 up
ip -n node2 link set eth0 up
ip link add lxc948fe603f61d index 108 netns node1 address 02:a5:d2:ff:43:94 mtu 1500 type veth peer name eth0 index 109 netns client address 02:9b:d1:f3:d1:55 mtu 1500
ip -n node1 link set lxc948fe603f61d up
ip -n client link set eth0 up
ip link add lxcc4719afa76fa index 110 netns node1 address 02:c7:97:9f:e9:89 mtu 1500 type veth peer name eth0 index 111 netns web-1 address 02:3e:4e:09:16:3e mtu 1500
ip -n node1 link set lxcc4719afa76fa up
ip -n web-1 link set eth0 up
ip link add lxc612f7a0edd33 index 112 netns node2 address 02:9e:bb:a6:34:f6 mtu 1500 type veth peer name eth0 index 113 netns web-2 address 02:8a:17:62:53:70 mtu 1500
ip -n node2 link set lxc612f7a0edd33 up
ip -n web-2 link set eth0 up
ip link add cilium_host index 114 netns node1 address 02:37:12:77:54:7e mtu 1500 type veth peer name cilium_net index 115 netns node1 address 02:21:21:52:13:33 mtu 1500
ip -n node1 link set cilium_host arp off up
ip -n node1 link set cilium_net arp off up
ip link add cilium_host index 116 netns node2 address 02:4b:2b:fa:be:34 mtu 1500 type veth peer name cilium_net index 117 netns node2 address 02:68:e7:d5:c2:9e mtu 1500
ip -n node2 link set cilium_host arp off up
ip -n node2 link set cilium_net arp off up

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0

# --- node1: addresses and routes
ip netns exec node1 sysctl -qw net/ipv4/conf/lxc948fe603f61d/rp_filter=0 net/ipv4/conf/lxcc4719afa76fa/rp_filter=0 net/ipv4/conf/cilium_host/rp_filter=0 net/ipv4/conf/cilium_host/accept_local=1 net/ipv4/conf/cilium_net/rp_filter=0 net/ipv4/conf/cilium_net/accept_local=1
ip -n node1 address add 192.168.56.1/24 dev eth0
ip -n node1 address add 10.244.0.1/32 dev cilium_host
ip -n node1 -4 route add default via 192.168.56.254 dev eth0
ip -n node1 -4 route add 10.244.1.0/24 via 192.168.56.2 dev eth0
ip -n node1 -4 route add 10.244.0.1/32 dev cilium_host
ip -n node1 -4 route add 10.244.0.0/24 via 10.244.0.1 dev cilium_host src 10.244.0.1
ip -n node1 -4 rule add from all lookup 255 priority 100
ip -n node1 -4 rule del from all lookup 255 priority 0

# --- node2: addresses and routes
ip netns exec node2 sysctl -qw net/ipv4/conf/lxc612f7a0edd33/rp_filter=0 net/ipv4/conf/cilium_host/rp_filter=0 net/ipv4/conf/cilium_host/accept_local=1 net/ipv4/conf/cilium_net/rp_filter=0 net/ipv4/conf/cilium_net/accept_local=1
ip -n node2 address add 192.168.56.2/24 dev eth0
ip -n node2 address add 10.244.1.1/32 dev cilium_host
ip -n node2 -4 route add default via 192.168.56.254 dev eth0
ip -n node2 -4 route add 10.244.0.0/24 via 192.168.56.1 dev eth0
ip -n node2 -4 route add 10.244.1.1/32 dev cilium_host
ip -n node2 -4 route add 10.244.1.0/24 via 10.244.1.1 dev cilium_host src 10.244.1.1
ip -n node2 -4 rule add from all lookup 255 priority 100
ip -n node2 -4 rule del from all lookup 255 priority 0

# --- client: addresses and routes
ip -n client address add 10.244.0.2/32 dev eth0
ip -n client -4 route add 10.244.0.1/32 dev eth0
ip -n client -4 route add default via 10.244.0.1 dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.3/32 dev eth0
ip -n web-1 -4 route add 10.244.0.1/32 dev eth0
ip -n web-1 -4 route add default via 10.244.0.1 dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.1.2/32 dev eth0
ip -n web-2 -4 route add 10.244.1.1/32 dev eth0
ip -n web-2 -4 route add default via 10.244.1.1 dev eth0

# --- Rules and sets
ip netns exec node1 ipset -exist restore <<'END'
create cilium_node_set_v4 hash:ip family inet hashsize 1024 maxelem 262144
add cilium_node_set_v4 192.168.56.1
add cilium_node_set_v4 192.168.56.2
END
ip netns exec node1 iptables-restore --wait <<'END'
*nat
:CILIUM_POST_nat - [0:0]
-A POSTROUTING -m comment --comment cilium-feeder -j CILIUM_POST_nat
-A CILIUM_POST_nat -s 10.244.0.0/24 -m set --match-set cilium_node_set_v4 dst -j ACCEPT
-A CILIUM_POST_nat -s 10.244.0.0/24 ! -d 10.244.0.0/16 ! -o cilium_+ -j MASQUERADE
COMMIT
END
ip netns exec node2 ipset -exist restore <<'END'
create cilium_node_set_v4 hash:ip family inet hashsize 1024 maxelem 262144
add cilium_node_set_v4 192.168.56.1
add cilium_node_set_v4 192.168.56.2
END
ip netns exec node2 iptables-restore --wait <<'END'
*nat
:CILIUM_POST_nat - [0:0]
-A POSTROUTING -m comment --comment cilium-feeder -j CILIUM_POST_nat
-A CILIUM_POST_nat -s 10.244.1.0/24 -m set --match-set cilium_node_set_v4 dst -j ACCEPT
-A CILIUM_POST_nat -s 10.244.1.0/24 ! -d 10.244.0.0/16 ! -o cilium_+ -j MASQUERADE
COMMIT
END

# --- Programs
# in_folders_of NAME COMMAND...: run a command in the network and private folders of NAME
in_folders_of() {
    ip netns exec $1 sh -ec '
        for each in /etc /var/lib /sys/fs/bpf /run; do mount --rbind /run/roots/$1$each $each; done
        shift; exec "$@"' sh "$@"
}
mkdir -p /run/roots/node1/run/log /run/roots/node1/sys/fs/bpf
mount -t bpf bpf /run/roots/node1/sys/fs/bpf
mkdir -p /run/roots/node1/upper/etc /run/roots/node1/work/etc /run/roots/node1/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/roots/node1/upper/etc,workdir=/run/roots/node1/work/etc /run/roots/node1/etc
mkdir -p /run/roots/node1/upper/var/lib /run/roots/node1/work/var/lib /run/roots/node1/var/lib
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/roots/node1/upper/var/lib,workdir=/run/roots/node1/work/var/lib /run/roots/node1/var/lib
mkdir -p /run/roots/node2/run/log /run/roots/node2/sys/fs/bpf
mount -t bpf bpf /run/roots/node2/sys/fs/bpf
mkdir -p /run/roots/node2/upper/etc /run/roots/node2/work/etc /run/roots/node2/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/roots/node2/upper/etc,workdir=/run/roots/node2/work/etc /run/roots/node2/etc
mkdir -p /run/roots/node2/upper/var/lib /run/roots/node2/work/var/lib /run/roots/node2/var/lib
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/roots/node2/upper/var/lib,workdir=/run/roots/node2/work/var/lib /run/roots/node2/var/lib
clang -O2 -g -Wall -Wextra -Werror -target bpf -I/usr/include/$(uname -m)-linux-gnu -c testbed/bpf/cilium.c -o /run/roots/cilium.o
mkdir -p /run/roots/node1/sys/fs/bpf/tc/globals
bpftool prog loadall /run/roots/cilium.o /run/roots/node1/sys/fs/bpf/cilium type tc pinmaps /run/roots/node1/sys/fs/bpf/tc/globals
tc -n node1 qdisc add dev cilium_host clsact
tc -n node1 qdisc add dev cilium_net clsact
tc -n node1 qdisc add dev eth0 clsact
tc -n node1 qdisc add dev lxc948fe603f61d clsact
tc -n node1 qdisc add dev lxcc4719afa76fa clsact
tc -n node1 filter add dev cilium_host egress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node1/sys/fs/bpf/cilium/cil_from_host
tc -n node1 filter add dev cilium_host ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node1/sys/fs/bpf/cilium/cil_to_host
tc -n node1 filter add dev cilium_net ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node1/sys/fs/bpf/cilium/cil_to_host
tc -n node1 filter add dev eth0 ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node1/sys/fs/bpf/cilium/cil_from_netdev
tc -n node1 filter add dev lxc948fe603f61d ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node1/sys/fs/bpf/cilium/cil_from_container
tc -n node1 filter add dev lxcc4719afa76fa ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node1/sys/fs/bpf/cilium/cil_from_container
# 192.168.56.1: the node itself
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_lxc key hex c0 a8 38 01 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 00 00 00 00 00 00 01 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.1: the node itself
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_lxc key hex 0a f4 00 01 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 00 00 00 00 00 00 01 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.2: client, endpoint 1
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_lxc key hex 0a f4 00 02 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 6c 00 00 00 01 00 00 00 00 01 00 00 02 9b d1 f3 d1 55 02 a5 d2 ff 43 94
# 10.244.0.3: web-1, endpoint 2
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_lxc key hex 0a f4 00 03 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 6e 00 00 00 02 00 00 00 00 01 00 00 02 3e 4e 09 16 3e 02 c7 97 9f e9 89
# 192.168.56.1/32: 1
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 c0 a8 38 01 00 00 00 00 00 00 00 00 00 00 00 00 value hex 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.1/32: 1
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 00 01 00 00 00 00 00 00 00 00 00 00 00 00 value hex 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.2/32: 256
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 00 02 00 00 00 00 00 00 00 00 00 00 00 00 value hex 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.3/32: 256
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 00 03 00 00 00 00 00 00 00 00 00 00 00 00 value hex 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 192.168.56.2/32: 6
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 c0 a8 38 02 00 00 00 00 00 00 00 00 00 00 00 00 value hex 06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.1.1/32: 6
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 01 01 00 00 00 00 00 00 00 00 00 00 00 00 value hex 06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.1.2/32: 256
bpftool map update pinned /run/roots/node1/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 01 02 00 00 00 00 00 00 00 00 00 00 00 00 value hex 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
mkdir -p /run/roots/node2/sys/fs/bpf/tc/globals
bpftool prog loadall /run/roots/cilium.o /run/roots/node2/sys/fs/bpf/cilium type tc pinmaps /run/roots/node2/sys/fs/bpf/tc/globals
tc -n node2 qdisc add dev cilium_host clsact
tc -n node2 qdisc add dev cilium_net clsact
tc -n node2 qdisc add dev eth0 clsact
tc -n node2 qdisc add dev lxc612f7a0edd33 clsact
tc -n node2 filter add dev cilium_host egress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node2/sys/fs/bpf/cilium/cil_from_host
tc -n node2 filter add dev cilium_host ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node2/sys/fs/bpf/cilium/cil_to_host
tc -n node2 filter add dev cilium_net ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node2/sys/fs/bpf/cilium/cil_to_host
tc -n node2 filter add dev eth0 ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node2/sys/fs/bpf/cilium/cil_from_netdev
tc -n node2 filter add dev lxc612f7a0edd33 ingress prio 1 handle 1 bpf direct-action object-pinned /run/roots/node2/sys/fs/bpf/cilium/cil_from_container
# 192.168.56.2: the node itself
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_lxc key hex c0 a8 38 02 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 00 00 00 00 00 00 01 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.1.1: the node itself
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_lxc key hex 0a f4 01 01 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 00 00 00 00 00 00 01 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.1.2: web-2, endpoint 1
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_lxc key hex 0a f4 01 02 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 value hex 70 00 00 00 01 00 00 00 00 01 00 00 02 8a 17 62 53 70 02 9e bb a6 34 f6
# 192.168.56.1/32: 6
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 c0 a8 38 01 00 00 00 00 00 00 00 00 00 00 00 00 value hex 06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.1/32: 6
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 00 01 00 00 00 00 00 00 00 00 00 00 00 00 value hex 06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.2/32: 256
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 00 02 00 00 00 00 00 00 00 00 00 00 00 00 value hex 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.0.3/32: 256
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 00 03 00 00 00 00 00 00 00 00 00 00 00 00 value hex 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 192.168.56.2/32: 1
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 c0 a8 38 02 00 00 00 00 00 00 00 00 00 00 00 00 value hex 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.1.1/32: 1
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 01 01 00 00 00 00 00 00 00 00 00 00 00 00 value hex 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
# 10.244.1.2/32: 256
bpftool map update pinned /run/roots/node2/sys/fs/bpf/tc/globals/cilium_ipcache key hex 40 00 00 00 00 00 00 01 0a f4 01 02 00 00 00 00 00 00 00 00 00 00 00 00 value hex 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
