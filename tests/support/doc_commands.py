"""Every command that stands in README.md and docs/, as a program would be handed it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path, PurePosixPath
from typing import Any

import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token

from deployments.cli.main import app

__all__ = ["OURS", "PYTHON", "ROOT", "DocCommand", "command_line", "documented", "refusal_of"]

ROOT = Path(__file__).parents[2]
OURS = "ident-amocrm"
#: What a reader puts something of their own for -> what stands for it here.
STANDS_FOR = {
    "FILE": "file",
    "FILE.zip": "file.zip",
    "HOST": "192.168.0.5",
    "ID": "4711",
    "NAME": "clinic1",
    "NEW": "clinic2",
    "PORT": "15000",
    "UID": "abc234defg",
    "ИМЯ": "clinic1",
    "КТО": "Юрист",
    "НОМЕР": "812",
}
#: Marks of a description of commands: parts that may be left out, a choice, something more.
SYNTAX = re.compile(r"[\[\]|…]")
ASSIGNMENT = re.compile(r"[A-Z][A-Z_]*=.*")
PYTHON = {"python", "python3", "py"}
#: Errors of Typer's parser by which something is missing.
MISSING = {"BadOptionUsage", "MissingParameter", "NoArgsIsHelpError"}


@dataclass(frozen=True)
class DocCommand:
    """A command of a page.

    Attributes:
        page: Where it stands.
        text: How it stands there.
        words: Program and arguments, without sudo, folders and variables before it.
        is_block: Whether it is a line of a console, to be typed as it is; else it is part of a sentence.
    """

    page: str
    text: str
    words: tuple[str, ...]
    is_block: bool

    @property
    def program(self) -> str:
        return self.words[0]

    @property
    def plain(self) -> str:
        """The command as it is typed, with something put for what a reader puts in."""
        return shlex.join(STANDS_FOR.get(word, word) for word in self.words)

    @property
    def is_whole(self) -> bool:
        """Whether it could be typed: a sentence may only name a command, or describe it."""
        is_described = SYNTAX.search(" ".join(self.words)) is not None
        return self.is_block or not (is_described or any(self._missing()))

    @property
    def may_lack(self) -> bool:
        """Whether arguments may be left out: where only a command is named, or our name is left out."""
        has_arguments = any(
            word.startswith("-") or word in STANDS_FOR or not re.fullmatch("[a-z-]+", word)
            for word in self.words
        )
        is_described = SYNTAX.search(" ".join(self.words)) is not None
        return not self.is_block and (is_described or not has_arguments or OURS not in self.text)

    def refusals(self) -> Iterator[str]:
        """Return what the command line says against it; what it lacks only where it may lack nothing."""
        for kind, said in _tried(self.words[1:]):
            if not (kind in MISSING and self.may_lack):
                yield f"{kind}: {said}"

    def _missing(self) -> Iterator[str]:
        return (kind for kind, _said in _tried(self.words[1:]) if kind in MISSING)

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


@cache
def command_line() -> Any:
    """Our command line as Typer parses it."""
    return typer.main.get_command(app)


@cache
def documented() -> tuple[DocCommand, ...]:
    """Every command of every page, once for each page."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = (command for page in pages for command in _of_page(page))
    return tuple(dict.fromkeys(found))


def _of_page(page: Path) -> Iterator[DocCommand]:
    name = page.relative_to(ROOT).as_posix()
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.info == "console":
            for line in token.content.replace("\\\n", " ").splitlines():
                for part in re.sub(r"(^|\s+)#.*", "", line).split("&&"):
                    if words := _words(part):
                        yield DocCommand(name, part.strip(), words, is_block=True)
        for text, words in _of_sentences(token, told_plainly=name.startswith("docs/ru/")):
            yield DocCommand(name, text, words, is_block=False)


def _of_sentences(token: Token, *, told_plainly: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The commands of a paragraph: code, and in Russian also what follows our name without being code."""
    for part in token.children or ():
        if part.type == "code_inline" and (words := _spoken(part.content)):
            yield part.content, words
        elif part.type == "text" and told_plainly:
            for rest in part.content.split(f"{OURS} ")[1:]:
                if told := tuple(_leading(rest)):
                    yield " ".join((OURS, *told)), (OURS, *told)


def _words(text: str) -> tuple[str, ...]:
    """What a shell would be handed, without sudo, variables and the folder of the program."""
    words = shlex.split(text.replace("\\", "/"))
    if words[:1] == ["sudo"]:
        words = words[1:]
        while words and words[0].startswith("-"):
            words = words[2 if words[0] == "-u" else 1 :]
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return (PurePosixPath(words[0]).name, *words[1:]) if words else ()


def _spoken(text: str) -> tuple[str, ...]:
    """The words of a code span that is a command; one of ours may stand there without our name."""
    try:
        words = _words(text)
    except ValueError:  # a quotation mark that opens nothing
        return ()
    if len(words) < 2:
        return ()
    if words[0] in command_line().commands:
        return (OURS, *words)
    is_command = words[0] in {OURS, "make"} or (words[0] in PYTHON and words[1] == "-m")
    return words if is_command or text.startswith("sudo ") else ()


def _leading(rest: str) -> Iterator[str]:
    """The words after our name that belong to the command; the Russian sentence goes on behind them."""
    said = re.match(r"[\w.=-]+(?: [\w.=-]+)*", rest)
    level, before = command_line(), ""
    for word in (one.rstrip(".") for one in (said[0] if said else "").split()):
        commands = getattr(level, "commands", {})
        # A Latin word behind our name, or behind a group of commands, is a command, or wrong.
        is_ours = word.isascii() and (bool(commands) or before.startswith("--"))
        if not (is_ours or word.startswith("--") or word in STANDS_FOR):
            return
        level = commands.get(word)
        before = word
        yield word


def _tried(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Kind and text of each error by which the command line refuses a command, or a choice that it offers."""
    known = [word.strip("[]") for word in words]
    # Three dots stand for the value of an option, or for more that may follow.
    known = [
        word.replace("…", "value")
        for before, word in pairwise(["", *known])
        if word != "…" or before.startswith("--")
    ]
    for chosen in product(*([STANDS_FOR.get(one, one) for one in word.split("|")] for word in known)):
        if kind_and_text := refusal_of(command_line(), OURS, list(chosen)):
            yield kind_and_text


def refusal_of(level: Any, name: str, words: list[str], parent: Any = None) -> tuple[str, str] | None:
    """Return the error by which a parser of Typer refuses words; ``None`` where it takes them. Nothing is run."""
    try:
        context = level.make_context(name, words, parent=parent)
        if not hasattr(level, "commands"):
            return None
        chosen, inner, rest = level.resolve_command(context, [*context._protected_args, *context.args])
    except typer.Exit:  # --version, --help
        return None
    except Exception as error:  # noqa: BLE001 - Typer keeps its kinds of error private
        return type(error).__name__, str(error)
    return refusal_of(inner, chosen, rest, context)
