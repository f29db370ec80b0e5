"""Wait until the kernel has freed released namespaces.

It frees them in the background, which slows down whatever is built or measured meanwhile.
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
    """Return when every namespace that was released before is freed, or after ten seconds.

    The kernel frees them in batches: first the devices of a batch, then the rest. So release a namespace with a link
    to the calling thread's, which should be a capsule's. Once the link is gone, the batch with all earlier namespaces
    is in progress; a second namespace is in the next batch, which starts when the first is done.
    """
    deadline = time.monotonic() + _PATIENCE_S
    for _ in range(2):
        last = Namespace.create()
        here, there = (VethEnd("", f"canary{end}", 100_000 + end, f"02:00:00:00:00:0{end}", 1500) for end in range(2))
        send([encode.new_veth(here, there, last.fd, None)])
        last.close()
        while "canary" in Path("/proc/thread-self/net/dev").read_text() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
