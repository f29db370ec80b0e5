"""The layers of the kernel that a packet's path passes, by the names of their functions."""

import re

LAYERS = (
    # The first pattern that matches the beginning of a function's name decides.
    ("security", r"security_|apparmor|aa_|tomoyo|hook_|bpf_lsm|selinux|lsm_|yama|landlock"),
    ("eBPF", r"bpf|__bpf|___bpf|tcf_|tcx|sch_handle|cls_bpf|skb_do_redirect|htab_map|__htab_map|array_map|trie_"),
    (
        "netfilter",
        r"nf_|__nf_|nft_|ipt_|ip6t_|xt_|iptable|ip6table|ip_set|br_nf|br_handle_frame_finish_nf|nfct|nfnl|"
        r"hash_conntrack|conntrack|ip_vs|mark_mt|comment_mt|set_match|tcp_packet|udp_packet|icmp_packet|resolve_normal_ct|"
        r"ipv4_confirm|ipv4_conntrack|ctnetlink|tcp_in_window|addrtype|masq|physdev|multiport|ip_sabotage|get_unique_tuple",
    ),
    (
        "tunnel",
        r"vxlan|geneve|ip_tunnel|ipip|tunnel|iptunnel|gre_|__gre|gro_cells|udp_tunnel|udp_encap|ip_md_tunnel|wg_|"
        r"packet_|ovs_|esp|xfrm|seg6|lwtunnel|chacha|poly1305|curve|crypto|aead|gcm|aes|gf128|simd_|skcipher|prep_new|"
        r"tun_|__skb_vlan|keep_key_fresh|counter_validate|sip|decrypt|encrypt|kernel_fpu",
    ),
    ("bridge", r"br_|__br_|fdb_|ebt|nbp_|should_deliver|deliver_clone|maybe_deliver"),
    (
        "routing",
        r"fib|ip_route|__ip_route|ip6_route|rt_|ipv4_dst|dst_|ipv4_mtu|ip_mc|ip6_pol|find_exception|__mkroute|"
        r"inet_addr_type|inet_to_iface|skb_dst|ip6_dst|ip_forward|ip6_forward|neigh|__neigh|arp_|ndisc|ipv4_neigh|l3mdev|"
        r"ip_rcv_finish_core|fl4_|flow|__skb_flow|skb_get_hash|__skb_get_hash|get_hash|inet_lookup_ifaddr|icmp_route|"
        r"__icmp|ipv4_blackhole|tcp_v4_get_iif",
    ),
    ("driver", r"veth|netkit|macvlan|ipvlan|loopback_xmit|eth_|dev_forward|__dev_forward|skb_scrub|dummy"),
    (
        "qdisc",
        r"__dev_queue|dev_queue_xmit|__dev_direct|sch_|qdisc|__qdisc|dev_hard_start|netdev_core_pick|netif_skb|"
        r"validate_xmit|netdev_start|pfifo|noqueue|htb|netem|tbf|fq|dev_qdisc|skb_network_protocol|netdev_pick|harmonize|"
        r"passthru|skb_csum_hwoffload|__skb_gso|skb_gso|skb_segment|skb_mac_gso|inet_gso|tcp4_gso|tcp_gso|tcp6_gso",
    ),
    (
        "receive",
        r"netif_rx|__netif|netif_receive|enqueue_to_backlog|process_backlog|napi|__napi|net_rx|gro|dev_gro|"
        r"skb_gro|inet_gro|tcp4_gro|tcp_gro|udp4_gro|rps|handle_softirqs|__do_softirq|do_softirq|__local_bh|"
        r"__raise_softirq|raise_softirq|irq_exit_softirq|skb_defer|skb_attempt_defer|dev_list|kick_defer|get_rps|"
        r"__get_rps|backlog|deliver_skb|ptype|generic_xdp|do_xdp|eth_type",
    ),
    (
        "IP",
        r"ip_|__ip_|ip6_|ipv6_|ipv4_|inet_|__inet|icmp|__icmp|ping_|raw_|ip_send|csum|skb_csum|__skb_checksum|"
        r"inetdev|ip4_|ipv|inet6",
    ),
    (
        "TCP and UDP",
        r"tcp|__tcp|udp|__udp|bictcp|cubictcp|sk_reset_timer|inet_csk|inet_hash|inet_ehash|reqsk|"
        r"inet_twsk|mptcp|secure_tcp|cookie",
    ),
    (
        "socket",
        r"__x64_sys|__sys_|sock|__sock|sk_|__sk_|sys_|inet_send|inet_recv|security_|selinux|apparmor|aa_|"
        r"move_addr|import_|__import|copy_|_copy|__check_object|fdget|__fget|fput|release_sock|lock_sock|import_ubuf|"
        r"simple_copy|skb_copy|__skb_datagram|do_sock|__check_heap|check_stack|apparmor|bpf_lsm|iov_|memcg|"
        r"mem_cgroup|do_syscall|syscall|x64_sys|exit_to_user|lsm_",
    ),
    (
        "memory",
        r"kmem|kmalloc|__kmalloc|kfree|__kfree|alloc_skb|__alloc|skb_|__skb|consume_skb|napi_alloc|slab|__slab|"
        r"___slab|build_skb|__build|page|__page|free_|__free|alloc|pskb|mod_|refill|drain|get_page|cache_from|should_fail|"
        r"obj_cgroup|__memcg|lru|put_page|folio|__folio|get_obj|consume_stock|try_charge",
    ),
    (
        "scheduler",
        r"schedule|__schedule|try_to_wake|ttwu|__wake|wake_|default_wake|autoremove|prepare_to_wait|"
        r"finish_wait|add_wait|remove_wait|pick_|put_prev|set_next|enqueue_|dequeue_|update_|__update|check_preempt|"
        r"wakeup_|resched|finish_task|switch_|__switch|kthread|worker|queue_work|__queue_work|kick_pool|"
        r"insert_work|process_one|wq_|psi_|__calc|avg_|sched_|entity|place_|select_|reweight|vruntime|cpuacct|"
        r"cgroup|__cgroup|woken_wake|sk_wait|native_sched|rq_|pvclock|flush_smp|dl_|__dl|set_work|pwq|move_linked|"
        r"propagate|prandom|min_vruntime|cpu_util|find_idle|migrate|__hrtick|perf_event|hrtick",
    ),
    (
        "timer and interrupt",
        r"hrtimer|__hrtimer|timer|__timer|mod_timer|__mod_timer|ktime|tick_|irq_|__irq|sysvec|"
        r"__sysvec|lapic|clockevents|run_timer|read_tsc|timekeeping|update_process|add_timer|del_timer|detach|jiffies|"
        r"get_nohz|calc_wheel|lock_timer|native_|asm_|common_interrupt|apic|enqueue_timer",
    ),
    ("locks and RCU", r"rcu_|__rcu|srcu|call_rcu|_raw_|queued_|mutex|__mutex|rwsem|down_|up_|__raw|lock_|osq"),
)
"""Layers with the patterns of their functions; functions that no pattern matches are in the layer of their caller."""
OTHER = "other"
_PATTERNS = tuple((layer, re.compile(pattern)) for layer, pattern in LAYERS)


def layer_of(function: str, caller: str = OTHER) -> str:
    """The layer of a function; `caller` is its caller's."""
    return next((layer for layer, pattern in _PATTERNS if pattern.match(function)), caller)
