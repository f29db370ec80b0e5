"""Waiting for the kernel to have freed the namespaces that were let go.

It frees them in the background, after whoever held them last has gone on, and what is built or measured meanwhile pays
for it.
"""

import time
from pathlib import Path

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import send
from testbed.plan.objects import VethEnd

_PATIENCE_S = 10.0
_PAUSE_S = 0.0005


def await_freed() -> None:
    """Returns when every namespace that was let go before is freed, or after ten seconds.

    The kernel frees them in batches: first the devices of a whole batch, then all the rest. So a namespace is let go
    that has a link to the calling thread's, which had better be a capsule's. When that link has gone, the batch of all
    namespaces before it is under way; a second one comes into the next batch, whose turn it is when that one is done.
    """
    deadline = time.monotonic() + _PATIENCE_S
    for _ in range(2):
        last = Namespace.create()
        here, there = (VethEnd("", f"canary{end}", 100_000 + end, f"02:00:00:00:00:0{end}", 1500) for end in range(2))
        send([encode.new_veth(here, there, last.fd, None)])
        last.close()
        while "canary" in Path("/proc/thread-self/net/dev").read_text() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
