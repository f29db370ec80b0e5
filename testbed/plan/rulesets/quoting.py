"""Rules as arguments of a shell command."""

import re
import shlex

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def quoted(line: str) -> str:
    """Quote a line for a shell: iptables and ipset quote only words with blanks, and set names may be arbitrary."""
    words = (re.sub(r"\\(.)", r"\1", inner) or plain for inner, plain in _WORD.findall(line))
    return shlex.join(words)
