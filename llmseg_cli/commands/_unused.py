"""Options that would be parsed and ignored: refused where a user gave them, in one sentence."""

import typer

from llmseg_cli.commands._convert_rules import OF_CONVERT
from llmseg_cli.commands._given import places_of_option, shown
from llmseg_cli.commands._rule import Values
from llmseg_cli.commands._rules import RULES
from llmseg_cli.errors import UsageError


def refuse_unused(context: typer.Context, values: Values) -> None:
    """Refuse an option that the user gave, and that would not count.

    Args:
        context: Of the command; it knows where values come from.
        values: Argument to value.

    Raises:
        UsageError: Naming the option, where it stands if not on the command line, and why.
    """
    for rule in (*RULES, *OF_CONVERT):
        for option in rule.options:
            name, _, key = option.partition(".")
            if name not in values:
                continue
            place = next(places_of_option(context, name, key, top=not rule.is_shared), None)
            if place is None or (rule.is_typed and place):
                continue
            if not rule.counts(values):
                raise UsageError(
                    f"{shown(name, key, values[name])}{place}: {rule.why.format(**values)}."
                )
