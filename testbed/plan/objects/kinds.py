"""The kinds of objects, except devices, that route netlink creates in a namespace; each has its own file."""

from collections.abc import Mapping
from typing import Any

from testbed.plan.objects.addresses import ADDRESSES
from testbed.plan.objects.fdb import FDB
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.neighbours import NEIGHBOURS
from testbed.plan.objects.netem import NETEMS
from testbed.plan.objects.routes import ROUTES
from testbed.plan.objects.rules import RULES
from testbed.plan.objects.token_bucket import TOKEN_BUCKETS

KINDS: Mapping[type, ObjectKind[Any]] = {
    kind.type: kind for kind in (ADDRESSES, NEIGHBOURS, FDB, ROUTES, RULES, TOKEN_BUCKETS, NETEMS)
}
"""By type, in the order of creation; removal is in reverse order."""
