#!/bin/sh -e
# Topology two-nodes under the design calico-wireguard; pods have an MTU of 1440.
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
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1 net.ipv4.conf.all.src_valid_mark=1
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n node1 link set lo up
ip -n node1 link add wireguard.cali index 114 mtu 1440 type wireguard
ip -n node1 link set wireguard.cali up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1 net.ipv4.conf.all.src_valid_mark=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n node2 link set lo up
ip -n node2 link add wireguard.cali index 115 mtu 1440 type wireguard
ip -n node2 link set wireguard.cali up

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
ip link add calia7a3e029a7b index 108 netns node1 address ee:ee:ee:ee:ee:ee mtu 1440 type veth peer name eth0 index 109 netns client address 02:9b:d1:f3:d1:55 mtu 1440
ip -n node1 link set calia7a3e029a7b up
ip -n client link set eth0 up
ip link add cali0761ccbeace index 110 netns node1 address ee:ee:ee:ee:ee:ee mtu 1440 type veth peer name eth0 index 111 netns web-1 address 02:3e:4e:09:16:3e mtu 1440
ip -n node1 link set cali0761ccbeace up
ip -n web-1 link set eth0 up
ip link add cali9fb0db7f13e index 112 netns node2 address ee:ee:ee:ee:ee:ee mtu 1440 type veth peer name eth0 index 113 netns web-2 address 02:8a:17:62:53:70 mtu 1440
ip -n node2 link set cali9fb0db7f13e up
ip -n web-2 link set eth0 up

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0

# --- node1: addresses and routes
ip netns exec node1 sysctl -qw net/ipv4/conf/calia7a3e029a7b/proxy_arp=1 net/ipv4/neigh/calia7a3e029a7b/proxy_delay=0 net/ipv4/conf/cali0761ccbeace/proxy_arp=1 net/ipv4/neigh/cali0761ccbeace/proxy_delay=0 net/ipv4/conf/calia7a3e029a7b/route_localnet=1 net/ipv4/conf/calia7a3e029a7b/forwarding=1 net/ipv4/conf/calia7a3e029a7b/rp_filter=0 net/ipv4/conf/cali0761ccbeace/route_localnet=1 net/ipv4/conf/cali0761ccbeace/forwarding=1 net/ipv4/conf/cali0761ccbeace/rp_filter=0
ip netns exec node1 sysctl -qew net/ipv6/conf/calia7a3e029a7b/accept_ra=0 net/ipv6/conf/cali0761ccbeace/accept_ra=0
ip -n node1 address add 192.168.56.1/24 dev eth0
ip -n node1 address add 10.244.0.0/32 dev wireguard.cali
ip -n node1 -4 route add default via 192.168.56.254 dev eth0
ip -n node1 -4 route add 10.244.0.1/32 dev calia7a3e029a7b
ip -n node1 -4 route add 10.244.0.2/32 dev cali0761ccbeace
ip -n node1 -4 route add 10.244.0.64/26 dev wireguard.cali proto 80 table 1
ip -n node1 -4 rule add not from all fwmark 0x200000/0x200000 lookup 1 priority 99

# --- node2: addresses and routes
ip netns exec node2 sysctl -qw net/ipv4/conf/cali9fb0db7f13e/proxy_arp=1 net/ipv4/neigh/cali9fb0db7f13e/proxy_delay=0 net/ipv4/conf/cali9fb0db7f13e/route_localnet=1 net/ipv4/conf/cali9fb0db7f13e/forwarding=1 net/ipv4/conf/cali9fb0db7f13e/rp_filter=0
ip netns exec node2 sysctl -qew net/ipv6/conf/cali9fb0db7f13e/accept_ra=0
ip -n node2 address add 192.168.56.2/24 dev eth0
ip -n node2 address add 10.244.0.64/32 dev wireguard.cali
ip -n node2 -4 route add default via 192.168.56.254 dev eth0
ip -n node2 -4 route add 10.244.0.65/32 dev cali9fb0db7f13e
ip -n node2 -4 route add 10.244.0.0/26 dev wireguard.cali proto 80 table 1
ip -n node2 -4 rule add not from all fwmark 0x200000/0x200000 lookup 1 priority 99

# --- client: addresses and routes
ip -n client address add 10.244.0.1/32 dev eth0
ip -n client -4 route add 169.254.1.1/32 dev eth0
ip -n client -4 route add default via 169.254.1.1 dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.2/32 dev eth0
ip -n web-1 -4 route add 169.254.1.1/32 dev eth0
ip -n web-1 -4 route add default via 169.254.1.1 dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.0.65/32 dev eth0
ip -n web-2 -4 route add 169.254.1.1/32 dev eth0
ip -n web-2 -4 route add default via 169.254.1.1 dev eth0

