"""Commands that start from a process with everything already loaded: a start costs seconds otherwise.

Each command has a process of its own, forked off, with its own environment, folder and output; only the imports
are shared. The first road of tests/e2e starts every command as an operator does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from deployments.run_host import LIBRARIES

__all__ = ["run_warm"]

Run = subprocess.CompletedProcess[str]

#: What the commands themselves import when they are called.
COMMANDS = (
    "deployments.cli.main",
    "deployments.clinic_deployments",
    "deployments.environment",
    "phonenumbers",
    "rich.console",
)

ROOT = Path(__file__).parents[2]
TURN = threading.Lock()


def run_warm(arguments: Sequence[str], env: Mapping[str, str], cwd: Path) -> Run:
    """Run a command of the command line and wait for its end; threads wait for one another."""
    with TURN, tempfile.TemporaryDirectory() as folder:
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        order = {"arguments": [*arguments], "env": {**env}, "cwd": str(cwd), "said": [*map(str, said)]}
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        texts = [path.read_text(encoding="utf-8") for path in said]
    return subprocess.CompletedProcess([*arguments], code, *texts)


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_commands"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    atexit.register(server.communicate)  # it ends when nobody is left to give orders
    return server


def _serve() -> None:
    for name in (*LIBRARIES, *COMMANDS):
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _live(**json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _live(arguments: list[str], env: dict[str, str], cwd: str, said: list[str]) -> None:
    """Be the command; never returns."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = env["PYTHONPATH"]
    tempfile.tempdir = None
    for number, path in enumerate((os.devnull, *said)):
        with Path(path).open("r+b" if number == 0 else "wb") as stream:
            os.dup2(stream.fileno(), number)
    sys.argv = ["ident-amocrm", *arguments]
    _believe_the_environment()
    code: object = 1
    try:
        from deployments.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        # What an ordinary end of the interpreter does: threads finish, Prefect stops its temporary server.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _believe_the_environment() -> None:
    """Let Prefect, which was imported before, read its settings where a command would import it."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    from deployments import environment

    def followed(prepare: Callable[..., Any]) -> Callable[..., Any]:
        def prepared(*arguments: Any) -> Any:
            try:
                return prepare(*arguments)
            finally:
                refresh_global_settings_context()
                setup_logging(incremental=False)

        return prepared

    for name in ("prepare_environment", "prefect_api"):
        setattr(environment, name, followed(getattr(environment, name)))


if __name__ == "__main__":
    _serve()
