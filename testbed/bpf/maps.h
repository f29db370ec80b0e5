/* The maps of the programs: endpoints, remote addresses, counters. The agent's side of these structures is in
 * testbed/designs/presets/cilium/maps.py; names and meanings are those of Cilium's maps. Numbers are in host byte order,
 * addresses in network byte order. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define FAMILY_IPV4 1
#define FAMILY_IPV6 2

struct address {
	__u32 words[4]; /* IPv4 uses only the first. */
};

struct endpoint_key {
	struct address address;
	__u8 family;
	__u8 pad[3];
};

#define ENDPOINT_IS_HOST 1 /* One of the node's own addresses: the node's stack receives it. */

struct endpoint {
	__u32 ifindex; /* The node's end. */
	__u16 lxc_id;
	__u16 flags;
	__u32 identity;
	__u8 mac[6];	  /* The pod's end. */
	__u8 node_mac[6]; /* The node's end. */
};

/* Endpoints of this node, by address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_lxc SEC(".maps");

struct ipcache_key {
	__u32 prefix_length; /* In bits of all following fields. */
	__u8 pad[3];
	__u8 family;
	struct address address;
};

#define IPCACHE_PREFIX(bits) (32 + (bits))

struct remote {
	__u32 identity;
	__u8 tunnel_family; /* 0: no tunnel. */
	__u8 pad[3];
	struct address tunnel;
};

/* Identity and tunnel endpoint, by address, of the whole cluster. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipcache_key);
	__type(value, struct remote);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_ipcache SEC(".maps");

struct node_config {
	__u32 host_ifindex; /* cilium_host */
	__u32 tunnel_ifindex; /* cilium_vxlan */
	__u8 host_mac[6];
	__u8 pad[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct node_config);
	__uint(max_entries, 1);
} cilium_config SEC(".maps");

enum direction { INGRESS = 1, EGRESS = 2 }; /* From the pod's view. */

enum program { FROM_CONTAINER = 1, FROM_NETDEV, FROM_OVERLAY, TO_OVERLAY, FROM_HOST, TO_HOST };

/* Cilium's numbers (DROP_...). */
enum reason {
	FORWARDED = 0,
	INVALID_SOURCE_IP = 132,
	INVALID_PACKET = 134,
	UNSUPPORTED_L3 = 139,
	NO_TUNNEL_KEY = 147,
	UNROUTABLE = 151,
	NO_CONFIG = 165,
	FIB_LOOKUP_FAILED = 169,
	INVALID_IDENTITY = 171,
	TTL_EXCEEDED = 196,
};

struct metrics_key {
	__u8 reason;
	__u8 direction;
	__u8 program;
	__u8 pad;
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct metrics_key);
	__type(value, struct count);
	__uint(max_entries, 256);
} cilium_metrics SEC(".maps");

struct endpoint_metrics_key {
	__u16 lxc_id;
	__u8 direction;
	__u8 pad;
};

/* Packets from and to each pod of this node. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct endpoint_metrics_key);
	__type(value, struct count);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} endpoint_metric SEC(".maps");

static __always_inline void add(void *map, const void *key, __u64 bytes)
{
	struct count *count = bpf_map_lookup_elem(map, key);

	if (count) {
		count->packets++; /* Not atomic: each CPU has its own. */
		count->bytes += bytes;
	} else {
		struct count first = {1, bytes};

		bpf_map_update_elem(map, key, &first, BPF_ANY);
	}
}

static __always_inline void count(struct __sk_buff *ctx, enum program program, enum direction direction,
				  enum reason reason)
{
	struct metrics_key key = {.reason = reason, .direction = direction, .program = program};

	add(&cilium_metrics, &key, ctx->len);
}

static __always_inline void count_endpoint(struct __sk_buff *ctx, const struct endpoint *endpoint,
					   enum direction direction)
{
	struct endpoint_metrics_key key = {.lxc_id = endpoint->lxc_id, .direction = direction};

	add(&endpoint_metric, &key, ctx->len);
}

static __always_inline struct endpoint *endpoint_at(const struct address *address, __u8 family)
{
	struct endpoint_key key = {.address = *address, .family = family};

	return bpf_map_lookup_elem(&cilium_lxc, &key);
}

static __always_inline struct remote *remote_at(const struct address *address, __u8 family)
{
	struct ipcache_key key = {
		.prefix_length = IPCACHE_PREFIX(family == FAMILY_IPV4 ? 32 : 128),
		.family = family,
		.address = *address,
	};

	return bpf_map_lookup_elem(&cilium_ipcache, &key);
}

static __always_inline struct node_config *node_config(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&cilium_config, &only);
}
