"""Cilium: eBPF programs forward pods' packets instead of the node's stack."""
