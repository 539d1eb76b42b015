"""`sqla-oban completion`."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    \b
    bash: eval "$(sqla-oban completion bash)"    in ~/.bashrc
    zsh:  eval "$(sqla-oban completion zsh)"     in ~/.zshrc
    fish: sqla-oban completion fish | source     in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "sqla-oban", "_SQLA_OBAN_COMPLETE").source())
