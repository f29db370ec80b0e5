"""JSON text as a tree of nodes, like YAML text, so that errors in it have a line and column.

The YAML reader cannot read JSON, although most JSON is YAML: it accepts trailing commas and rejects tabs.
"""

import json
import re
from typing import NoReturn

from testbed.spec.problems import Loc, SpecError
from testbed.spec.source import Source, problems_of
from testbed.spec.tree import MAX_DEPTH, MAX_NODES, WHOLE, Broken, Flaw, Node

_BLANK = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"(//|/\*|#)[^\n]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_][-\w]*")
_BARE = re.compile(r"[-+\w.:/]+")
"""Text without quotes that begins like a number, such as an address."""
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_LONGEST_NUMBER = 400
"""Digits; Python refuses to convert thousands of them."""


def parse_json(text: str, file: str) -> Source:
    """The JSON document in a text. Raises SpecError if it cannot be read."""
    try:
        root, flaws = _Reader(text).document()
    except Broken as broken:
        raise SpecError(problems_of(text, file, broken.flaws)) from None
    return Source(file, text, root, problems_of(text, file, flaws))


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.loc: list[str | int] = []
        self.flaws: list[Flaw] = []
        self.nodes = 0

    def document(self) -> tuple[Node, tuple[Flaw, ...]]:
        """The tree, and non-fatal mistakes."""
        self._skip()
        if self.at == len(self.text):
            raise Broken((Flaw(WHOLE, WHOLE, "the file is empty"),))
        root = self._value()
        self._skip()
        if self.at < len(self.text):
            self._refuse("text after the end of the document; remove it, or a bracket above it")
        return root, tuple(self.flaws)

    def _skip(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        assert blank is not None
        self.at = blank.end()
        if comment := _COMMENT.match(self.text, self.at):
            message = "JSON has no comments, so container runtimes refuse this; remove it, or save it as a .jsonc file"
            self._refuse(message, comment.start(), comment.end())

    def _next(self) -> str:
        """The next character after white space; empty at the end."""
        self._skip()
        return self.text[self.at : self.at + 1]

    def _refuse(self, message: str, start: int | None = None, end: int = 0) -> NoReturn:
        begin = self.at if start is None else start
        loc: Loc = tuple(self.loc)
        raise Broken((*self.flaws, Flaw(begin, end or begin + 1, message, loc)))

    def _value(self) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES} values")
        if len(self.loc) > MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} levels deep")
        match self._next():
            case "{":
                return self._object()
            case "[":
                return self._list()
            case '"':
                return self._string()
        return self._scalar()

    def _object(self) -> Node:
        start, children, keys = self.at, dict[str | int, Node](), dict[str | int, Node]()
        self.at += 1
        while self._next() != "}":
            key = self._key(start)
            self.loc.append(key.text)
            self._skip()
            if self._next() != ":":
                self._refuse(f"expected ':' after the key \"{key.text}\"", key.start, key.end)
            self.at += 1
            value = self._value()
            self.loc.pop()
            if key.text in children:
                message = f"the key '{key.text}' appears twice, first in line"
                self.flaws.append(Flaw(key.start, key.end, message, tuple(self.loc), keys[key.text].start))
            else:
                keys[key.text], children[key.text] = key, value
            self._separator("}", start)
        self.at += 1
        data = {name: child.data for name, child in children.items()}
        return Node(start, self.at, data, children=children, keys=keys)

    def _key(self, opened: int) -> Node:
        if self._next() == '"':
            return self._string()
        if self.at == len(self.text):
            self._refuse("this '{' is not closed; add '}'", opened)
        if word := _WORD.match(self.text, self.at):
            self._refuse(f'JSON keys require double quotes; write "{word[0]}"', word.start(), word.end())
        return self._refuse("expected a key in double quotes")

    def _list(self) -> Node:
        start, children = self.at, dict[str | int, Node]()
        self.at += 1
        while self._next() != "]":
            self.loc.append(len(children))
            value = self._value()
            self.loc.pop()
            children[len(children)] = value
            self._separator("]", start)
        self.at += 1
        return Node(start, self.at, [child.data for child in children.values()], children=children)

    def _separator(self, close: str, opened: int) -> None:
        """After an item: a comma followed by another item, or the closing bracket, which the caller reads."""
        here = self._next()
        if here == ",":
            comma = self.at
            self.at += 1
            if self._next() == close:
                self._refuse(f"trailing ',' before the '{close}'; remove it", comma)
            return
        if here == close:
            return
        opening = self.text[opened]
        if here == "":
            self._refuse(f"this '{opening}' is not closed; add '{close}'", opened)
        line = self.text.count("\n", 0, opened) + 1
        self._refuse(f"expected ',' or the '{close}' of the '{opening}' in line {line}")

    def _string(self) -> Node:
        match = _STRING.match(self.text, self.at)
        if match is None:
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            if self.text.find('"', self.at + 1, end) < 0:
                self._refuse("this quote is not closed on its line", self.at, self.at + 1)
            self._refuse("this text has an invalid '\\' escape or an unescaped control character")
        start, self.at = self.at, match.end()
        data = json.loads(match[0])
        return Node(start, self.at, data, data)

    def _scalar(self) -> Node:
        start = self.at
        if word := _WORD.match(self.text, start):
            self.at = word.end()
            if word[0] not in _LITERALS:
                near = next((name for name in _LITERALS if name == word[0].lower()), "")
                remedy = f"write {near}" if near else f'write "{word[0]}", or true, false or null'
                remedy = "replace this placeholder by a value" if word[0].startswith("__") else remedy
                self._refuse(f"{word[0]} is not a JSON value; {remedy}", start, self.at)
            return Node(start, self.at, _LITERALS[word[0]], word[0], word[0])
        number = _NUMBER.match(self.text, start)
        if number is None or number.end() - start > _LONGEST_NUMBER:
            found = self.text[start : start + 1]
            self._refuse(f"expected a value{f', found {found!r}' if found else ''}")
        if (bare := _BARE.match(self.text, start)) and bare.end() > number.end():
            self._refuse(f'text requires double quotes; write "{bare[0]}"', start, bare.end())
        self.at = number.end()
        return Node(start, self.at, json.loads(number[0]), number[0], "a number")
