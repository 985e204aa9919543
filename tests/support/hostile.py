"""What people and programs put into a clinic's database, and what somebody might put there on purpose."""

from __future__ import annotations

from typing import Final

__all__ = ["LONG", "MARK", "NAMES", "VALUES"]

#: Stands in every hostile value, so that it is found wherever it got to.
MARK: Final = "zloy"
LONG: Final = 100_000
#: By what it is; each is one line of a name or a comment.
VALUES: Final[dict[str, str]] = {
    "formula": f'=cmd|"/C calc"!A0 {MARK}',
    "plus": f"+1+1 {MARK}",
    "at": f"@SUM(A1) {MARK}",
    "tab": f"\t={MARK}",
    "script": f"<script>alert('{MARK}')</script>",
    "image": f'<img src=x onerror="alert({MARK!r})">',
    "attribute": f'" onmouseover="alert(1)" x="{MARK}',
    "sql": f"'); DROP TABLE Patients; -- {MARK}",
    "link": f"[{MARK}](javascript:alert(1)) http://{MARK}.example",
    "table": f"| {MARK} | b |\n|---|---|\n## heading {MARK}",
    "fence": f"```\n{MARK}\n``` `x` **y** ~~z~~",
    "template": f"{{{{ {MARK}.__class__ }}}} {{% raw %}} ${{{MARK}}} %s %(x)s {{0}}",
    "emoji": f"👩\u200d⚕️🦷 {MARK} 🇷🇺",
    "direction": f"a\u202e{MARK}\u2066b\u200b",
    "control": f"a\x07\x1b[31m{MARK}\x7f\r\nb\x0b",
    "null": f"a\x00{MARK}\x00",
    "combining": MARK + "\u0301" * 200,
    "long": MARK + "э" * LONG,
    "long emoji": MARK + "🦷" * LONG,
    "spaces": f" \u00a0{MARK}\u2028\u2029\u3000 ",
}
#: What a name in the pages of an operator may be: everything but what no form lets in.
NAMES: Final = {kind: text for kind, text in VALUES.items() if not kind.startswith("long")}
