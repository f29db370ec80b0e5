"""Objects as kubectl prints them: tables, YAML, JSON, names."""

from testbed.kubernetes.printing.output import FORMS, printed

__all__ = ["FORMS", "printed"]
