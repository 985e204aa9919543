"""What Prefect does by itself: it ends runs that died, and tells a person what needs one.

A channel is a notification block of Prefect, named ``type/name``: the installation's stands in the settings,
a clinic's in the form that started its transfer. Without a channel there is nobody to tell.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from tasks.launch import NOTIFY
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["NOTICES", "Channel", "channels", "ensure_automations", "notices", "zombie_automation"]

OURS: Final = "ident-amocrm: "
ZOMBIES: Final = f"{OURS}прерванные запуски"
CLINIC: Final = "ident-amocrm.clinic."

#: What may follow a heartbeat of a run that is well. Suspended and Paused runs wait for a form, without one.
ALIVE: Final = (
    "heartbeat",
    "AwaitingRetry",
    "Cancelled",
    "Completed",
    "Crashed",
    "Failed",
    "Paused",
    "Suspended",
    "TimedOut",
)

#: The first event of a run that a schedule made follows one that Prefect never sends, so the run's end counts
#: a quarter of an hour late (Prefect 3.9.1): with less, every such run would be ended again after its end.
STILL: Final = timedelta(minutes=20)

#: Title -> the events that a person is told of. Each is emitted on a change only, so one is enough.
NOTICES: Final = {
    "состояние стало красным": ("health.failed",),
    "состояние восстановилось": ("health.recovered",),
    "передача не проходит": ("sync.failing", "sync.guard_tripped", "transfer.refused"),
    "много отклонённых строк": ("rows.many_rejected",),
    "основание передачи": ("basis.due",),
    "подписка": ("subscription.expiring", "subscription.expired", "subscription.suspended"),
    "Prefect не работал": ("prefect.down",),
}

logger = logging.getLogger("deployments.automations")


@dataclass(frozen=True, slots=True)
class Channel:
    """Whom to tell, and about which clinic.

    Attributes:
        block: The notification block, ``type/name``.
        clinic_uid: The clinic; empty for all.
    """

    block: str
    clinic_uid: str = ""


def zombie_automation() -> AutomationCore:
    """Return the rule that ends runs whose process died with a worker that ``up`` did not start.

    Those of its own worker ``up`` ends itself. For the others Prefect frees the place of such a run after
    five minutes, but the run would stay Running for ever.
    """
    return AutomationCore(
        name=ZOMBIES,
        description="Запуск без признаков жизни дольше 20 минут помечается прерванным.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={f"prefect.flow-run.{state}" for state in ALIVE},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=STILL,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="No heartbeat: the process died")],
    )


def channels(ledger: Ledger, settings: Settings) -> list[Channel]:
    """Return whom to tell; a clinic's own channel that is the installation's adds nothing."""
    found = [Channel(settings.notify)] if settings.notify else []
    for record in ledger.connections():
        block = (ledger.setting(f"clinic:{record.clinic_uid}", NOTIFY) or {}).get("block", "")
        if block and block != settings.notify:
            found.append(Channel(block, record.clinic_uid))
    return found


def notices(channel: Channel, block_id: UUID) -> Iterator[AutomationCore]:
    """Return the automations that tell a channel what needs a person."""
    resources = [f"{CLINIC}{channel.clinic_uid}", f"{CLINIC}all"] if channel.clinic_uid else [f"{CLINIC}*"]
    whose = f" ({channel.clinic_uid})" if channel.clinic_uid else ""
    for title, events in NOTICES.items():
        yield AutomationCore(
            name=f"{OURS}{title} → {channel.block}{whose}",
            description="Создано программой; изменения будут отменены. Канал: настройка или форма запуска.",
            trigger=EventTrigger(
                expect={f"ident-amocrm.{event}" for event in events},
                match={"prefect.resource.id": resources},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[
                SendNotification(
                    block_document_id=block_id,
                    subject=f"IDENT → amoCRM: {title}",
                    # Names of clinics and codes only: whatever the event carries is free of personal data.
                    body=(
                        "Клиника: {{ event.resource.name }}\nСобытие: {{ event.event }}\n"
                        "{% for name, value in event.payload.items() %}{{ name }}: {{ value }}\n{% endfor %}"
                        "Время: {{ event.occurred }}\nЧто делать: артефакт health-check в Prefect."
                    ),
                )
            ],
        )


def ensure_automations(ledger: Ledger, settings: Settings, client: SyncPrefectClient) -> None:
    """Create the automations, and delete those whose channel is gone.

    Raises:
        ObjectNotFound: When a channel names a block that does not exist; the others are made all the same.
    """
    wanted = [zombie_automation()]
    missing: ObjectNotFound | None = None
    for channel in channels(ledger, settings):
        kind, _, name = channel.block.partition("/")
        try:
            block_id = client.read_block_document_by_name(name, kind, include_secrets=False).id
        except ObjectNotFound as error:
            logger.error("There is no notification block %r (type/name)", channel.block)  # noqa: TRY400
            missing = error
        else:
            wanted += notices(channel, block_id)
    names = {automation.name for automation in wanted}
    for known in client.read_automations():
        if known.name.startswith(OURS) and known.name not in names:
            client.delete_automation(known.id)
    for automation in wanted:
        _ensure(client, automation)
    if missing is not None:
        raise missing


def _ensure(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Create the automation; replace it only when it differs, for a replaced one forgets whom it watches."""
    known = client.read_automations_by_name(wanted.name)
    if any(_essence(automation) == _essence(wanted) for automation in known):
        return
    for automation in known:
        client.delete_automation(automation.id)
    client.create_automation(wanted)


def _essence(automation: AutomationCore) -> dict[str, Any]:
    essence = automation.model_dump(mode="json", include={"trigger", "actions", "description"})
    trigger = {key: value for key, value in essence["trigger"].items() if key != "id"}
    for key in ("after", "expect", "for_each"):
        trigger[key] = sorted(trigger[key])
    return {**essence, "trigger": trigger}
