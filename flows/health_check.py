"""Every five minutes: databases, amoCRM, settings, lag."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.checks import CheckState
from tasks.health import health

__all__ = ["health_check"]


@flow(name="health-check", flow_run_name="health-check", persist_result=False)
def health_check() -> State[None]:
    """Проверить базы, amoCRM, настройку и отставание всех клиник."""
    result = health()
    failed = sorted(
        f"{clinic}: {name}"
        for clinic, checks in result.items()
        for name, state in checks.items()
        if state == CheckState.FAILED.value
    )
    if failed:
        return Failed(message="Не выполнено: " + "; ".join(failed))
    return Completed(message=f"Клиник проверено: {len(result)}")
