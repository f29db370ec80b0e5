#!/bin/sh -e
# Topology two-nodes under the design kube-router; pods have an MTU of 1500.
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
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
ip -n node1 link set lo up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
ip -n node2 link set lo up

# --- client: settings and devices
ip netns exec client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec client sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
ip -n client link set lo up

# --- web-1: settings and devices
ip netns exec web-1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-1 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-1 link set lo up

# --- web-2: settings and devices
ip netns exec web-2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-2 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
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

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0

# --- node1: addresses and routes
ip -n node1 address add 192.168.56.1/24 dev eth0
ip -n node1 -4 route add default via 192.168.56.254 dev eth0
ip -n node1 -4 rule add from 10.244.0.0/24 lookup 77 priority 32765

# --- node2: addresses and routes
ip -n node2 address add 192.168.56.2/24 dev eth0
ip -n node2 -4 route add default via 192.168.56.254 dev eth0
ip -n node2 -4 rule add from 10.244.1.0/24 lookup 77 priority 32765

# --- Rules and sets
ip netns exec node1 ipset -exist restore <<'END'
create kube-router-node-ips hash:ip family inet hashsize 1024 maxelem 65536 timeout 0
add kube-router-node-ips 192.168.56.1 timeout 0
add kube-router-node-ips 192.168.56.2 timeout 0
create kube-router-pod-subnets hash:net family inet hashsize 1024 maxelem 65536 timeout 0
add kube-router-pod-subnets 10.244.0.0/24 timeout 0
add kube-router-pod-subnets 10.244.1.0/24 timeout 0
END
ip netns exec node1 iptables-restore --wait <<'END'
*nat
-A POSTROUTING -m set --match-set kube-router-pod-subnets src -m set ! --match-set kube-router-pod-subnets dst -m set ! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-NWPLCY-COMMON - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-POD-FW-PU6JI4IOBBKXRMM7 - [0:0]
:KUBE-POD-FW-XGTLPU6HAXUCCWBC - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
-A INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -o eth0 -m comment --comment "allow outbound node port traffic on node interface with which node ip is associated" -j ACCEPT
-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT
-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT
-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A KUBE-NWPLCY-COMMON -m comment --comment "rule to drop invalid state for pod" -m conntrack --ctstate INVALID -j DROP
-A KUBE-NWPLCY-COMMON -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-NWPLCY-COMMON -p icmp -m comment --comment "allow icmp echo requests" -m icmp --icmp-type 8 -j ACCEPT
-A KUBE-NWPLCY-COMMON -p icmp -m comment --comment "allow icmp destination unreachable messages" -m icmp --icmp-type 3 -j ACCEPT
-A KUBE-NWPLCY-COMMON -p icmp -m comment --comment "allow icmp time exceeded messages" -m icmp --icmp-type 11 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -m comment --comment "rule to mark traffic matching a network policy" -j MARK --set-xmark 0x10000/0x10000
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -m comment --comment "run through common network policy chain" -j KUBE-NWPLCY-COMMON
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -d 10.244.0.3/32 -m comment --comment "rule to permit the traffic traffic to pods when source is the pod\'s local node" -m addrtype --src-type LOCAL -j ACCEPT
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -s 10.244.0.3/32 -m comment --comment "run through default egress network policy chain" -j KUBE-NWPLCY-DEFAULT
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -d 10.244.0.3/32 -m comment --comment "run through default ingress network policy chain" -j KUBE-NWPLCY-DEFAULT
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -m comment --comment "rule to log dropped traffic POD name:web-1 namespace: default" -m mark ! --mark 0x10000/0x10000 -m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -m comment --comment "rule to REJECT traffic destined for POD name:web-1 namespace: default" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -j MARK --set-xmark 0x0/0x10000
-A KUBE-POD-FW-PU6JI4IOBBKXRMM7 -m comment --comment "set mark to ACCEPT traffic that comply to network policies" -j MARK --set-xmark 0x20000/0x20000
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -m comment --comment "run through common network policy chain" -j KUBE-NWPLCY-COMMON
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -d 10.244.0.2/32 -m comment --comment "rule to permit the traffic traffic to pods when source is the pod\'s local node" -m addrtype --src-type LOCAL -j ACCEPT
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -s 10.244.0.2/32 -m comment --comment "run through default egress network policy chain" -j KUBE-NWPLCY-DEFAULT
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -d 10.244.0.2/32 -m comment --comment "run through default ingress network policy chain" -j KUBE-NWPLCY-DEFAULT
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -m comment --comment "rule to log dropped traffic POD name:client namespace: default" -m mark ! --mark 0x10000/0x10000 -m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -m comment --comment "rule to REJECT traffic destined for POD name:client namespace: default" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -j MARK --set-xmark 0x0/0x10000
-A KUBE-POD-FW-XGTLPU6HAXUCCWBC -m comment --comment "set mark to ACCEPT traffic that comply to network policies" -j MARK --set-xmark 0x20000/0x20000
-A KUBE-ROUTER-FORWARD -d 10.244.0.2/32 -m comment --comment "rule to jump traffic destined to POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-FORWARD -d 10.244.0.2/32 -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic destined to POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-FORWARD -s 10.244.0.2/32 -m comment --comment "rule to jump traffic from POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-FORWARD -s 10.244.0.2/32 -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic from POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-FORWARD -d 10.244.0.3/32 -m comment --comment "rule to jump traffic destined to POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-FORWARD -d 10.244.0.3/32 -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic destined to POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-FORWARD -s 10.244.0.3/32 -m comment --comment "rule to jump traffic from POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-FORWARD -s 10.244.0.3/32 -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic from POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -m comment --comment "allow traffic to primary/secondary cluster IP range - BVHX2PIHDXXEO43X" -j RETURN
-A KUBE-ROUTER-INPUT -p tcp -m comment --comment "allow LOCAL TCP traffic to node ports - LR7XO7NXDBGQJD2M" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -p udp -m comment --comment "allow LOCAL UDP traffic to node ports - 76UCBPIZNGJNWNUZ" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -s 10.244.0.2/32 -m comment --comment "rule to jump traffic from POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-INPUT -s 10.244.0.3/32 -m comment --comment "rule to jump traffic from POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-INPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-OUTPUT -d 10.244.0.2/32 -m comment --comment "rule to jump traffic destined to POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-OUTPUT -s 10.244.0.2/32 -m comment --comment "rule to jump traffic from POD name:client namespace: default to chain KUBE-POD-FW-XGTLPU6HAXUCCWBC" -j KUBE-POD-FW-XGTLPU6HAXUCCWBC
-A KUBE-ROUTER-OUTPUT -d 10.244.0.3/32 -m comment --comment "rule to jump traffic destined to POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-OUTPUT -s 10.244.0.3/32 -m comment --comment "rule to jump traffic from POD name:web-1 namespace: default to chain KUBE-POD-FW-PU6JI4IOBBKXRMM7" -j KUBE-POD-FW-PU6JI4IOBBKXRMM7
-A KUBE-ROUTER-OUTPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
COMMIT
END
ip netns exec node2 ipset -exist restore <<'END'
create kube-router-node-ips hash:ip family inet hashsize 1024 maxelem 65536 timeout 0
add kube-router-node-ips 192.168.56.1 timeout 0
add kube-router-node-ips 192.168.56.2 timeout 0
create kube-router-pod-subnets hash:net family inet hashsize 1024 maxelem 65536 timeout 0
add kube-router-pod-subnets 10.244.0.0/24 timeout 0
add kube-router-pod-subnets 10.244.1.0/24 timeout 0
END
ip netns exec node2 iptables-restore --wait <<'END'
*nat
-A POSTROUTING -m set --match-set kube-router-pod-subnets src -m set ! --match-set kube-router-pod-subnets dst -m set ! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-NWPLCY-COMMON - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-POD-FW-C6S7D5KYYRFK6XUA - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
-A INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -o eth0 -m comment --comment "allow outbound node port traffic on node interface with which node ip is associated" -j ACCEPT
-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT
-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT
-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A KUBE-NWPLCY-COMMON -m comment --comment "rule to drop invalid state for pod" -m conntrack --ctstate INVALID -j DROP
-A KUBE-NWPLCY-COMMON -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-NWPLCY-COMMON -p icmp -m comment --comment "allow icmp echo requests" -m icmp --icmp-type 8 -j ACCEPT
-A KUBE-NWPLCY-COMMON -p icmp -m comment --comment "allow icmp destination unreachable messages" -m icmp --icmp-type 3 -j ACCEPT
-A KUBE-NWPLCY-COMMON -p icmp -m comment --comment "allow icmp time exceeded messages" -m icmp --icmp-type 11 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -m comment --comment "rule to mark traffic matching a network policy" -j MARK --set-xmark 0x10000/0x10000
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -m comment --comment "run through common network policy chain" -j KUBE-NWPLCY-COMMON
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -d 10.244.1.2/32 -m comment --comment "rule to permit the traffic traffic to pods when source is the pod\'s local node" -m addrtype --src-type LOCAL -j ACCEPT
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -s 10.244.1.2/32 -m comment --comment "run through default egress network policy chain" -j KUBE-NWPLCY-DEFAULT
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -d 10.244.1.2/32 -m comment --comment "run through default ingress network policy chain" -j KUBE-NWPLCY-DEFAULT
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -m comment --comment "rule to log dropped traffic POD name:web-2 namespace: default" -m mark ! --mark 0x10000/0x10000 -m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -m comment --comment "rule to REJECT traffic destined for POD name:web-2 namespace: default" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -j MARK --set-xmark 0x0/0x10000
-A KUBE-POD-FW-C6S7D5KYYRFK6XUA -m comment --comment "set mark to ACCEPT traffic that comply to network policies" -j MARK --set-xmark 0x20000/0x20000
-A KUBE-ROUTER-FORWARD -d 10.244.1.2/32 -m comment --comment "rule to jump traffic destined to POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-FORWARD -d 10.244.1.2/32 -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic destined to POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-FORWARD -s 10.244.1.2/32 -m comment --comment "rule to jump traffic from POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-FORWARD -s 10.244.1.2/32 -m physdev --physdev-is-bridged -m comment --comment "rule to jump traffic from POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -m comment --comment "allow traffic to primary/secondary cluster IP range - BVHX2PIHDXXEO43X" -j RETURN
-A KUBE-ROUTER-INPUT -p tcp -m comment --comment "allow LOCAL TCP traffic to node ports - LR7XO7NXDBGQJD2M" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -p udp -m comment --comment "allow LOCAL UDP traffic to node ports - 76UCBPIZNGJNWNUZ" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -s 10.244.1.2/32 -m comment --comment "rule to jump traffic from POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-INPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-OUTPUT -d 10.244.1.2/32 -m comment --comment "rule to jump traffic destined to POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-OUTPUT -s 10.244.1.2/32 -m comment --comment "rule to jump traffic from POD name:web-2 namespace: default to chain KUBE-POD-FW-C6S7D5KYYRFK6XUA" -j KUBE-POD-FW-C6S7D5KYYRFK6XUA
-A KUBE-ROUTER-OUTPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
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
mkdir -p /run/roots/node1/etc/cni/net.d
cat > /run/roots/node1/etc/cni/net.d/10-kuberouter.conflist <<'END'
{
  "cniVersion": "0.3.0",
  "name": "mynet",
  "plugins": [
    {
      "name": "kubernetes",
      "type": "bridge",
      "bridge": "kube-bridge",
      "mtu": 1500,
      "isDefaultGateway": true,
      "ipam": {
        "type": "host-local",
        "ranges": [
          [{"subnet": "10.244.0.0/24"}]
        ]
      }
    }
  ]
}
END
mkdir -p /run/roots/node1/etc/iproute2
cat > /run/roots/node1/etc/iproute2/rt_tables <<'END'
#
# reserved values
#
255	local
254	main
253	default
0	unspec
77 kube-router
END
mkdir -p /run/roots/node1/run/bird
cat > /run/roots/node1/run/bird/bird.conf <<'END'
log stderr all;
router id 192.168.56.1;

