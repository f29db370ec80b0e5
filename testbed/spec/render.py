"""Problems as text for a terminal, in the manner of a compiler.

Everything is printed in ASCII: another character, whether it steers the terminal, turns the direction of
writing round or only looks like a letter, is shown by its code, so that one sees what stands in the file.
"""

from testbed.spec.problems import Problem

MAX_SHOWN = 20
MAX_LINE = 100
"""Characters of the file's line that are shown; a longer one is cut around the mistake."""
MAX_LEAD = 40
"""Characters before the mistake that a cut line keeps."""
MAX_TEXT = 600
MAX_WHERE = 100
MAX_VALID = 12


def render(problem: Problem) -> str:
    """A problem as a few lines: place and message, the line of the file, what is valid, what was meant."""
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


def render_all(problems: tuple[Problem, ...]) -> str:
    """Every problem, or the first of very many; where there are several, a last line counts them."""
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
    """The text in printable ASCII, cut if it is very long."""
    text = escaped(text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _code(char: str) -> str:
    return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(char) or char.encode("unicode_escape", "surrogatepass").decode()


def _excerpt(problem: Problem) -> list[str]:
    """The file's line, and a marker below what is meant in it."""
    at = problem.column - 1
    line = problem.excerpt
    begin = max(0, at - MAX_LEAD) if len(line) > MAX_LINE else 0
    end = min(len(line), begin + MAX_LINE)
    before = ("..." if begin else "") + _shown(line[begin:at])
    meant = _shown(line[at : min(at + problem.width, end)])
    after = _shown(line[at:end]) + ("..." if end < len(line) else "")
    margin = f"{problem.line:5} | "
    marker = "^" + "~" * (len(meant) - 1)
    return [f"{margin}{before}{after}", f"{' ' * (len(margin) - 2)}| {' ' * len(before)}{marker}"]


def _shown(text: str) -> str:
    """A tab as one blank, so that columns keep their place; all else by its code."""
    return escaped(text.replace("\t", " "))


def _list(words: tuple[str, ...]) -> str:
    shown = ", ".join(escaped(word) for word in words[:MAX_VALID])
    return shown if len(words) <= MAX_VALID else f"{shown}, ... ({len(words)} in all)"
