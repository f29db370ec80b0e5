#!/bin/sh -e
# Topology named under the design l3-gateway; pods have an MTU of 1500.
# Run as root in new namespaces: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;
#   . ./THIS-FILE; exec sh'

# --- Namespaces
ip netns add rack1    # a switch of the fabric
ip netns add rack2    # a switch of the fabric
ip netns add branch    # a switch of the fabric
ip netns add desk    # a switch of the fabric
ip netns add core    # a router of the fabric
ip netns add far    # a router of the fabric
ip netns add node1    # a node
ip netns add node2    # a node
ip netns add node3    # a node
ip netns add core_far    # a link of the fabric
ip netns add node3_desk    # a link of the fabric
ip netns add client    # a pod on node1
ip netns add web-1    # a pod on node1
ip netns add web-2    # a pod on node2
ip netns add web-3    # a pod on node3

# --- rack1: settings and devices
ip netns exec rack1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec rack1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n rack1 link set lo up
ip -n rack1 link add br0 index 101 address 02:45:49:9d:dc:32 mtu 9000 type bridge stp_state 0 forward_delay 0
ip -n rack1 link set br0 up

# --- rack2: settings and devices
ip netns exec rack2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec rack2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n rack2 link set lo up
ip -n rack2 link add br0 index 102 address 02:8c:05:06:9c:52 mtu 9000 type bridge stp_state 0 forward_delay 0
ip -n rack2 link set br0 up

# --- branch: settings and devices
ip netns exec branch sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec branch sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n branch link set lo up
ip -n branch link add br0 index 103 address 02:94:93:c7:de:4b mtu 9000 type bridge stp_state 0 forward_delay 0
ip -n branch link set br0 up

# --- desk: settings and devices
ip netns exec desk sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec desk sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n desk link set lo up
ip -n desk link add br0 index 104 address 02:a1:a1:c9:18:ee mtu 9000 type bridge stp_state 0 forward_delay 0
ip -n desk link set br0 up

# --- core: settings and devices
ip netns exec core sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec core sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n core link set lo up

# --- far: settings and devices
ip netns exec far sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec far sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n far link set lo up

# --- node1: settings and devices
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node1 link set lo up
ip -n node1 link add kube-bridge index 127 address 02:e3:1c:80:29:64 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node1 link set kube-bridge up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node2 link set lo up
ip -n node2 link add kube-bridge index 132 address 02:8d:33:fd:2b:22 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node2 link set kube-bridge up

# --- node3: settings and devices
ip netns exec node3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node3 link set lo up
ip -n node3 link add kube-bridge index 135 address 02:0a:aa:15:b2:a1 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node3 link set kube-bridge up

# --- core_far: settings and devices
ip netns exec core_far sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec core_far sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n core_far link set lo up
ip -n core_far link add br0 index 113 address 02:62:6d:89:e6:9e mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n core_far link set br0 promisc on up

# --- node3_desk: settings and devices
ip netns exec node3_desk sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec node3_desk sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node3_desk link set lo up
ip -n node3_desk link add br0 index 122 address 02:29:5d:92:5c:5f mtu 9000 type bridge stp_state 0 forward_delay 0
ip -n node3_desk link set br0 promisc on up

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

# --- web-3: settings and devices
ip netns exec web-3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n web-3 link set lo up

