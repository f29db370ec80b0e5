"""The kinds of objects that route netlink makes in a namespace beside devices: an entry each, in a file of its own."""

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
"""By their types, in the order in which they are made; they are removed in the opposite one."""
