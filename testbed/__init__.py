"""A network emulation testbed for Kubernetes pod networking designs, on Mininet and the real Linux kernel."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Lab", "__version__"]

if TYPE_CHECKING:
    from testbed.api import Lab


def __getattr__(name: str) -> Any:
    """`from testbed import Lab`, whose import is the verbs' to spare."""
    if name == "Lab":
        from testbed.api import Lab

        return Lab
    raise AttributeError(f"module 'testbed' has no attribute {name!r}")
