"""The file and line of policies and rules, for policies that were read from manifests."""

from testbed.kubernetes.policies.oracle import Locate
from testbed.kubernetes.policies.rules import Policy
from testbed.kubernetes.reading import Manifests
from testbed.spec.problems import Loc, Misfit


def locate_in(manifests: Manifests) -> Locate:
    """The function that locates parts of policies in manifests, as `FILE:LINE`."""
    written = {(one.kind.name, one.namespace, one.typed.metadata.name): one for one in manifests.objects}

    def locate(policy: Policy, loc: Loc) -> str:
        one = written.get((policy.kind, policy.namespace, policy.name))
        if one is None:
            return ""
        problem = one.problem(Misfit(loc, "", at_key=isinstance(loc[-1], str)))
        return f"{problem.file}:{problem.line}"

    return locate
