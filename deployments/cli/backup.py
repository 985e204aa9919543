"""``backup`` and ``restore``: the ledger in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show
from deployments.cli.session import open_session

__all__ = ["backup", "restore"]

FileArgument = Annotated[Path, typer.Argument(help="The backup file.")]


def backup(
    file: FileArgument,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Put the keys in, too: guard such a file like a password.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write the ledger into one file, while runs go on; its keys only when asked for."""
    ledger = open_session(prefect=False)
    from tasks.backup import take_backup
    from tasks.settings import load_settings

    manifest = take_backup(load_settings(), ledger, file, with_key=with_key, force=force)
    rows = sum(manifest.tables.values())
    if with_key:
        say(
            "The keys are inside: whoever has this file can try phones against the hashes in it, and read "
            "the passwords if they have Prefect's database too. Keep it as you keep a password."
        )
    else:
        say(
            "The keys are not inside (--with-key). Without the same installation.key a restored ledger is "
            "compared with amoCRM anew, and phones that the transfer wrote before are no longer known as its "
            "own."
        )
    show({"file": str(file), **asdict(manifest)}, output, f"Wrote {file}: {rows} rows.")


def restore(file: FileArgument, output: OutputOption = Output.TEXT) -> None:
    """Put a backup in the place of the ledger; what stood there is kept beside it."""
    from filelock import Timeout

    from deployments.environment import up_lock
    from tasks.backup import restore as put_back
    from tasks.errors import ConfigurationError
    from tasks.settings import load_settings

    settings = load_settings()
    settings.prepare_home()
    try:
        with up_lock(settings).acquire(timeout=2):
            done = put_back(settings, file)
    except Timeout:
        raise ConfigurationError(
            problem=f"ident-amocrm up runs for {settings.home}.",
            remedy="Stop it (Ctrl-C where it runs, or its service), and restore again.",
            code="up_running",
        ) from None
    if not done.same_key:
        say(
            "The backup was made with another installation.key: put that file back, or phones that the "
            "transfer wrote before stay beside the new ones."
        )
    for name in done.clinics:
        say(f"Next, before its transfer goes on: ident-amocrm sync {name} --dry-run, then --rebaseline")
    data = {
        "file": str(file),
        "created_at": done.manifest.created_at,
        "replaced": str(done.replaced) if done.replaced else None,
        "clinics": list(done.clinics),
        "same_key": done.same_key,
    }
    kept = f" What stood there is in {done.replaced}." if done.replaced else ""
    show(data, output, f"Restored {file}.{kept}")
