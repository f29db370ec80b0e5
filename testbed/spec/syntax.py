"""PyYAML's words for broken syntax, in words for the one who wrote the file."""

import yaml

_REWORDED = {
    "could not find expected ':'": "a key needs a ':' behind it",
    "mapping values are not allowed here": "this ':' cannot stand here; indent the line like its neighbours, "
    "write a blank after the ':' of the line above, or put text that holds ': ' in quotes",
    "found unexpected end of stream": "this quote is never closed",
    "found unexpected document separator": "this quote is not closed before the document ends",
    "found character '\\t' that cannot start any token": "a tab cannot indent; indent with spaces",
    "found character '%' that cannot start any token": "text that begins with '%' must be in quotes",
    "found character '@' that cannot start any token": "text that begins with '@' must be in quotes",
    "found character '`' that cannot start any token": "text that begins with '`' must be in quotes",
    "block sequence entries are not allowed here": "a list item cannot begin here; give it a line of its own",
    "sequence entries are not allowed here": "a list item cannot begin here; give it a line of its own",
    "mapping keys are not allowed here": "a key cannot begin here; put it on a line of its own",
    "expected <block end>, but found ':'": "a key is missing before this ':'",
}
_BEGINNINGS = {
    "expected the node content, but found": "a value is missing here; text that begins so must be in quotes",
    "found unknown escape character": "a '\\' begins an escape; write the text in single quotes, or '\\\\'",
    "found incompatible YAML document": "only YAML 1.1 is read; remove this line",
}
_BLOCKS = {
    "while parsing a block mapping": "this does not fit the keys above it; indent it like the keys beside it",
    "while parsing a block collection": "this does not fit the list above it; indent it like its items",
}
_BRACKETS = {
    "while parsing a flow sequence": ("[", "]"),
    "while parsing a flow mapping": ("{", "}"),
}
_MENDED_WHERE_BEGUN = (
    "could not find expected ':'",
    "found unexpected end of stream",
    "found unexpected document",
)


def reworded(error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """What is wrong, and the index in the text at which a user would mend it."""
    context, problem = error.context or "", error.problem or "nothing more is known"
    begun = error.context_mark or error.problem_mark
    noticed = error.problem_mark or begun
    assert begun is not None and noticed is not None  # Scanner and parser mark all of their errors.
    if context in _BRACKETS:
        begin, end = _BRACKETS[context]
        if "<stream end>" in problem:
            return f"this '{begin}' is never closed; end it with '{end}'", begun.index
        return (
            f"a ',' or the '{end}' of the '{begin}' in line {begun.line + 1} is missing before this",
            noticed.index,
        )
    at = begun.index if problem.startswith(_MENDED_WHERE_BEGUN) else noticed.index
    if problem in _REWORDED:
        return _REWORDED[problem], at
    if context in _BLOCKS:
        return _BLOCKS[context], at
    beginnings = (words for beginning, words in _BEGINNINGS.items() if problem.startswith(beginning))
    return next(beginnings, f"this is not YAML: {problem}"), at
