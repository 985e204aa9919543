"""What a code means and what to do, in English, where no error of ours says it."""

from __future__ import annotations

from typing import Final

__all__ = ["ENGLISH"]

#: A new long-lived token.
CONNECT_AGAIN: Final = (
    "Create a new one in the integration's «Ключи и доступы» and connect again: docs/how-to/connect-amocrm.md"
)
#: Code of a check -> what was found, what to do. The Russian of the health page is in ``tasks.hints``.
ENGLISH: Final[dict[str, tuple[str, str]]] = {
    "server_first": ("not tried: its server has to answer first", ""),
    "clock": (
        "The clocks of the database's server and of this machine differ by more than 5 minutes.",
        "Let both set their clocks by the network, and check the clinic's zone in its block.",
    ),
    "crm_abroad": (
        "The account is not at amocrm.ru, so personal data of Russian citizens leave Russia.",
        "Let a lawyer decide, or move the account to amoCRM: docs/how-to/law.md",
    ),
    "basis_missing": (
        "Nobody attested the legal basis of the transfer; it is refused.",
        "Run: ident-amocrm basis attest NAME --basis consent --by WHO; what it means: docs/how-to/law.md",
    ),
    "basis_due": (
        "The transfer runs, and its legal basis is not attested yet; it stops two weeks after the upgrade.",
        "Run: ident-amocrm basis attest NAME --basis consent --by WHO; what it means: docs/how-to/law.md",
    ),
    "stopped": ("The transfer is stopped.", "When everything is ready: ident-amocrm start NAME"),
    "never_run": (
        "No run has ended well yet.",
        "Try one now: ident-amocrm sync NAME; or see the last run in the Prefect UI.",
    ),
    "lagging": (
        "No run has ended well for more than 10 minutes.",
        "See whether up runs and its worker is online; then the last run: ident-amocrm sync NAME",
    ),
    "window_ends": (
        "The launch window ends within 14 days; later appointments are left out.",
        "Start again with a later end: ident-amocrm start NAME --ahead-days …",
    ),
    "unsettled": (
        "amoCRM's answer to some writes was lost more than 30 minutes ago, and they are not found yet.",
        "The next runs look for them. If it lasts: ident-amocrm rejects list",
    ),
    "erasure_open": (
        "The erasure of a person began more than an hour ago and did not end.",
        "Repeat it and read why: ident-amocrm erase-subject NAME --patient ID; audit export tells whose.",
    ),
    "rejects_growing": (
        "Unusually many rows were kept back within the last hour.",
        "See the reasons: ident-amocrm rejects list",
    ),
    "disk_low": ("Less than 2 GB are free.", "Make room on the disk of the home folder."),
    "disk_full": ("Almost no room is left.", "Make room at once: the transfer is about to stop."),
    "mapping_drift": (
        "The account lacks a pipeline, stage or field that the mapping names.",
        "See which: ident-amocrm mapping check; put it right: ident-amocrm autoconfigure --yes",
    ),
    "token_expires": (
        "The token expires soon.",
        CONNECT_AGAIN,
    ),
    "token_expired": (
        "The token has expired.",
        CONNECT_AGAIN,
    ),
    "refresh_token_expires": (
        "The integration's access was not renewed for long and will be void soon.",
        "See whether amoCRM can be reached; else connect again: docs/how-to/connect-amocrm.md",
    ),
    "reauthorise": (
        "The integration's access is lost or withdrawn.",
        "Take a new authorisation code and connect again: docs/how-to/connect-amocrm.md",
    ),
    "subscription_expiring": (
        "The subscription ends within two weeks.",
        "Extend it: ident-amocrm subscription extend --help",
    ),
    "subscription_expired": (
        "The subscription has expired; the transfer waits.",
        "Activate it: ident-amocrm subscription activate --help",
    ),
    "subscription_suspended": (
        "More users of amoCRM, or more databases, than are paid; the transfer waits.",
        "Pay for them (ident-amocrm subscription extend --users …), or have fewer.",
    ),
}
