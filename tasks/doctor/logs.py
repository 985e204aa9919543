"""The logs of what ``up`` runs: how many errors stand at their ends, and what of them may leave the machine.

A log holds what libraries wrote: texts of errors with parameters of statements, names of runs with names of
clinics, addresses. Hiding what looks like a phone or a name would trust that everything dangerous looks like
that; a password looks like any word. So the filter works the other way round: **a line leaves only in a form
that is known, and only the parts of it that are known cannot hold a value**: time, level, name of the logger
of a known package, kind of step, numbers too short for a phone, class of an exception, place in the source.
What is not known is left out, and how many lines were left out is said. It costs messages that would be
harmless; cause and place of an error are still there.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from tasks.doctor.findings import Finding, State

__all__ = ["check_logs", "filtered", "log_files", "tail"]

AREA: Final = "Logs"
LINES: Final = 2000
BYTES: Final = 1_000_000
#: Packages whose names a log may show: as loggers, of exceptions, in places of the source.
PACKAGES: Final = (
    "prefect|sqlalchemy|sqlite3|aiosqlite|asyncpg|psycopg|alembic|pydantic|pydantic_core|httpx|httpcore|anyio"
    "|asyncio|starlette|uvicorn|fastapi|requests|urllib3|pandas|numpy|pyarrow|great_expectations|pyodbc|docket"
    "|tasks|flows|deployments|expectations|concurrent|socket|ssl|json|subprocess|multiprocessing|websockets"
)
TIME: Final = r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d[.,]\d{3}"
LEVEL: Final = r"DEBUG|INFO|WARNING|ERROR|CRITICAL"
STEPS: Final = (
    "gate|recover|rebaseline|extract|validate|plan|load|report|health|connect|journal|reconcile|review"
)
PREFECT_LINE: Final = re.compile(rf"({TIME}) \| ({LEVEL})\s* \| (.*?) - (.*)")
PLAIN_LINE: Final = re.compile(rf"({TIME}) ({LEVEL}) (.*)")
LOGGER: Final = re.compile(rf"(?:{PACKAGES})(?:\.[a-z_]{{1,40}}){{0,8}}")
RUN: Final = re.compile(rf"(Flow run|Task run) '(?:({STEPS})-[0-9a-f]{{3}}|.*)'")
STATES: Final = "Completed|Failed|Crashed|Cancelled|Cancelling|Skipped|Paused|Suspended"
UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
CALL: Final = re.compile(rf"(GET|POST|PATCH) .*: (\d{{3}}), X-Request-Id (?:({UUID})|.*), (\d{{1,7}}) ms")
#: Messages of known form; only what a group holds is kept: our own words, and short numbers.
MESSAGES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(Finished in state (?:{STATES})\b).*",
        r"(Beginning flow run) .*",
        r"(Extracted \d{1,8} patients and \d{1,8} appointments \((?:incremental|full)\)).*",
        r"(Running \d{1,3} deployment pull step\(s\))",
        r"(Executing deployment step): .*",
        r"(Deployment step) .* (completed successfully)",
        r"(All deployment steps completed successfully)",
        r"(Planned nothing)",
        r"(Planned \d{1,8})\b.*",
        r"(Loaded \d{1,8} planned rows with \d{1,8} requests)\b.*",
        r"(Sync of) \w+(: \d{1,8} rows planned, \d{1,8} writes)",
        r"(Rule) \w+(: \d{1,8} rows)",
        r"(Worker) .* (submitting flow run) .*",
        r"(Flow run) .* (submitted to infrastructure)",
        r"(Aborted submission of flow run) .*",
        r"(Process for flow run) .* (exited with status code: -?\d{1,3})\b.*",
        r"(Process) .* (exited with status code: -?\d{1,3})\b.*",
        r"(Dead runs ended: \d{1,6})",
        r"(Not applied): .*",
        r"(Action failed): .*",
        r"(Task run encountered an exception)\b.*",
        r"(Encountered an exception during execution)\b.*",
    )
)
#: Lines without a time that say something, as a whole.
WHOLE: Final = (
    re.compile(r"Traceback \(most recent call last\):"),
    re.compile(r"During handling of the above exception, another exception occurred:"),
    re.compile(r"The above exception was the direct cause of the following exception:"),
)
WORKER: Final = re.compile(r"Worker '.*' (started|stopped)!")
SIGNAL: Final = re.compile(r"Received (SIGTERM|SIGINT)\..*")
#: A place in the source, without the folder it was installed in: that may be called after a person.
FILE: Final = r"[\w./-]{1,160}\.py"
SOURCE: Final = re.compile(
    rf'\s*(?:\| )*File "(?:[^"]*?(lib/python3\.\d+/{FILE})'
    rf'|[^"]*/((?:tasks|flows|deployments|expectations)/{FILE}))"'
    r", line (\d{1,6}), in ([A-Za-z_]\w{0,60}|<module>|<lambda>|<listcomp>)",
    re.ASCII,
)
EXCEPTIONS: Final = "|".join(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)
ENDINGS: Final = (
    "Error|Exception|Warning|Timeout|NotFound|AlreadyExists|Run|Signal|Abort|Closed|Refused|Failure"
)
CLASS: Final = rf"(?:{PACKAGES})(?:\.[a-z_]{{1,40}}){{0,6}}\.[A-Z][A-Za-z]{{0,40}}(?:{ENDINGS})"
RAISED: Final = re.compile(rf"\s*(?:\| )*({CLASS}|{EXCEPTIONS})(?::.*|$)", re.ASCII)
#: What an exception's text says is left out but for these: they name the trouble and nobody.
PHRASES: Final = (
    "database is locked",
    "disk I/O error",
    "database or disk is full",
    "attempt to write a readonly database",
    "database disk image is malformed",
    "no such table",
    "Connection refused",
    "All connection attempts failed",
    "timed out",
    "No space left on device",
    "Permission denied",
    "Address already in use",
    "certificate verify failed",
    "Service unavailable",
)


def log_files(folder: Path) -> list[Path]:
    """Return the logs of a folder, those that were moved aside included."""
    return sorted(folder.glob("*.log")) if folder.is_dir() else []


def tail(path: Path, lines: int = LINES) -> list[str]:
    """Return the last lines of a log, however long it grew."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - BYTES))
        text = file.read().decode("utf-8", errors="replace")
    found = text.splitlines()
    # The first one may have been cut in the middle.
    return (found[1:] if size > BYTES else found)[-lines:]


