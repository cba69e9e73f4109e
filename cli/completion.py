"""Complete the value of an option in the shell: words, methods and their hyper-parameters."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_word(declared: Any) -> Complete:
    """Return a completion function that offers the words of an option's registry."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from qacomp.options.declaration import registered

        return _beginning(incomplete, "", registered(declared))

    return complete


def complete_method(declared: Any) -> Complete:
    """Return a completion function that offers methods and, after `NAME:`, hyper-parameters and their values."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from qacomp.options.converting import type_name
        from qacomp.options.declaration import registered
        from qacomp.options.method_table import method_table

        table = method_table(declared)
        name, colon, rest = incomplete.partition(":")
        if not colon:
            return _beginning(incomplete, "", table.words(table.names()))
        if name not in table.names():
            return []
        known = {found.name: found for found in table.hyperparameters(name)}
        begun, comma, last = rest.rpartition(",")
        before = f"{name}:{begun}{comma}"
        item, equals, _ = last.partition("=")
        if not equals:
            given = {part.partition("=")[0] for part in begun.split(",")}
            return _beginning(incomplete, before, [f"{found}=" for found in known if found not in given])
        own = known[item].metadata["option"] if item in known else None
        words = () if own is None else own.choices or own.words or registered(own)
        if item in known and type_name(known[item].type) == "bool":
            words = ("true", "false")
        return _beginning(incomplete, f"{before}{item}=", words)

    return complete


def complete_part(declared: Any) -> Complete:
    """Return a function that completes the names of a setting's parts, without those that are already given."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from dataclasses import fields

        begun, comma, _ = incomplete.rpartition(",")
        given = {part.partition("=")[0] for part in begun.split(",")}
        parts = [f"{found.name}=" for found in fields(declared.parts) if found.name not in given]
        return _beginning(incomplete, begun + comma, parts)

    return complete


def _beginning(incomplete: str, before: str, words: Any) -> list[CompletionItem]:
    """Return a completion item for each of `words`; with `before` in front it must start with `incomplete`."""
    return [CompletionItem(before + word) for word in words if (before + word).startswith(incomplete)]


class BashWords(BashComplete):
    """Completion for bash, which splits words at `:` and `=` and replaces only the part after the last of them."""

    name = "bash"
    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)\n", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace\n"
    )
    _kept = 0

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor and the word at the cursor, with parts that bash split joined again."""
        args, last = super().get_completion_args()
        whole: list[str] = []
        for word in [*args, last]:
            if whole and (word in (":", "=") or whole[-1].endswith((":", "="))):
                whole[-1] += word
            else:
                whole.append(word)
        option = whole[-1].partition("=")[0] + "=" if whole[-1].startswith("--") and "=" in whole[-1] else ""
        self._kept = len(whole[-1]) - len("" if last in (":", "=") else last) - len(option)
        return whole[:-1], whole[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Return the reply for an item, without the part of the word that bash keeps."""
        return f"{item.type},{item.value[self._kept :]}"


add_completion_class(BashWords)
