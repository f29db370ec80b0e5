"""Runs the containers of a lab's pods: programs of the machine, and stand-ins for images."""

from testbed.lab.kubelet.kubelet import Kubelet, UnknownContainer
from testbed.lab.kubelet.status import PodStatus

__all__ = ["Kubelet", "PodStatus", "UnknownContainer"]
