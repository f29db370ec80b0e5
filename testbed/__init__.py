"""A network emulation testbed for Kubernetes pod networking designs, on Mininet and the real Linux kernel."""

__version__ = "0.1.0"