protocol device {
  scan time 1;
}

protocol direct {
  ipv4;
  interface -"kube-bridge", "*";
}

protocol static blocks4 {
  ipv4;
  route 10.244.0.0/24 blackhole;
}

# Own and learned blocks, not the kernel's routes to single pods.
filter to_peers4 {
  if source ~ [RTS_STATIC, RTS_BGP] && net ~ [10.244.0.0/16+] then accept;
  reject;
}

filter to_kernel4 {
  if source = RTS_BGP then accept;
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

protocol bgp Node_192_168_56_2 from peer4 {
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
mkdir -p /run/roots/node2/etc/cni/net.d
cat > /run/roots/node2/etc/cni/net.d/10-kuberouter.conflist <<'END'
{
  "cniVersion": "0.3.0",
  "name": "mynet",
  "plugins": [
    {
      "name": "kubernetes",
      "type": "bridge",
      "bridge": "kube-bridge",
      "mtu": 1500,
      "isDefaultGateway": true,
      "ipam": {
        "type": "host-local",
        "ranges": [
          [{"subnet": "10.244.1.0/24"}]
        ]
      }
    }
  ]
}
END
mkdir -p /run/roots/node2/etc/iproute2
cat > /run/roots/node2/etc/iproute2/rt_tables <<'END'
#
# reserved values
#
255	local
254	main
253	default
0	unspec
77 kube-router
END
mkdir -p /run/roots/node2/run/bird
cat > /run/roots/node2/run/bird/bird.conf <<'END'
log stderr all;
router id 192.168.56.2;

protocol device {
  scan time 1;
}

protocol direct {
  ipv4;
  interface -"kube-bridge", "*";
}

protocol static blocks4 {
  ipv4;
  route 10.244.1.0/24 blackhole;
}

# Own and learned blocks, not the kernel's routes to single pods.
filter to_peers4 {
  if source ~ [RTS_STATIC, RTS_BGP] && net ~ [10.244.0.0/16+] then accept;
  reject;
}

filter to_kernel4 {
  if source = RTS_BGP then accept;
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

protocol bgp Node_192_168_56_1 from peer4 {
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

# --- Pods that CNI plugins attach
mkdir -p /run/roots/node1/run/netns; touch /run/roots/node1/run/netns/client; mount --bind /run/netns/client /run/roots/node1/run/netns/client
result=$(in_folders_of node1 env CNI_COMMAND=ADD CNI_PATH=/usr/lib/cni CNI_CONTAINERID=client CNI_NETNS=/run/netns/client CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=client;K8S_POD_INFRA_CONTAINER_ID=client;K8S_POD_UID=1b22e939-cac1-4056-a7ea-710aa51ac6c3' PATH=/usr/lib/cni:"$PATH" bridge <<END
{"name": "mynet", "type": "bridge", "bridge": "kube-bridge", "mtu": 1500, "isDefaultGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]}, "cniVersion": "0.3.0"}
END
)
mkdir -p /run/roots/node1/run/netns; touch /run/roots/node1/run/netns/web-1; mount --bind /run/netns/web-1 /run/roots/node1/run/netns/web-1
result=$(in_folders_of node1 env CNI_COMMAND=ADD CNI_PATH=/usr/lib/cni CNI_CONTAINERID=web-1 CNI_NETNS=/run/netns/web-1 CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=web-1;K8S_POD_UID=fcba73ef-4268-4f3e-bd5b-0e2afe661285' PATH=/usr/lib/cni:"$PATH" bridge <<END
{"name": "mynet", "type": "bridge", "bridge": "kube-bridge", "mtu": 1500, "isDefaultGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]}, "cniVersion": "0.3.0"}
END
)
mkdir -p /run/roots/node2/run/netns; touch /run/roots/node2/run/netns/web-2; mount --bind /run/netns/web-2 /run/roots/node2/run/netns/web-2
result=$(in_folders_of node2 env CNI_COMMAND=ADD CNI_PATH=/usr/lib/cni CNI_CONTAINERID=web-2 CNI_NETNS=/run/netns/web-2 CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-2;K8S_POD_INFRA_CONTAINER_ID=web-2;K8S_POD_UID=63f0372d-3d6a-428a-ae68-3aae342b4cde' PATH=/usr/lib/cni:"$PATH" bridge <<END
{"name": "mynet", "type": "bridge", "bridge": "kube-bridge", "mtu": 1500, "isDefaultGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]]}, "cniVersion": "0.3.0"}
END
)
