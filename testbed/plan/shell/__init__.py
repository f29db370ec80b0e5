"""A plan as shell commands: `ip`, `bridge`, `sysctl`, in `ip netns` namespaces.

Run with `sh -e` as root in an empty network and mount namespace, the script builds the same network as
`testbed.kernel` does from the plan.
"""

from testbed.plan.objects.addresses import address_words
from testbed.plan.objects.child import child_commands
from testbed.plan.objects.datapath import datapath_commands, flow_command, flow_lines
from testbed.plan.objects.encapsulation import OUTER_TTL, encap_words
from testbed.plan.objects.fdb import FLOODED, fdb_words
from testbed.plan.objects.neighbours import neighbour_words
from testbed.plan.objects.netem import netem_words
from testbed.plan.objects.routes import route_words
from testbed.plan.objects.rules import rule_words
from testbed.plan.objects.token_bucket import token_bucket_words
from testbed.plan.objects.veth import veth_commands
from testbed.plan.shell.programs import (
    MAP_PINS,
    OVERLAID,
    OWN_BPF,
    OWN_RUN,
    clsact_words,
    compile_words,
    entry_words,
    hook_words,
    load_words,
    log_of,
    object_of,
)
from testbed.plan.shell.script import script
from testbed.plan.shell.words import esp_key_bytes, esp_words, no_esp_words, segment_source_words

__all__ = [
    "FLOODED",
    "MAP_PINS",
    "OUTER_TTL",
    "OVERLAID",
    "OWN_BPF",
    "OWN_RUN",
    "address_words",
    "child_commands",
    "clsact_words",
    "compile_words",
    "datapath_commands",
    "encap_words",
    "entry_words",
    "esp_key_bytes",
    "esp_words",
    "fdb_words",
    "flow_command",
    "flow_lines",
    "hook_words",
    "load_words",
    "log_of",
    "neighbour_words",
    "netem_words",
    "no_esp_words",
    "object_of",
    "route_words",
    "rule_words",
    "script",
    "segment_source_words",
    "token_bucket_words",
    "veth_commands",
]
