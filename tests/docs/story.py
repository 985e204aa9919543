"""In which order the commands of the documentation are run, and which are not, and why.

Every command of a page stands in one of both, as ``DocCommand.plain`` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ELSEWHERE", "OTHER_PROGRAMS", "STORY", "Step"]

DONE, FAULT, LEFT, EITHER = (0,), (1,), (2,), (0, 2)


@dataclass(frozen=True)
class Step:
    """A command as it is run.

    Attributes:
        command: As the documentation has it.
        codes: Exit codes; which of them, the clinic of the day decides.
        answer: What is typed when it asks.
        shows: What its output holds.
    """

    command: str
    codes: tuple[int, ...] = DONE
    answer: str = ""
    shows: str = ""


WAIVE = "ident-amocrm rejects waive clinic1 --entity patient --reason phone_mobile_e164"
CONNECT = "ident-amocrm connect-database clinic1 --host 192.168.0.5 --port 15000 --password-file"
ACCOUNT = "ident-amocrm connect-amocrm --base-url https://NAME.amocrm.ru --token-file"

STORY: dict[str, tuple[Step, ...]] = {
    "connect": (
        Step("ident-amocrm --version", shows="ident-amocrm "),
        Step("ident-amocrm subscription status", shows="пробный период"),
        Step(f"{CONNECT} ident.txt", shows="8 patients, 16 appointments"),
        Step(f"{CONNECT} file", shows="8 patients, 16 appointments"),
        Step("ident-amocrm connect-database clinic1 --password-file file", shows="8 patients"),
        Step(f"{ACCOUNT} amocrm.txt", shows="Connected amoCRM account"),
        Step(f"{ACCOUNT} token.txt", shows="Connected amoCRM account"),
        Step(f"{ACCOUNT} file", shows="Connected amoCRM account"),
        Step("ident-amocrm status", shows="остановлена"),
    ),
    "attest": (
        Step("ident-amocrm basis attest clinic1 --basis consent --by clinic1"),
        Step("ident-amocrm basis attest clinic1 --basis consent --by 'Chief physician'"),
        Step("ident-amocrm basis withdraw clinic1 --by Lawyer"),
        Step("ident-amocrm basis attest clinic1 --basis consent --by 'Главный врач'"),
        Step("ident-amocrm basis show"),
        Step("ident-amocrm basis withdraw clinic1 --by 'Юрист'"),
        Step("ident-amocrm basis attest clinic1 --basis consent --by 'Юрист'"),
    ),
    "configure": (
        Step("ident-amocrm autoconfigure", answer="n\n", shows="Ничего не создано."),
        Step("ident-amocrm autoconfigure --yes", shows="Связка настроена"),
        Step("ident-amocrm autoconfigure --only pipelines,deal", answer="y\n", shows="Связка настроена"),
        Step("ident-amocrm autoconfigure --yes --special deal.services", shows="IDENT: Услуги"),
        Step("ident-amocrm autoconfigure --special deal.services,contact.comment", answer="y\n"),
        Step("ident-amocrm mapping show", shows="IDENT: Врач"),
        Step("ident-amocrm mapping export mapping.yaml", shows="Written: mapping.yaml"),
        Step("ident-amocrm mapping import mapping.yaml", shows="Изменений нет."),
        Step("ident-amocrm mapping check", shows="Связка настроена, всё на месте."),
        Step("ident-amocrm mapping show --history", shows="История настройки"),
        Step("ident-amocrm mapping backfill", shows="будет отправлено: 0"),
    ),
    "transfer": (
        Step("ident-amocrm start clinic1 --preview", shows="deals in open stages"),
        Step("ident-amocrm start clinic1 --history-days 30 --preview", shows="deals in open stages"),
        Step("ident-amocrm start clinic1", shows="Started clinic1"),
        Step("ident-amocrm start clinic1 --history-days 30", shows="Started clinic1"),
        Step("ident-amocrm start clinic1 --all-history --ahead-days 90", shows="from the beginning"),
        Step("ident-amocrm sync clinic1 --dry-run", EITHER, shows="nothing sent"),
        Step("ident-amocrm sync clinic1", EITHER, shows="contacts create"),
        Step("ident-amocrm status --output json", shows='"started": true'),
        Step("ident-amocrm reconcile clinic1 --dry-run", EITHER, shows="nothing repaired"),
        Step("ident-amocrm reconcile clinic1", EITHER, shows="clinic1: reconcile"),
        Step("ident-amocrm reconcile clinic1 --output json", EITHER, shows='"differences"'),
        Step("ident-amocrm explain patient 812", shows="transferred"),
        Step("ident-amocrm explain patient 812 --clinic clinic1 --output json", shows='"transferred"'),
        Step("ident-amocrm explain patient 123", shows="transferred"),
        Step("ident-amocrm explain appointment 4711", shows="transferred"),
        Step("ident-amocrm explain appointment 123", shows="transferred"),
    ),
    "review": (
        Step("ident-amocrm thresholds show clinic1", shows="quiet_hours"),
        Step("ident-amocrm thresholds set clinic1 opens=8 closes=21 working_days=1,2,3,4,5"),
        Step("ident-amocrm thresholds set clinic1 opens=8 closes=21"),
        Step("ident-amocrm thresholds set clinic1 quiet_hours="),
        Step("ident-amocrm rejects list", shows="phone_mobile_e164"),
        Step("ident-amocrm rejects list --clinic clinic1", shows="phone_mobile_e164"),
        Step("ident-amocrm rejects list --clinic clinic1 --entity patient --since 7d"),
        Step(
            "ident-amocrm rejects list --reason phone_mobile_e164 --severity error --since 7d --output json",
            shows='"reason": "phone_mobile_e164"',
        ),
        Step("ident-amocrm rejects show patient 812", shows="phone_mobile_e164"),
        Step("ident-amocrm rejects show patient 812 --clinic clinic1", shows="phone_mobile_e164"),
        Step("ident-amocrm rejects export rejects.csv", shows="rejects.csv"),
        Step("ident-amocrm rejects export rejects.csv --entity patient", shows="rejects.csv"),
        Step("ident-amocrm rejects retry clinic1 --entity contact --id 640", shows="Released 1 rows"),
        Step(f"{WAIVE} --id 811 --id 812 --note 'Numbers of another country' --by analyst --days 90"),
        Step(f"{WAIVE} --id 811 --id 812 --note 'Номера другой страны' --by 'Аналитик' --days 90"),
        Step(
            "ident-amocrm rejects unwaive clinic1 --entity patient --reason phone_mobile_e164 --id 811",
        ),
        Step(f"{WAIVE} --all-rows --note 'The clinic keeps extensions here' --until 2026-12-31"),
    ),
    "subscribe": (
        Step("ident-amocrm subscription quote", shows="10 мес."),
        Step("ident-amocrm subscription activate --months 10 --accept-offer", shows="Invoice "),
        Step("ident-amocrm subscription activate --paid 2026-0001", shows="Активная"),
        Step("ident-amocrm subscription extend --users 3 --accept-offer", shows="Invoice "),
        Step("ident-amocrm subscription extend --months 6 --accept-offer", shows="Invoice "),
        Step("ident-amocrm subscription activate --months 6 --accept-offer", shows="Invoice "),
    ),
    "look": (
        Step("ident-amocrm events", shows="transfer.started"),
        Step("ident-amocrm events --since 7d", shows="transfer.started"),
        Step("ident-amocrm events --event transfer --clinic clinic1 --since 7d --sort oldest"),
        Step("ident-amocrm events --event transfer --clinic clinic1 --sort oldest"),
        Step("ident-amocrm events --level error --csv events.csv", shows="Wrote events.csv"),
        Step("ident-amocrm events --level error --since 2026-03-01 --limit 5000 --csv errors.csv"),
        # Nobody started up: that is its fault here.
        Step("ident-amocrm doctor", FAULT, shows="up does not run"),
        Step("ident-amocrm doctor --output json", FAULT, shows='"not_up"'),
        Step("ident-amocrm doctor --bundle support.zip", FAULT, shows="Wrote support.zip"),
    ),
    "back up": (
        Step("ident-amocrm backup /backups/ident-amocrm-2026-03-12.zip", shows="keys are not inside"),
        Step("ident-amocrm backup ident-amocrm.zip", shows="keys are not inside"),
        Step("ident-amocrm backup file", shows="keys are not inside"),
        Step("ident-amocrm stop clinic1", shows="Stopped clinic1"),
        Step("ident-amocrm restore /backups/ident-amocrm-2026-03-12.zip", shows="What stood there is in"),
        Step("ident-amocrm restore ident-amocrm.zip", shows="What stood there is in"),
        Step("ident-amocrm restore file", shows="What stood there is in"),
        Step("ident-amocrm sync clinic1 --dry-run", EITHER, shows="nothing sent"),
        Step("ident-amocrm sync clinic1 --rebaseline", EITHER, shows="clinic1: full"),
    ),
    "erase": (
        Step("ident-amocrm erase-subject clinic1 --patient 123 --dry-run", shows="Would be cleared"),
        Step("ident-amocrm erase-subject clinic1 --patient 123 --by Lawyer", answer="y\n", shows="Cleared"),
        Step("ident-amocrm erase-subject clinic1 --patient 123 --lift --by clinic1"),
        Step("ident-amocrm erase-subject clinic1 --patient 812 --dry-run", shows="Would be cleared"),
        Step("ident-amocrm erase-subject clinic1 --patient 812 --by 'Юрист'", answer="y\n", shows="Cleared"),
        Step("ident-amocrm explain patient 812", LEFT, shows="erased"),
        Step("ident-amocrm erase-subject clinic1 --patient 812 --lift --by 'Юрист'"),
    ),
    "end": (
        Step("ident-amocrm audit export audit.csv --since 52w", shows="Wrote audit.csv"),
        Step("ident-amocrm purge runs --older-than 90d", shows="Nothing was removed"),
        Step("ident-amocrm purge runs --older-than 90d --yes", shows="Removed"),
        Step("ident-amocrm purge replaced --older-than 30d --yes", shows="Removed"),
        Step("ident-amocrm purge logs --older-than 90d --yes", shows="Removed"),
        Step("ident-amocrm rename-clinic clinic1 clinic2", shows="Renamed clinic1 to clinic2"),
        Step("ident-amocrm disconnect-database clinic2", shows="Disconnected clinic2"),
        Step(f"{CONNECT} ident.txt", shows="Connected clinic1"),
        Step("ident-amocrm disconnect-database clinic1", shows="Disconnected clinic1"),
    ),
}

#: Commands of ours that are not run here, by how they begin -> why, and what runs them.
ELSEWHERE = {
    "ident-amocrm up": "runs Prefect's server until it is stopped: tests/deployments/test_up_server.py",
    "ident-amocrm worker": "runs until it is stopped: tests/ledger/test_on_postgresql.py",
    "ident-amocrm demo": "runs up, the stand-in and the proofs for a minute: .ci/run",
    "ident-amocrm service install": "needs systemd or Windows: tests/deployments/test_cli_service.py",
    "ident-amocrm service status": "needs systemd or Windows: tests/deployments/test_cli_service.py",
    "ident-amocrm service uninstall": "needs systemd or Windows: tests/deployments/test_cli_service.py",
    "ident-amocrm connect-amocrm --base-url https://NAME.amocrm.ru --client-id": (
        "needs an integration and its code: tests/amocrm/test_amo_oauth_commands.py"
    ),
}

#: Programs of others that the documentation calls -> why they are not run.
OTHER_PROGRAMS = {
    "apt-get": "installs packages of the system: needs root",
    "cat": "reads the password of an installation that is not here",
    "cp": "writes into /etc: needs root; what it copies must exist",
    "curl": "asks a server on the clinic's network",
    "dnf": "installs packages of the system: needs root, and Red Hat",
    "ln": "writes into /usr/local: needs root",
    "make": "lasts minutes; only what it would run is looked at",
    "nginx": "needs nginx: tests/deployments/test_tls_proxy.py",
    "openssl": "writes into /etc: needs root",
    "pip": "installs the project: tests/deployments/test_service_from_wheel.py",
    "powershell": "needs Windows: tests/deployments/test_windows_task.py",
    "py": "needs Windows",
    "python": "measurements and tests that last minutes; their options are looked at",
    "python3": "makes an environment in /opt: needs root",
    "rm": "removes an installation that is not here",
    "systemctl": "needs systemd",
    "useradd": "makes an account of the system: needs root",
    "userdel": "removes an account of the system: needs root",
}