# --- Cables: veth pairs, each end in its namespace
ip link add to-node1 index 105 netns rack1 address 02:47:e9:79:fe:a0 mtu 9000 type veth peer name eth0 index 106 netns node1 address 02:8b:a1:fa:84:72 mtu 9000
ip -n rack1 link set to-node1 master br0 up
ip -n node1 link set eth0 up
ip link add to-node2 index 107 netns rack2 address 02:53:1c:b5:22:75 mtu 9000 type veth peer name eth0 index 108 netns node2 address 02:43:11:61:5f:d5 mtu 9000
ip -n rack2 link set to-node2 master br0 up
ip -n node2 link set eth0 up
ip link add to-core index 109 netns rack1 address 02:94:df:40:3f:45 mtu 9000 type veth peer name to-rack1 index 110 netns core address 02:ec:54:b6:e6:33 mtu 9000
ip -n rack1 link set to-core master br0 up
ip -n core link set to-rack1 up
ip link add to-core index 111 netns rack2 address 02:6c:8f:bb:ca:e3 mtu 9000 type veth peer name to-rack2 index 112 netns core address 02:17:84:a5:8e:71 mtu 9000
ip -n rack2 link set to-core master br0 up
ip -n core link set to-rack2 up
ip link add to-far index 114 netns core address 02:86:89:0e:3c:f0 mtu 1500 type veth peer name to-core index 115 netns core_far address 02:76:e6:f2:4e:fc mtu 1500
ip -n core link set to-far up
ip -n core_far link set to-core master br0 up
ip link add to-core index 116 netns far address 02:12:59:c0:70:da mtu 1500 type veth peer name to-far index 117 netns core_far address 02:72:15:c5:6e:3f mtu 1500
ip -n far link set to-core up
ip -n core_far link set to-far master br0 up
ip link add to-far index 118 netns branch address 02:47:b4:fe:e9:8e mtu 9000 type veth peer name to-branch index 119 netns far address 02:94:37:b2:c7:f8 mtu 9000
ip -n branch link set to-far master br0 up
ip -n far link set to-branch up
ip link add to-desk index 120 netns branch address 02:64:9c:fa:7f:00 mtu 9000 type veth peer name to-branch index 121 netns desk address 02:f2:a9:e9:cd:20 mtu 9000
ip -n branch link set to-desk master br0 up
ip -n desk link set to-branch master br0 up
ip link add eth0 index 123 netns node3 address 02:aa:b9:70:e4:b4 mtu 9000 type veth peer name to-node3 index 124 netns node3_desk address 02:44:ae:d9:3b:dc mtu 9000
ip -n node3 link set eth0 up
ip -n node3_desk link set to-node3 master br0 up
ip link add to-node3 index 125 netns desk address 02:6f:e5:b4:cf:a1 mtu 9000 type veth peer name to-desk index 126 netns node3_desk address 02:38:57:d3:ca:12 mtu 9000
ip -n desk link set to-node3 master br0 up
ip -n node3_desk link set to-desk master br0 up
ip link add veth-client index 128 netns node1 address 02:ac:6f:9b:bd:2a mtu 1500 type veth peer name eth0 index 129 netns client address 02:9b:d1:f3:d1:55 mtu 1500
ip -n node1 link set veth-client master kube-bridge up
ip -n client link set eth0 up
ip link add veth-web-1 index 130 netns node1 address 02:cd:c8:33:52:d7 mtu 1500 type veth peer name eth0 index 131 netns web-1 address 02:3e:4e:09:16:3e mtu 1500
ip -n node1 link set veth-web-1 master kube-bridge up
ip -n web-1 link set eth0 up
ip link add veth-web-2 index 133 netns node2 address 02:eb:2d:6d:ae:48 mtu 1500 type veth peer name eth0 index 134 netns web-2 address 02:8a:17:62:53:70 mtu 1500
ip -n node2 link set veth-web-2 master kube-bridge up
ip -n web-2 link set eth0 up
ip link add veth-web-3 index 136 netns node3 address 02:13:7f:6e:db:1a mtu 1500 type veth peer name eth0 index 137 netns web-3 address 02:d1:de:bc:d3:9a mtu 1500
ip -n node3 link set veth-web-3 master kube-bridge up
ip -n web-3 link set eth0 up

# --- core: addresses and routes
ip -n core address add 192.168.1.254/24 dev to-rack1
ip -n core address add 192.168.2.254/24 dev to-rack2
ip -n core address add 172.31.255.0/31 dev to-far
ip -n core -4 route add 192.168.3.0/24 via 172.31.255.1 dev to-far
ip -n core -4 route add 10.244.0.0/24 via 192.168.1.1 dev to-rack1
ip -n core -4 route add 10.244.1.0/24 via 192.168.2.1 dev to-rack2
ip -n core -4 route add 10.244.2.0/24 via 172.31.255.1 dev to-far

# --- far: addresses and routes
ip -n far address add 172.31.255.1/31 dev to-core
ip -n far address add 192.168.3.254/24 dev to-branch
ip -n far -4 route add 192.168.1.0/24 via 172.31.255.0 dev to-core
ip -n far -4 route add 192.168.2.0/24 via 172.31.255.0 dev to-core
ip -n far -4 route add 10.244.0.0/24 via 172.31.255.0 dev to-core
ip -n far -4 route add 10.244.1.0/24 via 172.31.255.0 dev to-core
ip -n far -4 route add 10.244.2.0/24 via 192.168.3.1 dev to-branch

# --- node1: addresses and routes
ip -n node1 address add 192.168.1.1/24 dev eth0
ip -n node1 address add 10.244.0.1/24 dev kube-bridge
ip -n node1 -4 route add default via 192.168.1.254 dev eth0

# --- node2: addresses and routes
ip -n node2 address add 192.168.2.1/24 dev eth0
ip -n node2 address add 10.244.1.1/24 dev kube-bridge
ip -n node2 -4 route add default via 192.168.2.254 dev eth0

# --- node3: addresses and routes
ip -n node3 address add 192.168.3.1/24 dev eth0
ip -n node3 address add 10.244.2.1/24 dev kube-bridge
ip -n node3 -4 route add default via 192.168.3.254 dev eth0

# --- core_far: addresses and routes
tc -n core_far qdisc add dev to-far root tbf rate 50000000bit burst 6250 limit 312500
tc -n core_far qdisc add dev to-core root tbf rate 10000000bit burst 3028 limit 70000

# --- node3_desk: addresses and routes
tc -n node3_desk qdisc add dev to-desk root tbf rate 1000000000bit burst 125000 limit 6250000
tc -n node3_desk qdisc add dev to-node3 root tbf rate 1000000000bit burst 125000 limit 6250000

# --- client: addresses and routes
ip -n client address add 10.244.0.2/24 dev eth0
ip -n client -4 route add default via 10.244.0.1 dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.3/24 dev eth0
ip -n web-1 -4 route add default via 10.244.0.1 dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.1.2/24 dev eth0
ip -n web-2 -4 route add default via 10.244.1.1 dev eth0

# --- web-3: addresses and routes
ip -n web-3 address add 10.244.2.2/24 dev eth0
ip -n web-3 -4 route add default via 10.244.2.1 dev eth0
