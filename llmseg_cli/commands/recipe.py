"""`llmseg recipe list` and `show`."""

import re
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import aligned
from llmseg_cli.commands._command import RECIPES, Answer, command, recipe_names
from llmseg_cli.commands._help import Command, group_of_commands
from llmseg_cli.commands._hints import OneOf
from llmseg_cli.errors import unknown

ARXIV = re.compile(r"arXiv:\d{4}\.\d{5}(?:v\d)?")

recipe = group_of_commands(
    "Settings of papers and of small machines: list them, or print one to change it."
)


@recipe.command("list", cls=Command)
@command(example="llmseg recipe list")
def list_recipes() -> Answer:
    """List the recipes: name, paper, and what each is for."""
    found = [_described(name) for name in recipe_names()]
    rows = [[one["name"], one["paper"] or "ours", one["about"]] for one in found]
    console.info(
        "Take one with --recipe NAME. To change it: 'llmseg recipe show NAME > mine.yaml', edit "
        "mine.yaml, --recipe mine.yaml."
    )
    return Answer(aligned(rows, numbers=False), {"recipes": found})


@recipe.command("show", cls=Command)
@command(example="llmseg recipe show la-cpu")
def show_recipe(
    name: Annotated[
        str,
        typer.Argument(help="Which.", metavar="NAME"),
        OneOf(recipe_names),
    ],
) -> Answer | None:
    """Print a recipe with its comments, as it is, for a file of your own."""
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    text = _text(name)
    return Answer(text.removesuffix("\n").split("\n"), {"text": text, **_described(name)})


def _text(name: str) -> str:
    return (RECIPES / f"{name}.yaml").read_bytes().decode()


def _described(name: str) -> dict[str, Any]:
    """Name, paper (None if it is ours) and purpose, as the comment at the top has them."""
    text = _text(name)
    comment = re.match(r"(?:#.*\n)+", text)
    assert comment is not None
    paper = ARXIV.search(comment[0])
    about = comment[0].partition("\n")[0].removeprefix("#").strip().removesuffix(".")
    return {"name": name, "paper": paper and paper[0], "about": about}
