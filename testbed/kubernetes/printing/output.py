"""The forms of output: a table, a wide table, YAML, JSON, names."""

import json
from collections.abc import Iterable
from typing import Any

from testbed.kubernetes.printing.data import data_of
from testbed.kubernetes.printing.tables import table
from testbed.kubernetes.state import ClusterState, Resource

FORMS = ("wide", "yaml", "json", "name")


def printed(
    state: ClusterState,
    objects: Iterable[Resource],
    form: str = "",
    *,
    with_namespace: bool = False,
    is_single: bool = False,
    with_kind: bool = False,
    with_labels: bool = False,
) -> str:
    """Objects as kubectl prints them; empty if there are none, unless as data.

    `form` is one of `FORMS`, or empty for a table; `is_single` prints the one object asked for, not a list; `with_kind`
    writes names as `pod/web-1`, also if there are objects of one kind alone.
    """
    kinds: dict[str, list[Resource]] = {}
    for one in objects:
        kinds.setdefault(one.kind.qualified, []).append(one)
    for own in kinds.values():
        own.sort(key=lambda one: one.key)
    listed = [one for own in kinds.values() for one in own]
    if form in ("yaml", "json"):
        every = [data_of(state, one) for one in listed]
        whole = every[0] if is_single and every else _as_list(every)
        return _yaml(whole) if form == "yaml" else json.dumps(whole, indent=4, sort_keys=True)
    if form == "name":
        return "\n".join(f"{one.kind.qualified}/{one.name}" for one in listed)
    is_wide = form == "wide"
    return "\n\n".join(
        table(
            state,
            own,
            is_wide=is_wide,
            with_namespace=with_namespace,
            with_kind=with_kind or len(kinds) > 1,
            with_labels=with_labels,
        )
        for own in kinds.values()
    )


def _as_list(every: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "items": every, "kind": "List", "metadata": {"resourceVersion": ""}}


def _yaml(data: object) -> str:
    import yaml

    def text(dumper: Any, value: str) -> Any:
        plain = dumper.resolve(yaml.ScalarNode, value, (True, False)) == "tag:yaml.org,2002:str"
        style = "|" if "\n" in value else None if plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Lists of equal parts are written out, not as aliases."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    Dumper.add_representer(str, text)
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=True, default_flow_style=False)).rstrip("\n")
