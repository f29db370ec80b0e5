"""Readable messages for PyYAML's syntax errors."""

import yaml

_REWORDED = {
    "could not find expected ':'": "expected ':' after this key",
    "mapping values are not allowed here": "unexpected ':'; indent the line like its neighbours, "
    "add a space after the ':' in the line above, or quote text that contains ': '",
    "found unexpected end of stream": "this quote is not closed",
    "found unexpected document separator": "this quote is not closed before the document ends",
    "found character '\\t' that cannot start any token": "tabs cannot be used for indentation; use spaces",
    "found character '%' that cannot start any token": "text that starts with '%' must be in quotes",
    "found character '@' that cannot start any token": "text that starts with '@' must be in quotes",
    "found character '`' that cannot start any token": "text that starts with '`' must be in quotes",
    "block sequence entries are not allowed here": "unexpected list item; put it on its own line",
    "sequence entries are not allowed here": "unexpected list item; put it on its own line",
    "mapping keys are not allowed here": "unexpected key; put it on its own line",
    "expected <block end>, but found ':'": "a key is missing before this ':'",
}
_BEGINNINGS = {
    "expected the node content, but found": "expected a value; text that starts like this must be in quotes",
    "found unknown escape character": "unknown '\\' escape; use single quotes, or write '\\\\'",
    "found incompatible YAML document": "only YAML 1.1 is supported; remove this line",
}
_BLOCKS = {
    "while parsing a block mapping": "does not match the keys above; indent it like them",
    "while parsing a block collection": "does not match the list above; indent it like its items",
}
_BRACKETS = {
    "while parsing a flow sequence": ("[", "]"),
    "while parsing a flow mapping": ("{", "}"),
}
_REPORTED_AT_START = (
    "could not find expected ':'",
    "found unexpected end of stream",
    "found unexpected document",
)


def reworded(error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """The message, and the index in the text where a user would fix the error."""
    context, problem = error.context or "", error.problem or "unknown error"
    started = error.context_mark or error.problem_mark
    noticed = error.problem_mark or started
    assert started is not None and noticed is not None  # Scanner and parser mark all of their errors.
    if context in _BRACKETS:
        begin, end = _BRACKETS[context]
        if "<stream end>" in problem:
            return f"this '{begin}' is not closed; add '{end}'", started.index
        return (
            f"expected ',' or the '{end}' of the '{begin}' in line {started.line + 1}",
            noticed.index,
        )
    at = started.index if problem.startswith(_REPORTED_AT_START) else noticed.index
    if problem in _REWORDED:
        return _REWORDED[problem], at
    if context in _BLOCKS:
        return _BLOCKS[context], at
    beginnings = (words for beginning, words in _BEGINNINGS.items() if problem.startswith(beginning))
    return next(beginnings, f"invalid YAML: {problem}"), at
