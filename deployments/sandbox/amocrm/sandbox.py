"""The running stand-in: the account and the switches around it."""

from __future__ import annotations

from typing import cast

from fastapi import Request

from deployments.sandbox.amocrm.faults import Faults
from deployments.sandbox.amocrm.limits import Limiter, Stats
from deployments.sandbox.amocrm.model import Kind
from deployments.sandbox.amocrm.oauth import Authorisations
from deployments.sandbox.amocrm.state import State


class Sandbox:
    """One stand-in account with its tokens, limits, faults and statistics."""

    def __init__(
        self,
        token: str,
        *,
        latency_ms: int = 0,
        limit: int | None = 7,
        index_lag: float = 2.0,
        timezone: str = "Europe/Moscow",
    ) -> None:
        self.token = token
        self.latency_ms = latency_ms
        self.index_lag = index_lag
        self.timezone = timezone
        self.paid = True
        self.token_valid = True
        self.oauth = Authorisations()
        self.state = State(timezone=timezone, index_lag=index_lag)
        self.limiter = Limiter(limit)
        self.faults = Faults()
        self.stats = Stats()

    def reset(self) -> None:
        """Empty the account and forget statistics, faults and the block; latency and limit stay."""
        api_filter = self.state.api_filter
        self.state = State(timezone=self.timezone, index_lag=self.index_lag)
        self.state.api_filter = api_filter
        self.oauth = Authorisations()
        self.limiter = Limiter(self.limiter.limit)
        self.faults = Faults()
        self.stats = Stats()


def sandbox_of(request: Request) -> Sandbox:
    """Return the stand-in that serves this request."""
    return cast("Sandbox", request.app.state.sandbox)


def state_of(request: Request) -> State:
    """Return the account behind this request."""
    return sandbox_of(request).state


def kind_of(request: Request) -> Kind:
    """Tell contacts from leads by the address: `/api/v4/{kind}/...`."""
    return cast("Kind", request.url.path.split("/")[3])
