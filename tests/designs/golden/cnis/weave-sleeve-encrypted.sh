#!/bin/sh -e
# Topology two-nodes under the design weave-sleeve-encrypted; pods have an MTU of 1376.
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
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node1 link set lo up
ip -n node1 link add weave index 108 address 02:79:60:a4:22:df mtu 1376 type bridge stp_state 0 forward_delay 0
ip -n node1 link set weave up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node2 link set lo up
ip -n node2 link add weave index 113 address 02:06:3a:70:e0:57 mtu 1376 type bridge stp_state 0 forward_delay 0
ip -n node2 link set weave up

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
ip link add vethwepl948fe60 index 109 netns node1 address 02:9b:f1:68:18:81 mtu 1376 type veth peer name eth0 index 110 netns client address 02:9b:d1:f3:d1:55 mtu 1376
ip -n node1 link set vethwepl948fe60 master weave up
ip -n client link set eth0 up
ip link add vethweplc4719af index 111 netns node1 address 02:77:a5:d1:5e:5e mtu 1376 type veth peer name eth0 index 112 netns web-1 address 02:3e:4e:09:16:3e mtu 1376
ip -n node1 link set vethweplc4719af master weave up
ip -n web-1 link set eth0 up
ip link add vethwepl612f7a0 index 114 netns node2 address 02:25:ee:a0:6d:cd mtu 1376 type veth peer name eth0 index 115 netns web-2 address 02:8a:17:62:53:70 mtu 1376
ip -n node2 link set vethwepl612f7a0 master weave up
ip -n web-2 link set eth0 up
ip link add vethwe-bridge index 116 netns node1 address 02:56:1c:74:c5:ed mtu 1376 type veth peer name vethwe-pcap index 117 netns node1 address 02:0e:52:6e:0b:0d mtu 1376
ip -n node1 link set vethwe-bridge master weave up
ip -n node1 link set vethwe-pcap up
ip link add vethwe-bridge index 118 netns node2 address 02:94:52:0f:ab:59 mtu 1376 type veth peer name vethwe-pcap index 119 netns node2 address 02:4d:b5:cf:8f:da mtu 1376
ip -n node2 link set vethwe-bridge master weave up
ip -n node2 link set vethwe-pcap up

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0

# --- node1: addresses and routes
ip netns exec node1 sysctl -qew net/ipv4/neigh/weave/base_reachable_time=5 net/ipv4/neigh/weave/delay_first_probe_time=2 net/ipv4/neigh/weave/ucast_solicit=1
ip -n node1 address add 192.168.56.1/24 dev eth0
ip -n node1 address add 10.244.0.1/16 dev weave
ip -n node1 -4 route add default via 192.168.56.254 dev eth0

# --- node2: addresses and routes
ip netns exec node2 sysctl -qew net/ipv4/neigh/weave/base_reachable_time=5 net/ipv4/neigh/weave/delay_first_probe_time=2 net/ipv4/neigh/weave/ucast_solicit=1
ip -n node2 address add 192.168.56.2/24 dev eth0
ip -n node2 address add 10.244.1.1/16 dev weave
ip -n node2 -4 route add default via 192.168.56.254 dev eth0

# --- client: addresses and routes
ip netns exec client sysctl -qew net/ipv4/neigh/eth0/base_reachable_time=5 net/ipv4/neigh/eth0/delay_first_probe_time=2 net/ipv4/neigh/eth0/ucast_solicit=1
ip -n client address add 10.244.0.2/16 dev eth0
ip -n client -4 route add default via 10.244.0.1 dev eth0

# --- web-1: addresses and routes
ip netns exec web-1 sysctl -qew net/ipv4/neigh/eth0/base_reachable_time=5 net/ipv4/neigh/eth0/delay_first_probe_time=2 net/ipv4/neigh/eth0/ucast_solicit=1
ip -n web-1 address add 10.244.0.3/16 dev eth0
ip -n web-1 -4 route add default via 10.244.0.1 dev eth0

