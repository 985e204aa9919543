"""amoCRM's clock, without a token: every answer of a web server carries the time."""

from __future__ import annotations

from datetime import datetime

from tasks.amocrm.answers import moment
from tasks.amocrm.transport import Bearer, checked_url, host_and_port, new_session, trust
from tasks.errors import AmoCrmUnavailableError
from tasks.settings import Settings

__all__ = ["read_clock"]


def read_clock(base_url: str, settings: Settings) -> datetime | None:
    """Return the time that the account's server tells, ``None`` where it tells none.

    Whatever the status of the answer, its time is good; so nothing is asked for in the name of the account.

    Args:
        base_url: ``https://<subdomain>.amocrm.ru``.
        settings: Time limits, proxy, certificates.

    Raises:
        AmoCrmUnavailableError: When nothing answers.
        ConfigurationError: When the address or the certificate file is unusable.
    """
    address, verify = checked_url(base_url), trust(settings)
    try:
        with new_session(verify=verify) as session:
            answer = session.head(
                f"{address}/",
                auth=Bearer(None),
                timeout=(settings.connect_timeout, settings.connect_timeout),
                allow_redirects=False,
                verify=verify,
                proxies={"https": settings.https_proxy} if settings.https_proxy else None,
            )
    except OSError as error:  # every exception of requests is one
        raise AmoCrmUnavailableError(
            problem=f"{host_and_port(address)} does not answer ({type(error).__name__}).",
            remedy="Check the internet connection, the proxy and the account's address.",
        ) from None
    return moment(answer.headers.get("Date", ""))
