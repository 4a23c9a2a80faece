"""A command whose mistakes say what its options accept."""

from typing import Any

import click

__all__ = ["Command", "Number"]


class Command(click.Command):
    """Says of an option without its value what the value is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. Raises: click.UsageError."""
        try:
            rest = super().parse_args(ctx, args)
        except click.BadOptionUsage as error:
            option = self._options(ctx).get(error.option_name)
            if option is None or option.is_flag:
                raise
            raise _without_value(ctx, option) from None
        self._refuse_options_as_values(ctx)
        return rest

    def _options(self, ctx: click.Context) -> dict[str, click.Option]:
        found = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        return {name: option for option in found for name in (*option.opts, *option.secondary_opts)}

    def _refuse_options_as_values(self, ctx: click.Context) -> None:
        """Click takes whatever follows an option for its value: in `--access-log --reload` the other option."""
        options = self._options(ctx)
        for option in options.values():
            given = ctx.params.get(option.name or "")
            values = given if isinstance(given, tuple) else (given,)
            for value in values:
                if isinstance(value, str) and value in options:
                    raise _without_value(ctx, option, f", and {value} is an option")


def _without_value(ctx: click.Context, option: click.Option, more: str = "") -> click.UsageError:
    name, meaning = " / ".join(option.opts), " ".join((option.help or "").split()).rstrip(".")
    return click.UsageError(f"{name} needs a value{more}: {option.make_metavar(ctx)}. {meaning}.", ctx)


class Number(click.IntRange):
    """A whole number; what is none is told the range, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            most = "" if self.max is None else f" to {self.max}"
            self.fail(f"{value!r}: accepted is a whole number from {self.min}{most}", param, ctx)