# --- Keys, generated now
wg genkey | ip netns exec node1 wg set wireguard.cali private-key /dev/stdin listen-port 51820 fwmark 0x200000
wg genkey | ip netns exec node2 wg set wireguard.cali private-key /dev/stdin listen-port 51820 fwmark 0x200000
ip netns exec node1 wg set wireguard.cali peer "$(ip netns exec node2 wg show wireguard.cali public-key)" endpoint 192.168.56.2:51820 allowed-ips 10.244.0.64/26,192.168.56.2/32
ip netns exec node2 wg set wireguard.cali peer "$(ip netns exec node1 wg show wireguard.cali public-key)" endpoint 192.168.56.1:51820 allowed-ips 10.244.0.0/26,192.168.56.1/32

# --- Rules and sets
ip netns exec node1 ipset -exist restore <<'END'
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.244.0.0/16
create cali40network-ip-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40network-ip-pools 10.244.0.0/16
END
ip netns exec node1 iptables-restore --wait <<'END'
*raw
:cali-OUTPUT - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-rpf-skip - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A OUTPUT -j cali-OUTPUT
-A cali-OUTPUT -j MARK --set-xmark 0x0/0x1b0000
-A cali-OUTPUT -j cali-to-host-endpoint
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -j MARK --set-xmark 0x0/0x1b0000
-A cali-PREROUTING -i cali+ -j MARK --set-xmark 0x80000/0x80000
-A cali-PREROUTING -m mark --mark 0x80000/0x80000 -j cali-rpf-skip
-A cali-PREROUTING -m mark --mark 0x80000/0x80000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -m mark --mark 0x0/0x80000 -j cali-from-host-endpoint
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*mangle
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A POSTROUTING -j cali-POSTROUTING
-A cali-POSTROUTING -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING -j MARK --set-xmark 0x0/0x1b0000
-A cali-POSTROUTING -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*nat
:cali-OUTPUT - [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-fip-dnat - [0:0]
:cali-fip-snat - [0:0]
:cali-nat-outgoing - [0:0]
-A PREROUTING -j cali-PREROUTING
-A OUTPUT -j cali-OUTPUT
-A POSTROUTING -j cali-POSTROUTING
-A cali-OUTPUT -j cali-fip-dnat
-A cali-POSTROUTING -j cali-fip-snat
-A cali-POSTROUTING -j cali-nat-outgoing
-A cali-POSTROUTING -o wireguard.cali -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully
-A cali-PREROUTING -j cali-fip-dnat
-A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40network-ip-pools dst -j MASQUERADE --random-fully
COMMIT
*filter
:cali-FORWARD - [0:0]
:cali-INPUT - [0:0]
:cali-OUTPUT - [0:0]
:cali-cidr-block - [0:0]
:cali-from-hep-forward - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-fw-cali0761ccbeace - [0:0]
:cali-fw-calia7a3e029a7b - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali0761ccbeace - [0:0]
:cali-tw-calia7a3e029a7b - [0:0]
:cali-wl-to-host - [0:0]
-A INPUT -j cali-INPUT
-A FORWARD -j cali-FORWARD
-A FORWARD -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -j MARK --set-xmark 0x10000/0x10000
-A OUTPUT -j cali-OUTPUT
-A cali-FORWARD -j MARK --set-xmark 0x0/0x1a0000
-A cali-FORWARD -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -j cali-to-wl-dispatch
-A cali-FORWARD -j cali-to-hep-forward
-A cali-FORWARD -j cali-cidr-block
-A cali-INPUT -p udp -m comment --comment "Allow incoming IPv4 Wireguard packets" -m multiport --dports 51820 -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -i cali+ -g cali-wl-to-host
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -j MARK --set-xmark 0x0/0x1b0000
-A cali-INPUT -j cali-from-host-endpoint
-A cali-INPUT -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -j RETURN
-A cali-OUTPUT -p udp -m comment --comment "Allow outgoing IPv4 Wireguard packets" -m multiport --dports 51820 -m addrtype --src-type LOCAL -j ACCEPT
-A cali-OUTPUT -j MARK --set-xmark 0x0/0x1b0000
-A cali-OUTPUT -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i cali0761ccbeace -g cali-fw-cali0761ccbeace
-A cali-from-wl-dispatch -i calia7a3e029a7b -g cali-fw-calia7a3e029a7b
-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali0761ccbeace -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali0761ccbeace -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali0761ccbeace -j MARK --set-xmark 0x0/0x30000
-A cali-fw-cali0761ccbeace -p udp -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali0761ccbeace -p ipencap -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali0761ccbeace -j cali-pro-kns.default
-A cali-fw-cali0761ccbeace -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali0761ccbeace -j cali-pro-ksa.default.default
-A cali-fw-cali0761ccbeace -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali0761ccbeace -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-calia7a3e029a7b -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calia7a3e029a7b -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calia7a3e029a7b -j MARK --set-xmark 0x0/0x30000
-A cali-fw-calia7a3e029a7b -p udp -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calia7a3e029a7b -p ipencap -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calia7a3e029a7b -j cali-pro-kns.default
-A cali-fw-calia7a3e029a7b -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calia7a3e029a7b -j cali-pro-ksa.default.default
-A cali-fw-calia7a3e029a7b -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calia7a3e029a7b -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali0761ccbeace -g cali-tw-cali0761ccbeace
-A cali-to-wl-dispatch -o calia7a3e029a7b -g cali-tw-calia7a3e029a7b
-A cali-to-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali0761ccbeace -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali0761ccbeace -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali0761ccbeace -j MARK --set-xmark 0x0/0x30000
-A cali-tw-cali0761ccbeace -j cali-pri-kns.default
-A cali-tw-cali0761ccbeace -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali0761ccbeace -j cali-pri-ksa.default.default
-A cali-tw-cali0761ccbeace -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali0761ccbeace -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-calia7a3e029a7b -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calia7a3e029a7b -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calia7a3e029a7b -j MARK --set-xmark 0x0/0x30000
-A cali-tw-calia7a3e029a7b -j cali-pri-kns.default
-A cali-tw-calia7a3e029a7b -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calia7a3e029a7b -j cali-pri-ksa.default.default
-A cali-tw-calia7a3e029a7b -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calia7a3e029a7b -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END
ip netns exec node2 ipset -exist restore <<'END'
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.244.0.0/16
create cali40network-ip-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40network-ip-pools 10.244.0.0/16
END
ip netns exec node2 iptables-restore --wait <<'END'
*raw
:cali-OUTPUT - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-rpf-skip - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A OUTPUT -j cali-OUTPUT
-A cali-OUTPUT -j MARK --set-xmark 0x0/0x1b0000
-A cali-OUTPUT -j cali-to-host-endpoint
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -j MARK --set-xmark 0x0/0x1b0000
-A cali-PREROUTING -i cali+ -j MARK --set-xmark 0x80000/0x80000
-A cali-PREROUTING -m mark --mark 0x80000/0x80000 -j cali-rpf-skip
-A cali-PREROUTING -m mark --mark 0x80000/0x80000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -m mark --mark 0x0/0x80000 -j cali-from-host-endpoint
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*mangle
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -j cali-PREROUTING
-A POSTROUTING -j cali-POSTROUTING
-A cali-POSTROUTING -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING -j MARK --set-xmark 0x0/0x1b0000
-A cali-POSTROUTING -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*nat
:cali-OUTPUT - [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-fip-dnat - [0:0]
:cali-fip-snat - [0:0]
:cali-nat-outgoing - [0:0]
-A PREROUTING -j cali-PREROUTING
-A OUTPUT -j cali-OUTPUT
-A POSTROUTING -j cali-POSTROUTING
-A cali-OUTPUT -j cali-fip-dnat
-A cali-POSTROUTING -j cali-fip-snat
-A cali-POSTROUTING -j cali-nat-outgoing
-A cali-POSTROUTING -o wireguard.cali -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully
-A cali-PREROUTING -j cali-fip-dnat
-A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40network-ip-pools dst -j MASQUERADE --random-fully
COMMIT
*filter
:cali-FORWARD - [0:0]
:cali-INPUT - [0:0]
:cali-OUTPUT - [0:0]
:cali-cidr-block - [0:0]
:cali-from-hep-forward - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-fw-cali9fb0db7f13e - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali9fb0db7f13e - [0:0]
:cali-wl-to-host - [0:0]
-A INPUT -j cali-INPUT
-A FORWARD -j cali-FORWARD
-A FORWARD -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -j MARK --set-xmark 0x10000/0x10000
-A OUTPUT -j cali-OUTPUT
-A cali-FORWARD -j MARK --set-xmark 0x0/0x1a0000
-A cali-FORWARD -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -j cali-to-wl-dispatch
-A cali-FORWARD -j cali-to-hep-forward
-A cali-FORWARD -j cali-cidr-block
-A cali-INPUT -p udp -m comment --comment "Allow incoming IPv4 Wireguard packets" -m multiport --dports 51820 -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -i cali+ -g cali-wl-to-host
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -j MARK --set-xmark 0x0/0x1b0000
-A cali-INPUT -j cali-from-host-endpoint
-A cali-INPUT -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -j RETURN
-A cali-OUTPUT -p udp -m comment --comment "Allow outgoing IPv4 Wireguard packets" -m multiport --dports 51820 -m addrtype --src-type LOCAL -j ACCEPT
-A cali-OUTPUT -j MARK --set-xmark 0x0/0x1b0000
-A cali-OUTPUT -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i cali9fb0db7f13e -g cali-fw-cali9fb0db7f13e
-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali9fb0db7f13e -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali9fb0db7f13e -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali9fb0db7f13e -j MARK --set-xmark 0x0/0x30000
-A cali-fw-cali9fb0db7f13e -p udp -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali9fb0db7f13e -p ipencap -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali9fb0db7f13e -j cali-pro-kns.default
-A cali-fw-cali9fb0db7f13e -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali9fb0db7f13e -j cali-pro-ksa.default.default
-A cali-fw-cali9fb0db7f13e -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali9fb0db7f13e -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali9fb0db7f13e -g cali-tw-cali9fb0db7f13e
-A cali-to-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali9fb0db7f13e -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali9fb0db7f13e -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali9fb0db7f13e -j MARK --set-xmark 0x0/0x30000
-A cali-tw-cali9fb0db7f13e -j cali-pri-kns.default
-A cali-tw-cali9fb0db7f13e -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali9fb0db7f13e -j cali-pri-ksa.default.default
-A cali-tw-cali9fb0db7f13e -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali9fb0db7f13e -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
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
mkdir -p /run/roots/node1/run/bird
cat > /run/roots/node1/run/bird/bird.conf <<'END'
log stderr all;
router id 192.168.56.1;

protocol device {
  scan time 1;
}

protocol direct {
  ipv4;
  interface -"cali*", "*";
}

protocol static blocks4 {
  ipv4;
  route 10.244.0.0/26 blackhole;
}

# Own and learned blocks, not the kernel's routes to single pods.
filter to_peers4 {
  if source ~ [RTS_STATIC, RTS_BGP] && net ~ [10.244.0.0/16+] then accept;
  reject;
}

filter to_kernel4 {
  if source ~ [RTS_STATIC, RTS_BGP] then accept;
  reject;
}

protocol kernel kernel4 {
  learn;
  persist;
  scan time 2;
  metric 0;
  merge paths on limit 255;
  ipv4 {
    import all;
    export filter to_kernel4;
  };
}

template bgp peer4 {
  multihop;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 5;
  ipv4 {
    import all;
    export filter to_peers4;
    gateway recursive;
  };
}

protocol bgp Mesh_192_168_56_2 from peer4 {
  local 192.168.56.1 as 64512;
  neighbor 192.168.56.2 as 64512;
}
END
mkdir -p /run/roots/node1/run/bird
cat > /run/roots/node1/run/bird/bird.pid <<'END'
END
mkdir -p /run/roots/node2/run/log /run/roots/node2/sys/fs/bpf
mount -t bpf bpf /run/roots/node2/sys/fs/bpf
mkdir -p /run/roots/node2/upper/etc /run/roots/node2/work/etc /run/roots/node2/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/roots/node2/upper/etc,workdir=/run/roots/node2/work/etc /run/roots/node2/etc
mkdir -p /run/roots/node2/upper/var/lib /run/roots/node2/work/var/lib /run/roots/node2/var/lib
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/roots/node2/upper/var/lib,workdir=/run/roots/node2/work/var/lib /run/roots/node2/var/lib
mkdir -p /run/roots/node2/run/bird
cat > /run/roots/node2/run/bird/bird.conf <<'END'
log stderr all;
router id 192.168.56.2;

protocol device {
  scan time 1;
}

protocol direct {
  ipv4;
  interface -"cali*", "*";
}

protocol static blocks4 {
  ipv4;
  route 10.244.0.64/26 blackhole;
}

# Own and learned blocks, not the kernel's routes to single pods.
filter to_peers4 {
  if source ~ [RTS_STATIC, RTS_BGP] && net ~ [10.244.0.0/16+] then accept;
  reject;
}

filter to_kernel4 {
  if source ~ [RTS_STATIC, RTS_BGP] then accept;
  reject;
}

protocol kernel kernel4 {
  learn;
  persist;
  scan time 2;
  metric 0;
  merge paths on limit 255;
  ipv4 {
    import all;
    export filter to_kernel4;
  };
}

template bgp peer4 {
  multihop;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 5;
  ipv4 {
    import all;
    export filter to_peers4;
    gateway recursive;
  };
}

protocol bgp Mesh_192_168_56_1 from peer4 {
  local 192.168.56.2 as 64512;
  neighbor 192.168.56.1 as 64512;
  passive on;
}
END
mkdir -p /run/roots/node2/run/bird
cat > /run/roots/node2/run/bird/bird.pid <<'END'
END
in_folders_of node1 bird -f -c /run/bird/bird.conf -s /run/bird/bird.ctl -P /run/bird/bird.pid > /run/roots/node1/run/log/bird.log 2>&1 &
in_folders_of node2 bird -f -c /run/bird/bird.conf -s /run/bird/bird.ctl -P /run/bird/bird.pid > /run/roots/node2/run/log/bird.log 2>&1 &
