"""Where a rule draws its line: defaults that fit most clinics, each of which a clinic may set for itself."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Thresholds"]


class Thresholds(BaseModel):
    """Thresholds of one clinic's suites."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_appointment_hours: float = Field(
        default=12.0, gt=0, le=72, description="Самый долгий правдоподобный приём, часов."
    )
    furthest_days_ahead: int = Field(default=730, ge=1, description="На сколько дней вперёд бывает запись.")
    oldest_age_years: int = Field(
        default=120, ge=1, le=200, description="Самый большой возраст пациента, лет."
    )
    clock_tolerance_hours: float = Field(
        default=12.0,
        ge=0,
        description="На сколько часов отметка времени может опережать часы сервера: они бывают неверны.",
    )
    quiet_hours: float = Field(
        default=4.0, gt=0, description="Сколько рабочих часов подряд в IDENT может ничего не меняться."
    )
    opens: int = Field(default=9, ge=0, le=23, description="С какого часа клиника работает.")
    closes: int = Field(default=20, ge=1, le=24, description="До какого часа клиника работает.")
    working_days: tuple[int, ...] = Field(
        default=(1, 2, 3, 4, 5, 6),
        description="По каким дням клиника работает: 1 — понедельник, 7 — воскресенье.",
    )
    largest_fall: float = Field(
        default=0.2, gt=0, le=1, description="Какая доля строк может исчезнуть по сравнению с прошлыми днями."
    )
    largest_growth: float = Field(
        default=0.5, gt=0, description="Какая доля строк может прибавиться по сравнению с прошлыми днями."
    )
    vanished_share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Какая доля переданных строк может пропасть из IDENT без вопроса.",
    )
    missing_phones: float = Field(
        default=0.3, ge=0, le=1, description="Какая доля пациентов может быть без телефона."
    )
    fewest_rows: int = Field(
        default=50, ge=1, description="Если строк меньше, доли и скачки ни о чём не говорят."
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.closes <= self.opens:
            message = "closes must be later than opens"
            raise ValueError(message)
        if not set(self.working_days) <= set(range(1, 8)):
            message = "working_days are numbers from 1 to 7"
            raise ValueError(message)
        return self
