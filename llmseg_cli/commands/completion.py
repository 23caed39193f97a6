"""`llmseg completion`; no general options, so that no configuration file can break a shell."""

from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # no __all__

from llmseg_cli import console
from llmseg_cli.commands._hints import OneOf, example
from llmseg_cli.errors import unknown

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "llmseg"


def _shells() -> list[str]:
    return list(SHELLS)


@example("llmseg completion bash")
def completion(
    shell: Annotated[
        str, typer.Argument(help="Shell.", metavar="SHELL", autocompletion=_shells), OneOf(SHELLS)
    ],
) -> None:
    """Print what makes a shell complete commands, options and names.

    For bash, add `source <(llmseg completion bash)` to ~/.bashrc; for zsh, write it to a file
    _llmseg in a folder of $fpath; for fish, to ~/.config/fish/completions/llmseg.fish.
    """
    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    variable = f"_{PROGRAM.upper()}_COMPLETE"
    script = get_completion_script(prog_name=PROGRAM, complete_var=variable, shell=shell)
    console.data(script + "\n")