def check_logs(folder: Path) -> list[Finding]:
    """Count the errors at the end of each log, and name the class of the last exception."""
    found = []
    for path in log_files(folder):
        try:
            lines = tail(path)
        except OSError as error:
            text = f"It cannot be read ({type(error).__name__})."
            remedy = "Run the command as the user that runs ident-amocrm up."
            found.append(Finding(AREA, path.name, State.WARNING, text, remedy, "log_unreadable"))
            continue
        found.append(_counted(path, lines))
    return found or [Finding(AREA, "logs", State.OK, "none: up never ran here")]


def _counted(path: Path, lines: list[str]) -> Finding:
    heads = [head for line in lines if (head := PREFECT_LINE.match(line) or PLAIN_LINE.match(line))]
    errors = [head for head in heads if head[2] in {"ERROR", "CRITICAL"}]
    if not errors:
        return Finding(AREA, path.name, State.OK, f"no errors in the last {len(lines)} lines")
    raised = [one[1] for line in lines if (one := RAISED.fullmatch(line))]
    last = f", the last one at {errors[-1][1]}"
    kind = f"; last exception: {raised[-1]}" if raised else ""
    return Finding(
        AREA,
        path.name,
        State.WARNING,
        f"{len(errors)} errors in the last {len(lines)} lines{last}{kind}",
        f"Read its end: {path}. They may be of the past; one that comes back belongs into a report.",
        "log_errors",
    )


def filtered(lines: Iterable[str], codes: Collection[str] = ()) -> Iterator[str]:
    """Return what of a log may leave the machine.

    Args:
        lines: Its lines.
        codes: Codes of our errors, which may be shown where they stand in a message.
    """
    left_out = 0
    for line in lines:
        known = _known(line.rstrip(), codes)
        if known is None:
            left_out += bool(line.strip())
            continue
        if left_out:
            yield f"[{left_out} lines left out]"
            left_out = 0
        yield known
    if left_out:
        yield f"[{left_out} lines left out]"


def _known(line: str, codes: Collection[str]) -> str | None:
    """Return the parts of a line that are known to hold no value; ``None`` when there are none."""
    if head := PREFECT_LINE.fullmatch(line):
        return f"{head[1]} | {head[2]:<8} | {_speaker(head[3])} - {_message(head[4], codes)}"
    if head := PLAIN_LINE.fullmatch(line):
        return f"{head[1]} {head[2]} {_message(head[3], codes)}"
    if any(form.fullmatch(line) for form in WHOLE):
        return line
    return _without_time(line)


def _without_time(line: str) -> str | None:
    """Return what is known of a line that no logger wrote."""
    if found := SOURCE.fullmatch(line):
        return f'  File "…/{found[1] or found[2]}", line {found[3]}, in {found[4]}'
    if found := WORKER.fullmatch(line):
        return f"Worker … {found[1]}"
    if found := SIGNAL.fullmatch(line):
        return f"Received {found[1]}"
    if found := RAISED.fullmatch(line):
        return f"{found[1]}{_phrases(line)}"
    return None


def _speaker(text: str) -> str:
    if run := RUN.fullmatch(text):
        return f"{run[1]} {run[2]}" if run[2] else run[1]
    return text if LOGGER.fullmatch(text) else "…"


def _message(text: str, codes: Collection[str]) -> str:
    if call := CALL.fullmatch(text):
        return f"{call[1]} …: {call[2]}, X-Request-Id {call[3] or '…'}, {call[4]} ms"
    for form in MESSAGES:
        if found := form.fullmatch(text):
            return " … ".join(found.groups()) + _phrases(text)
    named = sorted({word for word in re.findall(r"[a-z_]+", text) if "_" in word} & set(codes))
    return "[message left out]" + "".join(f" ({code})" for code in named) + _phrases(text)


def _phrases(text: str) -> str:
    return "".join(f" [{phrase}]" for phrase in PHRASES if phrase in text)
