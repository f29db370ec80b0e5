"""none: nothing of ours between the nodes. Pods of other nodes are reached by what CNI plugins make, or not at all."""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Transport
from testbed.spec.design import NO_TRANSPORT


def _join(joining: Joining) -> None:
    """There is nothing to add."""


TRANSPORT = Transport(
    name=NO_TRANSPORT,
    summary="nothing but what the plugins make",
    like=(),
    needs=(),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    claims=False,
    page=__doc__,
)
