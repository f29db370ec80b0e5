"""NetworkAttachmentDefinitions, which describe additional networks of pods."""

import json
from collections.abc import Iterator

from pydantic import Field

from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.model import Model
from testbed.spec.problems import Misfit


class AttachmentSpec(Model):
    """A CNI network configuration, as JSON text; without it the file is found by the object's name."""

    config: str = ""

    def misfits(self) -> Iterator[Misfit]:
        if not self.config:
            return
        try:
            data = json.loads(self.config)
        except (ValueError, RecursionError) as error:
            where = f" in its line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
            yield Misfit(("config",), f"must be a CNI network configuration in JSON; invalid JSON{where}")
            return
        if not isinstance(data, dict) or not ({"type", "plugins"} & set(data)):
            message = "must be a CNI network configuration: a JSON object with `type` or `plugins`"
            yield Misfit(("config",), message)


class NetworkAttachmentDefinition(Object):
    """A NetworkAttachmentDefinition."""

    spec: AttachmentSpec = Field(default_factory=AttachmentSpec)
