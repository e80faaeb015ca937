"""Where results go: to a terminal, into a pipe, or as JSON to a program."""

import json
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum

from rich.console import Console, RenderableType

from relora_contract.model import Model
from relora_kubectl.tables import Block, plain


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


def printed(view: Model, output: Output, blocks: Iterable[Block], screen: Callable[[], RenderableType]) -> None:
    """Print a view on standard output.

    Args:
        view: What `-o json` prints.
        output: What the user asked for.
        blocks: The view for pipes.
        screen: The view for terminals.
    """
    if output is Output.JSON:
        sys.stdout.write(json.dumps(view.to_json(), indent=2) + "\n")
    elif sys.stdout.isatty():
        Console(highlight=False).print(screen())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in plain(blocks)))


def warn(problems: list[str]) -> None:
    """Print warnings on standard error, each once, and forget them."""
    for problem in dict.fromkeys(problems):
        sys.stderr.write(f"warning: {problem}\n")
    problems.clear()
