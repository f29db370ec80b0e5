"""Cilium: pods' packets are forwarded by eBPF programs instead of the node's stack."""
