"""Pipelines and their stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.errors import UnexpectedAnswerError
from tasks.records import Pipeline, Stage

__all__ = ["create_pipeline", "create_stage", "read_pipelines"]

PATH = "leads/pipelines"
#: Closing stages of every pipeline.
WON, LOST = 142, 143


def read_pipelines(client: AmoClient) -> list[Pipeline]:
    """Read all pipelines, archived ones too; the list has no pages."""
    request = f"GET {PATH}"
    found = entities.embedded(client.get(PATH), "pipelines", request)
    return [entities.parsed(row, _pipeline, request) for row in found]


def create_pipeline(
    client: AmoClient, name: str, stages: Sequence[tuple[str, int, str]], won_name: str, lost_name: str
) -> Pipeline:
    """Create a pipeline with its stages.

    Args:
        client: The account.
        name: Its name.
        stages: Name, sort and colour (one of amoCRM's 21) of each stage.
        won_name: Name of stage 142.
        lost_name: Name of stage 143.

    Raises:
        UnexpectedAnswerError: When the new pipeline cannot be read back.
    """
    statuses: list[dict[str, Any]] = [
        {"name": title, "sort": sort, "color": color} for title, sort, color in stages
    ]
    statuses += [{"id": WON, "name": won_name}, {"id": LOST, "name": lost_name}]
    body = {
        "name": name,
        "sort": 1000,
        "is_main": False,
        "is_unsorted_on": False,
        "request_id": "pipeline",
        "_embedded": {"statuses": statuses},
    }
    ids = {row["id"] for row in entities.acknowledged(client.post(PATH, [body]), "pipelines")}
    created = [pipeline for pipeline in read_pipelines(client) if pipeline.id in ids]
    if not created:
        raise UnexpectedAnswerError(
            problem=f"amoCRM accepted the pipeline «{name}» but does not show it.",
            remedy="Run ident-amocrm autoconfigure --yes again; what exists is reused.",
            code="pipeline_not_created",
        )
    return created[0]


def create_stage(client: AmoClient, pipeline_id: int, name: str, sort: int, color: str) -> Stage:
    """Create a stage in a pipeline.

    Raises:
        UnexpectedAnswerError: When amoCRM does not name the new stage.
    """
    body = [{"name": name, "sort": sort, "color": color, "request_id": "stage"}]
    answer = client.post(f"{PATH}/{pipeline_id}/statuses", body)
    created = entities.acknowledged(answer, "statuses")
    if not created:
        raise UnexpectedAnswerError(
            problem=f"amoCRM accepted the stage «{name}» but does not name its id.",
            remedy="Run ident-amocrm autoconfigure --yes again; what exists is reused.",
            code="stage_not_created",
        )
    row = {"pipeline_id": pipeline_id, "name": name, "sort": sort, "color": color, **created[0]}
    return entities.parsed(row, _stage, f"POST {PATH}/{pipeline_id}/statuses")


def _pipeline(row: dict[str, Any]) -> Pipeline:
    stages = (_stage({"pipeline_id": row["id"], **stage}) for stage in row["_embedded"]["statuses"])
    return Pipeline(
        id=entities.row_id(row),
        name=entities.text(row["name"]),
        sort=entities.whole(row.get("sort")),
        is_main=bool(row.get("is_main")),
        is_archive=bool(row.get("is_archive")),
        stages=tuple(sorted(stages, key=lambda stage: stage.sort)),
    )


def _stage(row: dict[str, Any]) -> Stage:
    return Stage(
        id=entities.row_id(row),
        name=entities.text(row["name"]),
        sort=entities.whole(row.get("sort")),
        pipeline_id=entities.whole(row["pipeline_id"]),
        type=entities.whole(row.get("type")),
        color=entities.text(row.get("color")),
    )
