"""What an import leaves out and adds, collected while a file is read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from testbed.spec.problems import Loc, Misfit, Problem, SpecError
from testbed.spec.source import Source


@dataclass
class Notes:
    """Parts that were left out or added, and remarks on conversions that are not obvious."""

    source: Source
    left_out: list[Problem] = field(default_factory=list)
    added: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def drop(self, loc: Loc, message: str, at_key: bool = False) -> None:
        """Note a part that was left out."""
        self.left_out.append(self.source.problem(Misfit(loc, message, at_key=at_key)))

    def add(self, loc: Loc, message: str) -> None:
        """Note a part that was added."""
        self.added.append(self.source.problem(Misfit(loc, message, at_key=True)))

    def refuse(self, found: Iterable[Misfit]) -> None:
        """Raise SpecError if there is a misfit."""
        if problems := tuple(map(self.source.problem, found)):
            raise SpecError(problems)
