"""Problems as text for a terminal, like a compiler's messages.

The text is ASCII. Other characters are shown by their codes, as they may control the terminal, change the text
direction or look like a letter.
"""

from testbed.spec.problems import Problem

MAX_SHOWN = 20
MAX_LINE = 100
"""Characters shown of the file's line; longer lines are cut around the error."""
MAX_LEAD = 40
"""Characters before the error in a cut line."""
MAX_TEXT = 600
MAX_WHERE = 100
MAX_VALID = 12


def render(problem: Problem) -> str:
    """A problem as a few lines: location and message, the file's line, valid values, nearest match."""
    place = f"{escaped(problem.file)}:{problem.line}:{problem.column}" if problem.line else escaped(problem.file)
    where = f"{clipped(problem.where, MAX_WHERE)}: " if problem.where else ""
    lines = [f"{place}: {where}{clipped(problem.message)}"]
    if problem.excerpt.strip():
        lines += _excerpt(problem)
    if problem.valid:
        lines.append(f"  valid: {_list(problem.valid)}")
    if problem.nearest:
        lines.append(f"  did you mean '{escaped(problem.nearest)}'?")
    return "\n".join(lines)


def one_line(problem: Problem, lead: str = "") -> str:
    """A remark about a place in a file as one line: location, `lead` and message."""
    place = f"{escaped(problem.file)}:{problem.line}:{problem.column}" if problem.line else escaped(problem.file)
    return f"{place}: {lead}{clipped(problem.message)}"


def render_all(problems: tuple[Problem, ...]) -> str:
    """The first `MAX_SHOWN` problems, and a last line with the number of problems if there are several."""
    blocks = [render(problem) for problem in problems[:MAX_SHOWN]]
    if len(problems) > 1:
        files = len({problem.file for problem in problems})
        rest = f"; the first {MAX_SHOWN} are shown" if len(problems) > MAX_SHOWN else ""
        blocks.append(f"{len(problems)} problems in {files} {'file' if files == 1 else 'files'}{rest}")
    return "\n\n".join(blocks)


def escaped(text: str) -> str:
    """The text in printable ASCII."""
    return "".join(char if " " <= char <= "~" else _code(char) for char in text)


def clipped(text: str, longest: int = MAX_TEXT) -> str:
    """The text in printable ASCII, cut to `longest` characters."""
    text = escaped(text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _code(char: str) -> str:
    return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(char) or char.encode("unicode_escape", "surrogatepass").decode()


def _excerpt(problem: Problem) -> list[str]:
    """The file's line, and a line that marks the error."""
    at = problem.column - 1
    line = problem.excerpt
    begin = max(0, at - MAX_LEAD) if len(line) > MAX_LINE else 0
    end = min(len(line), begin + MAX_LINE)
    before = ("..." if begin else "") + _shown(line[begin:at])
    marked = _shown(line[at : min(at + problem.width, end)])
    after = _shown(line[at:end]) + ("..." if end < len(line) else "")
    margin = f"{problem.line:5} | "
    marker = "^" + "~" * (len(marked) - 1)
    return [f"{margin}{before}{after}", f"{' ' * (len(margin) - 2)}| {' ' * len(before)}{marker}"]


def _shown(text: str) -> str:
    """Printable ASCII, with a tab as one space to keep columns aligned."""
    return escaped(text.replace("\t", " "))


def _list(words: tuple[str, ...]) -> str:
    shown = ", ".join(escaped(word) for word in words[:MAX_VALID])
    return shown if len(words) <= MAX_VALID else f"{shown}, ... ({len(words)} in all)"
