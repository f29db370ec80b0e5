"""YAML text as a tree of nodes with their positions in the text.

The tree is built from PyYAML's events, with a stack of open collections instead of PyYAML's recursive composer. This
bounds depth and number of nodes while reading: a deeply nested file cannot exhaust the interpreter's stack, and an
alias counts as much as the value that it refers to. Values are read as YAML 1.1, as PyYAML does, with one exception:
numbers and dates that exist only in YAML 1.1 (`1:30`, `0x10`, `2024-01-01`) become an `Odd`, which no field accepts.
Otherwise `1:30` would be read as 90.

Files of other tools are read leniently: `<<` merges mappings, keys may be numbers, of two equal keys the last one
counts, tags are ignored.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import yaml

from testbed.spec.problems import Loc
from testbed.spec.syntax import reworded

MAX_NODES = 100_000
MAX_DEPTH = 50

_CORE = "tag:yaml.org,2002:"
_ODD_NUMBERS = (
    (re.compile(r".*:"), "a base-60 number"),
    (re.compile(r"[-+]?0x"), "a hexadecimal number"),
    (re.compile(r"[-+]?0b"), "a binary number"),
    (re.compile(r"[-+]?0[0-7]"), "an octal number"),
    (re.compile(r""), "a number"),
)
_WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_DECIMAL_NUMBER = re.compile(r"[-+]?[0-9]{1,100}\.[0-9]{0,100}")
_UNPRINTABLE = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


WHOLE = -1
"""Index of the file as a whole."""


@dataclass(frozen=True)
class Odd:
    """A scalar in a YAML 1.1 notation that no field accepts."""

    text: str


@dataclass(frozen=True)
class Node:
    """A value of the document. `start` and `end` are indices into the text."""

    start: int
    end: int
    data: object
    text: str = ""
    """A scalar as the user wrote it, without quotes."""
    reading: str = ""
    """How YAML reads a scalar, such as `true`; empty for text."""
    children: Mapping[str | int, "Node"] = field(default_factory=dict)
    keys: Mapping[str | int, "Node"] = field(default_factory=dict)
    size: int = 1
    """Number of nodes, with aliases expanded."""
    height: int = 0
    """Levels below this one."""


@dataclass(frozen=True)
class Flaw:
    """A syntax error, at an index of the text."""

    start: int
    end: int
    message: str
    loc: Loc = ()
    earlier: int | None = None
    """Index of an earlier position; its line number is appended to the message."""


class Broken(Exception):
    """The text cannot be read as a tree."""

    def __init__(self, flaws: tuple[Flaw, ...]) -> None:
        super().__init__(flaws[-1].message)
        self.flaws = flaws


def compose(
    text: str, *, lenient: bool = False, origin: Callable[[int], int] = lambda index: index
) -> tuple[Node, tuple[Flaw, ...]]:
    """The tree, and non-fatal errors. Raises Broken.

    `origin` converts an index of `text` to an index of the text that positions refer to.
    """
    return _Composer(text, lenient, origin).compose()


@dataclass
class _Open:
    """A list or mapping that has not ended yet."""

    start: int
    anchor: str | None
    is_list: bool
    key: Node | None = None
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str | int, Node] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    """Mappings whose entries are added where the mapping has none of its own."""
    size: int = 1
    height: int = 0


class _Composer:
    def __init__(self, text: str, lenient: bool, origin: Callable[[int], int]) -> None:
        self.text = text
        self.lenient = lenient
        self.origin = origin
        self.flaws: list[Flaw] = []
        self.open: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}
        self.root: Node | None = None
        self.nodes = 0

    def compose(self) -> tuple[Node, tuple[Flaw, ...]]:
        self._refuse_unprintable()
        self.loader = yaml.SafeLoader(self.text)
        try:
            self._read_events()
        except yaml.MarkedYAMLError as error:
            message, index = reworded(error)
            raise self._broken(self.origin(index), message) from None
        except (ValueError, OverflowError):
            # An escape such as "\UFFFFFFFF", or a %YAML version with thousands of digits.
            at = self.origin(self.loader.get_mark().index)
            raise self._broken(at, "invalid character or number") from None
        if self.root is None:
            raise self._broken(WHOLE, "the file is empty" if not self.text.strip() else "the file has only comments")
        return self.root, tuple(self.flaws)

    def _refuse_unprintable(self) -> None:
        """Refuse invisible characters; PyYAML accepts some, which it reads as line breaks or blanks."""
        if match := _UNPRINTABLE.search(self.text):
            raise self._broken(
                self.origin(match.start()),
                f"invisible character U+{ord(match[0]):04X}; remove it",
            )

    # PyYAML's stubs have no types for two methods of its loader.
    def _events(self) -> Iterator[yaml.Event]:
        while not isinstance(event := self.loader.get_event(), yaml.StreamEndEvent):  # type: ignore[no-untyped-call]
            yield event

    def _read_events(self) -> None:
        documents = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    strict = "a second document starts here; a file can have only one"
                    self._flaw(*self._span(event), "the second document" if self.lenient else strict)
                    return
            elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                self._read_node(event)

    def _read_node(self, event: yaml.NodeEvent | yaml.CollectionEndEvent) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
            return
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, node = self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            anchor, node = None, self._alias(event)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            anchor, node = event.anchor, self._scalar(event)
        if anchor is not None:
            self.anchors[anchor] = node
        self._put(node)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        start, _ = self._span(event)
        if len(self.open) >= MAX_DEPTH:
            raise self._broken(start, f"nested more than {MAX_DEPTH} levels deep")
        is_list = isinstance(event, yaml.SequenceStartEvent)
        self._refuse_tag(event, _CORE + ("seq" if is_list else "map"))
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.open.append(_Open(start, event.anchor, is_list))

    def _end(self, event: yaml.CollectionEndEvent) -> tuple[str | None, Node]:
        closed = self.open.pop()
        for mapping in closed.merged:
            closed.children = {**mapping.children, **closed.children}
            closed.keys = {**mapping.keys, **closed.keys}
        values = {key: child.data for key, child in closed.children.items()}
        node = Node(
            start=closed.start,
            end=self._span(event)[1],
            data=list(values.values()) if closed.is_list else values,
            children=closed.children,
            keys=closed.keys,
            size=closed.size,
            height=closed.height,
        )
        return closed.anchor, node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        start, end = self._span(event)
        if event.anchor not in self.anchors:
            raise self._broken(start, f"unknown anchor '&{event.anchor}'; define it above this alias", end)
        node = self.anchors[event.anchor]
        if node is None:
            raise self._broken(start, f"the alias '*{event.anchor}' is inside its own value; write out the value", end)
        return replace(node, start=start, end=end)

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        self._refuse_tag(event, _CORE + "str")
        tag = event.tag
        if tag is None or tag not in ("!", _CORE + "str"):
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        data, reading = _value(event.value, tag.removeprefix(_CORE))
        return Node(*self._span(event), data, event.value, reading)

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, usual: str) -> None:
        if event.tag not in (None, "!", usual) and not self.lenient:
            tag, (start, _) = event.tag.replace(_CORE, "!!"), self._span(event)
            self._flaw(start, start, f"the tag '{tag}' is not supported; remove it")

    def _put(self, node: Node) -> None:
        """Add the node to the innermost open collection."""
        self.nodes += 1
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.size > MAX_NODES or self.nodes > MAX_NODES:
            raise self._broken(node.start, f"more than {MAX_NODES} values, with aliases expanded")
        if len(self.open) + node.height > MAX_DEPTH:
            raise self._broken(node.start, f"nested more than {MAX_DEPTH} levels deep")
        if parent.is_list:
            parent.children[len(parent.children)] = node
        elif parent.key is None:
            parent.key = node
        else:
            self._put_entry(parent, parent.key, node)
            parent.key = None

    def _put_entry(self, parent: _Open, key: Node, value: Node) -> None:
        if isinstance(key.data, list | dict):
            kind = "a list" if isinstance(key.data, list) else "a mapping"
            self._flaw(key.start, key.start, f"a key must be text, not {kind}; quote text that contains brackets")
            return
        if key.reading == "a merge" and self.lenient:
            mappings = value.children.values() if isinstance(value.data, list) else [value]
            parent.merged += (mapping for mapping in mappings if isinstance(mapping.data, dict))
            return
        if key.reading == "a merge":
            self._flaw(key.start, key.end, "merging mappings with '<<' is not supported; write out the keys")
            return
        if not isinstance(key.data, str) and not (self.lenient and key.text):
            what = f"YAML reads this key as {key.reading}" if key.text else "a key is missing before the ':'"
            self._flaw(key.start, key.end, f"{what}; write '{key.text}' with the quotes" if key.text else what)
        if key.text in parent.children:
            first = parent.keys[key.text].start
            if not self.lenient:
                self._flaw(key.start, key.end, f"the key '{key.text}' appears twice, first in line", earlier=first)
                return
            self._flaw(key.start, key.end, f"the first of two keys '{key.text}', in line", earlier=first)
        parent.keys[key.text] = key
        parent.children[key.text] = value

    def _flaw(self, start: int, end: int, message: str, earlier: int | None = None) -> None:
        self.flaws.append(Flaw(start, end, message, self._loc(), earlier))

    def _broken(self, start: int, message: str, end: int = 0) -> Broken:
        return Broken((*self.flaws, Flaw(start, end or start, message, self._loc())))

    def _span(self, event: yaml.Event) -> tuple[int, int]:
        """Start and end of an event in the text; all events of a text have marks."""
        assert event.start_mark is not None and event.end_mark is not None
        return self.origin(event.start_mark.index), self.origin(event.end_mark.index)

    def _loc(self) -> Loc:
        """Location of the node being read."""
        steps: list[str | int] = []
        for level in self.open:
            if level.is_list:
                steps.append(len(level.children))
            elif level.key is not None and level.key.text:
                steps.append(level.key.text)
        return tuple(steps)


def _value(text: str, kind: str) -> tuple[object, str]:
    """A scalar's value, and how YAML reads it."""
    if kind == "null":
        return None, "nothing"
    if kind == "bool":
        value = text.lower() in ("yes", "true", "on")
        return value, "true" if value else "false"
    if kind == "timestamp":
        return Odd(text), "a date"
    if kind == "merge":
        return text, "a merge"
    if kind == "int" and _WHOLE_NUMBER.fullmatch(text):
        return int(text), "a number"
    if kind == "float" and _DECIMAL_NUMBER.fullmatch(text):
        return float(text), "a number"
    if kind in ("int", "float"):
        return Odd(text), next(reading for pattern, reading in _ODD_NUMBERS if pattern.match(text))
    return text, ""