# --- web-2: addresses and routes
ip netns exec web-2 sysctl -qew net/ipv4/neigh/eth0/base_reachable_time=5 net/ipv4/neigh/eth0/delay_first_probe_time=2 net/ipv4/neigh/eth0/ucast_solicit=1
ip -n web-2 address add 10.244.1.2/16 dev eth0
ip -n web-2 -4 route add default via 10.244.1.1 dev eth0

# --- Rules and sets
ip netns exec node1 ipset -exist restore <<'END'
create weave-;rGqyMIl1HN^cfDki~Z$3]6!N hash:ip family inet hashsize 1024 maxelem 65536 comment
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N 10.244.0.2 comment "namespace: default, pod: client"
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N 10.244.0.3 comment "namespace: default, pod: web-1"
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N 10.244.1.2 comment "namespace: default, pod: web-2"
create weave-k?Z;25^M}|1s7P3|H9i;*;MhG hash:ip family inet hashsize 1024 maxelem 65536 comment
add weave-k?Z;25^M}|1s7P3|H9i;*;MhG 10.244.0.2 comment "namespace: default, pod: client"
add weave-k?Z;25^M}|1s7P3|H9i;*;MhG 10.244.0.3 comment "namespace: default, pod: web-1"
add weave-k?Z;25^M}|1s7P3|H9i;*;MhG 10.244.1.2 comment "namespace: default, pod: web-2"
create weave-s_+ChJId4Uy_$}G;WdH|~TK)I hash:ip family inet hashsize 1024 maxelem 65536 comment
add weave-s_+ChJId4Uy_$}G;WdH|~TK)I 10.244.0.2 comment "namespace: default, pod: client"
add weave-s_+ChJId4Uy_$}G;WdH|~TK)I 10.244.0.3 comment "namespace: default, pod: web-1"
add weave-s_+ChJId4Uy_$}G;WdH|~TK)I 10.244.1.2 comment "namespace: default, pod: web-2"
create weaver-no-masq-local hash:net family inet hashsize 1024 maxelem 65536 comment
add weaver-no-masq-local 10.244.0.0/24
END
ip netns exec node1 iptables-restore --wait <<'END'
*nat
:WEAVE - [0:0]
-A POSTROUTING -j WEAVE
-A WEAVE -m set --match-set weaver-no-masq-local dst -m comment --comment "Prevent SNAT to locally running containers" -j RETURN
-A WEAVE -s 10.244.0.0/16 -d 224.0.0.0/4 -j RETURN
-A WEAVE ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE
-A WEAVE -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE
COMMIT
*filter
:WEAVE-NPC - [0:0]
:WEAVE-NPC-DEFAULT - [0:0]
:WEAVE-NPC-EGRESS - [0:0]
:WEAVE-NPC-EGRESS-ACCEPT - [0:0]
:WEAVE-NPC-EGRESS-CUSTOM - [0:0]
:WEAVE-NPC-EGRESS-DEFAULT - [0:0]
:WEAVE-NPC-INGRESS - [0:0]
-A INPUT -i weave -j WEAVE-NPC-EGRESS
-A FORWARD -i weave -m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'" -j WEAVE-NPC-EGRESS
-A FORWARD -o weave -m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'" -j WEAVE-NPC
-A FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86
-A FORWARD -o weave -j DROP
-A FORWARD -i weave ! -o weave -j ACCEPT
-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -d 224.0.0.0/4 -j ACCEPT
-A WEAVE-NPC -m physdev --physdev-out vethwe-bridge --physdev-is-bridged -j ACCEPT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS
-A WEAVE-NPC-DEFAULT -m set --match-set weave-;rGqyMIl1HN^cfDki~Z$3]6!N dst -m comment --comment "DefaultAllow ingress isolation for namespace: default" -j ACCEPT
-A WEAVE-NPC-EGRESS -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC-EGRESS -m physdev --physdev-in vethwe-bridge --physdev-is-bridged -j RETURN
-A WEAVE-NPC-EGRESS -m addrtype --dst-type LOCAL -j RETURN
-A WEAVE-NPC-EGRESS -d 224.0.0.0/4 -j RETURN
-A WEAVE-NPC-EGRESS -m state --state NEW -j WEAVE-NPC-EGRESS-DEFAULT
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j WEAVE-NPC-EGRESS-CUSTOM
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j NFLOG --nflog-group 86
-A WEAVE-NPC-EGRESS -m mark ! --mark 0x40000/0x40000 -j DROP
-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark 0x40000/0x40000
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set weave-s_+ChJId4Uy_$}G;WdH|~TK)I src -m comment --comment "DefaultAllow egress isolation for namespace: default" -j WEAVE-NPC-EGRESS-ACCEPT
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set weave-s_+ChJId4Uy_$}G;WdH|~TK)I src -m comment --comment "DefaultAllow egress isolation for namespace: default" -j RETURN
COMMIT
END
ip netns exec node2 ipset -exist restore <<'END'
create weave-;rGqyMIl1HN^cfDki~Z$3]6!N hash:ip family inet hashsize 1024 maxelem 65536 comment
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N 10.244.0.2 comment "namespace: default, pod: client"
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N 10.244.0.3 comment "namespace: default, pod: web-1"
add weave-;rGqyMIl1HN^cfDki~Z$3]6!N 10.244.1.2 comment "namespace: default, pod: web-2"
create weave-k?Z;25^M}|1s7P3|H9i;*;MhG hash:ip family inet hashsize 1024 maxelem 65536 comment
add weave-k?Z;25^M}|1s7P3|H9i;*;MhG 10.244.0.2 comment "namespace: default, pod: client"
add weave-k?Z;25^M}|1s7P3|H9i;*;MhG 10.244.0.3 comment "namespace: default, pod: web-1"
add weave-k?Z;25^M}|1s7P3|H9i;*;MhG 10.244.1.2 comment "namespace: default, pod: web-2"
create weave-s_+ChJId4Uy_$}G;WdH|~TK)I hash:ip family inet hashsize 1024 maxelem 65536 comment
add weave-s_+ChJId4Uy_$}G;WdH|~TK)I 10.244.0.2 comment "namespace: default, pod: client"
add weave-s_+ChJId4Uy_$}G;WdH|~TK)I 10.244.0.3 comment "namespace: default, pod: web-1"
add weave-s_+ChJId4Uy_$}G;WdH|~TK)I 10.244.1.2 comment "namespace: default, pod: web-2"
create weaver-no-masq-local hash:net family inet hashsize 1024 maxelem 65536 comment
add weaver-no-masq-local 10.244.1.0/24
END
ip netns exec node2 iptables-restore --wait <<'END'
*nat
:WEAVE - [0:0]
-A POSTROUTING -j WEAVE
-A WEAVE -m set --match-set weaver-no-masq-local dst -m comment --comment "Prevent SNAT to locally running containers" -j RETURN
-A WEAVE -s 10.244.0.0/16 -d 224.0.0.0/4 -j RETURN
-A WEAVE ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE
-A WEAVE -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE
COMMIT
*filter
:WEAVE-NPC - [0:0]
:WEAVE-NPC-DEFAULT - [0:0]
:WEAVE-NPC-EGRESS - [0:0]
:WEAVE-NPC-EGRESS-ACCEPT - [0:0]
:WEAVE-NPC-EGRESS-CUSTOM - [0:0]
:WEAVE-NPC-EGRESS-DEFAULT - [0:0]
:WEAVE-NPC-INGRESS - [0:0]
-A INPUT -i weave -j WEAVE-NPC-EGRESS
-A FORWARD -i weave -m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'" -j WEAVE-NPC-EGRESS
-A FORWARD -o weave -m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'" -j WEAVE-NPC
-A FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86
-A FORWARD -o weave -j DROP
-A FORWARD -i weave ! -o weave -j ACCEPT
-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -d 224.0.0.0/4 -j ACCEPT
-A WEAVE-NPC -m physdev --physdev-out vethwe-bridge --physdev-is-bridged -j ACCEPT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS
-A WEAVE-NPC-DEFAULT -m set --match-set weave-;rGqyMIl1HN^cfDki~Z$3]6!N dst -m comment --comment "DefaultAllow ingress isolation for namespace: default" -j ACCEPT
-A WEAVE-NPC-EGRESS -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC-EGRESS -m physdev --physdev-in vethwe-bridge --physdev-is-bridged -j RETURN
-A WEAVE-NPC-EGRESS -m addrtype --dst-type LOCAL -j RETURN
-A WEAVE-NPC-EGRESS -d 224.0.0.0/4 -j RETURN
-A WEAVE-NPC-EGRESS -m state --state NEW -j WEAVE-NPC-EGRESS-DEFAULT
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j WEAVE-NPC-EGRESS-CUSTOM
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark 0x40000/0x40000 -j NFLOG --nflog-group 86
-A WEAVE-NPC-EGRESS -m mark ! --mark 0x40000/0x40000 -j DROP
-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark 0x40000/0x40000
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set weave-s_+ChJId4Uy_$}G;WdH|~TK)I src -m comment --comment "DefaultAllow egress isolation for namespace: default" -j WEAVE-NPC-EGRESS-ACCEPT
-A WEAVE-NPC-EGRESS-DEFAULT -m set --match-set weave-s_+ChJId4Uy_$}G;WdH|~TK)I src -m comment --comment "DefaultAllow egress isolation for namespace: default" -j RETURN
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
mkdir -p /run/roots/node1/run/weave
cat > /run/roots/node1/run/weave/peers <<'END'
02:79:60:a4:22:df=192.168.56.1
02:06:3a:70:e0:57=192.168.56.2
END
mkdir -p /run/roots/node2/run/log /run/roots/node2/sys/fs/bpf
mount -t bpf bpf /run/roots/node2/sys/fs/bpf
mkdir -p /run/roots/node2/upper/etc /run/roots/node2/work/etc /run/roots/node2/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/roots/node2/upper/etc,workdir=/run/roots/node2/work/etc /run/roots/node2/etc
mkdir -p /run/roots/node2/upper/var/lib /run/roots/node2/work/var/lib /run/roots/node2/var/lib
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/roots/node2/upper/var/lib,workdir=/run/roots/node2/work/var/lib /run/roots/node2/var/lib
mkdir -p /run/roots/node2/run/weave
cat > /run/roots/node2/run/weave/peers <<'END'
02:06:3a:70:e0:57=192.168.56.2
02:79:60:a4:22:df=192.168.56.1
END
export WEAVE_PASSWORD=$(od -An -v -tx1 -N16 /dev/urandom | tr -d ' \n')    # python3 needs PyNaCl
in_folders_of node1 python3 -I testbed/programs/sleeve.py vethwe-pcap 6783 @/run/weave/peers > /run/roots/node1/run/log/sleeve.log 2>&1 &
in_folders_of node2 python3 -I testbed/programs/sleeve.py vethwe-pcap 6783 @/run/weave/peers > /run/roots/node2/run/log/sleeve.log 2>&1 &

# --- Offloads that are off
ip netns exec node1 ethtool -K weave tx off > /dev/null
ip netns exec node1 ethtool -K vethwe-bridge tx off > /dev/null
ip netns exec node2 ethtool -K weave tx off > /dev/null
ip netns exec node2 ethtool -K vethwe-bridge tx off > /dev/null
ip netns exec client ethtool -K eth0 tx off > /dev/null
ip netns exec web-1 ethtool -K eth0 tx off > /dev/null
ip netns exec web-2 ethtool -K eth0 tx off > /dev/null
