"""Jobs."""

from collections.abc import Iterator
from typing import Annotated

from testbed.kubernetes.models.meta import LabelSelector, Object
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.pods import PodTemplate
from testbed.kubernetes.models.values import Count, within, word
from testbed.spec.problems import Misfit


class JobSpec(Model):
    """Pods that run until enough of them succeeded."""

    template: PodTemplate
    parallelism: Count = 1
    completions: Count | None = None
    completion_mode: Annotated[str, word("NonIndexed", "Indexed")] = "NonIndexed"
    backoff_limit: Count = 6
    active_deadline_seconds: Annotated[int, within(1)] | None = None
    ttl_seconds_after_finished: Count | None = None
    suspend: bool = False
    manual_selector: bool = False
    selector: LabelSelector | None = None

    def misfits(self) -> Iterator[Misfit]:
        selector = self.selector if self.manual_selector else None
        yield from self.template.template_misfits(selector, ("OnFailure", "Never"))
        if self.completion_mode == "Indexed" and self.completions is None:
            yield Misfit(("completionMode",), "Indexed requires `completions`")
        if self.selector is not None and not self.manual_selector:
            yield Misfit(
                ("selector",), "is set by the Job itself; remove it, or add `manualSelector: true`", at_key=True
            )


class Job(Object):
    """A Job."""

    spec: JobSpec
