"""dlt's reverse ETL: resources of the clinic, a ``@dlt.destination`` function that writes a batch of cards.

Given to it beside its documentation's example: ``batch_size`` 50 as amoCRM advises, dlt's own HTTP client
(five attempts, waits as the server says), contacts before deals in two runs of one pipeline, their ids handed
on. ``write_disposition`` is no help: a destination function gets rows, and ``merge`` is left to it.
``--reads-first`` is the careful user's: ``dlt.sources.incremental`` on the time of the last change, so that
only changed rows come, and a sink that reads the account's cards once and updates what stands there.

Runs in an interpreter of its own: nothing but Python's own modules, pandas and dlt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import dlt
from dlt.sources.helpers.requests import Client

from deployments.sandbox.rivals.options import Options, options
from deployments.sandbox.rivals.reading import MARKS, contact, lead, patients, visits

__all__ = ["load"]

BATCH = 50
PAGE = 250


class Sink:
    """What the destination function does, and the ids that it learns."""

    def __init__(self, given: Options) -> None:
        self._api = f"{given.crm}/api/v4"
        self._client = Client(session_attrs={"headers": {"Authorization": f"Bearer {given.token}"}})
        self._known = {kind: self._read(kind) if given.reads_first else {} for kind in MARKS}
        self._contacts = dict(self._known["contacts"])

    def write(self, items: list[dict[str, Any]], table: dict[str, Any]) -> None:
        """Write a batch of cards."""
        kind = table["name"]
        known = self._known[kind]
        new, old = list[dict[str, Any]](), list[dict[str, Any]]()
        for item in items:
            amo_id = known.get(str(item["id"]))
            old += [] if amo_id is None else [self._card(kind, item) | {"id": amo_id}]
            new += [item] if amo_id is None else []
        if old:
            self._client.patch(f"{self._api}/{kind}", json=old)
        if new:
            answer = self._client.post(
                f"{self._api}/{kind}", json=[self._card(kind, item) for item in new]
            ).json()
            made = zip(new, answer["_embedded"][kind], strict=True)
            if kind == "contacts":
                self._contacts |= {str(item["id"]): row["id"] for item, row in made}

    def _card(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        if kind == "contacts":
            return contact(item)
        return lead(item, self._contacts.get(str(item["patient_id"])))

    def _read(self, kind: str) -> dict[str, int]:
        cards, page = dict[str, int](), 1
        while True:
            answer = self._client.get(f"{self._api}/{kind}", params={"limit": PAGE, "page": page})
            rows = answer.json()["_embedded"][kind] if answer.status_code != 204 else []
            for row in rows:
                for field in row["custom_fields_values"] or ():
                    if field["field_code"] == MARKS[kind]:
                        cards[field["values"][0]["value"]] = row["id"]
            if len(rows) < PAGE:
                return cards
            page += 1


def load(given: Options) -> None:
    """Load the clinic."""
    sink = Sink(given)

    def amocrm(items: list[dict[str, Any]], table: dict[str, Any]) -> None:
        sink.write(items, table)

    pipeline = dlt.pipeline(
        "clinic",
        pipelines_dir=str(given.folder),
        destination=dlt.destination(amocrm, batch_size=BATCH),
    )
    for kind, rows in (("contacts", patients), ("leads", visits)):
        pipeline.run(_resource(given, kind, rows))


def _resource(given: Options, kind: str, rows: Callable[..., list[dict[str, Any]]]) -> Any:
    # Texts of times stay texts: dlt would turn them into times of UTC.
    columns = {name: {"data_type": "text"} for name in ("changed_at", "start_at", "cancelled_at", "ended_at")}

    if not given.reads_first:
        return dlt.resource(rows(given.database), name=kind, primary_key="id", columns=columns)

    cursor = dlt.sources.incremental("changed_at", on_cursor_value_missing="include")

    def changed(changed_at: Any = cursor) -> Any:
        del changed_at  # dlt filters by it
        yield rows(given.database)

    return dlt.resource(changed, name=kind, primary_key="id", columns=columns)


if __name__ == "__main__":
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    load(options())
