from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from deployments.apply import prefect_file, read_specs
from deployments.registry import POOL, DeploymentSpec, project_root

ROOT = Path(__file__).parents[2]
SPECS = list(read_specs(ROOT / "prefect.yaml"))


def test_it_is_found_beside_the_flows() -> None:
    assert project_root() == ROOT
    assert prefect_file() == ROOT / "prefect.yaml"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_entrypoint_exists(spec: DeploymentSpec) -> None:
    path, _, name = spec.entrypoint.partition(":")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {
        node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    decorators = [ast.unparse(decorator) for decorator in functions[name].decorator_list]
    assert any(decorator.startswith("flow") for decorator in decorators)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_deployments_are_complete(spec: DeploymentSpec) -> None:
    assert spec.pool == POOL
    assert re.search("[а-я]", spec.description), "operators read Russian"
    assert len({schedule.slug for schedule in spec.schedules}) == len(spec.schedules)
    assert all(schedule.plan() for schedule in spec.schedules)


def test_no_schedule_sets_active() -> None:
    # Applying it again would switch what an operator switched.
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    for deployment in yaml.safe_load(text)["deployments"]:
        assert all("active" not in schedule for schedule in deployment.get("schedules", []))


def test_health_is_checked_every_five_minutes() -> None:
    health = next(spec for spec in SPECS if spec.name == "health-check")
    assert [schedule.cron for schedule in health.schedules] == ["*/5 * * * *"]
