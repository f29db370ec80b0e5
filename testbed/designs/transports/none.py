"""none: no transport between nodes. The CNI plugins connect pods of different nodes, or nothing does."""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Transport
from testbed.spec.design import NO_TRANSPORT


def _join(joining: Joining) -> None:
    """Nothing to add."""


TRANSPORT = Transport(
    name=NO_TRANSPORT,
    summary="only what the plugins create",
    like=(),
    needs=(),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    claims=False,
    page=__doc__,
)
