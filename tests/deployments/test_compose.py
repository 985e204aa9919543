"""deployments/compose, as far as it can be checked without Docker: commands, options, variables, services, files."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_valid_setting_names

from deployments.cli.main import app
from deployments.environment import prepare_environment
from deployments.supervisor import RUNS_AT_ONCE
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(
    line.split("=", 1)
    for line in (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
#: Prefect reads it where it encrypts, not among its settings.
UNLISTED = {"PREFECT_SERVER_ENCRYPTION_KEY"}
#: What must not be in a repository.
SECRETS = {"POSTGRES_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_ENCRYPTION_KEY"}


def filled(text: str) -> str:
    """The file as Compose reads it with .env.example, its secrets filled in."""
    return VARIABLE.sub(lambda found: EXAMPLE[found[1]] or f"secret-{found[1].lower()}", text)


COMPOSE: dict[str, Any] = yaml.safe_load(filled(TEXT))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"] == "ident-amocrm"}


def test_the_services_are_those_that_the_page_tells_of() -> None:
    assert set(SERVICES) == {"postgres", "redis", "server", "worker"}
    assert {"server", "worker"} == OURS


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_command_is_one_of_ours_with_options_it_has(name: str) -> None:
    program: Any = typer.main.get_command(app)
    word, *options = SERVICES[name]["command"]
    with program.commands[word].make_context(word, list(options)) as parsed:
        assert parsed.params["worker" if word == "up" else "health_check"] is (word == "worker")
    with pytest.raises(Exception, match="No such option"):
        program.commands[word].make_context(word, [*options, "--nonsense"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_variable_is_a_setting(name: str) -> None:
    known = {f"IDENT_AMOCRM_{field.upper()}" for field in Settings.model_fields}
    known |= _get_valid_setting_names(PrefectSettings) | UNLISTED
    if importlib.util.find_spec("prefect_redis"):
        from prefect_redis.client import RedisMessagingSettings

        known |= {f"PREFECT_REDIS_MESSAGING_{field.upper()}" for field in RedisMessagingSettings.model_fields}
    else:
        known |= {"PREFECT_REDIS_MESSAGING_URL"}
    assert set(SERVICES[name]["environment"]) - known == set()
    assert "PREFECT_NONSENSE" not in known


def test_prefects_modules_for_redis_are_there() -> None:
    pytest.importorskip("prefect_redis", reason="no prefect-redis here: pip install -e '.[dev]'")
    named = [
        value
        for value in SERVICES["server"]["environment"].values()
        if str(value).startswith("prefect_redis.")
    ]
    assert len(named) == 4
    assert all(importlib.util.find_spec(module) for module in named)


def test_whatever_is_referred_to_is_there() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        assert all("healthcheck" in SERVICES[other] for other in service.get("depends_on", ()))
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (FOLDER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
        assert {one["source"] for one in service.get("secrets", ())} <= set(COMPOSE["secrets"])
        if "build" in service:
            context = (FOLDER / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
            assert context == ROOT
        for host in re.findall(r"(?:@|//)([a-z]+):\d+", str(service.get("environment", {}))):
            assert host in SERVICES


def test_every_service_is_looked_after() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped", name
        assert {"test", "interval", "timeout"} <= set(service["healthcheck"]), name


def test_nobody_beyond_this_machine_is_let_in_and_no_secret_stands_in_the_files() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:4200:4200", "127.0.0.1:4280:4280"]
    assert "ports" not in SERVICES["postgres"] | SERVICES["redis"]
    # Prefect's API gives out passwords, and other containers reach it: it has a password of its own.
    assert "secret-" in SERVICES["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    assert {name for name, value in EXAMPLE.items() if not value} == SECRETS
    required = {name for name, kind, _ in VARIABLE.findall(TEXT) if kind == "?"}
    assert required == SECRETS, "an empty one would be taken for none"


def test_the_example_names_each_variable_and_its_default() -> None:
    used = {name: default for name, kind, default in VARIABLE.findall(TEXT) if kind == "-"}
    assert set(EXAMPLE) == set(used) | SECRETS
    assert {name: EXAMPLE[name] for name in used} == used
    assert int(EXAMPLE["RUNS_AT_ONCE"]) == RUNS_AT_ONCE
    assert float(EXAMPLE["REQUESTS_PER_SECOND"]) == Settings.model_fields["requests_per_second"].default


def test_ledger_and_prefect_have_a_database_each() -> None:
    server = SERVICES["server"]["environment"]
    ledger = server["IDENT_AMOCRM_STATE_URL"].rpartition("/")[2]
    prefect = server["PREFECT_SERVER_DATABASE_CONNECTION_URL"].rpartition("/")[2]
    assert ledger != prefect == SERVICES["postgres"]["environment"]["POSTGRES_DB"]
    assert f"CREATE DATABASE {ledger};" in (FOLDER / "databases.sql").read_text(encoding="utf-8")
    assert SERVICES["worker"]["environment"]["IDENT_AMOCRM_STATE_URL"] == server["IDENT_AMOCRM_STATE_URL"]


def test_what_compose_sets_wins(tmp_path: Path) -> None:
    given = {name: str(value) for name, value in SERVICES["server"]["environment"].items()}
    around = dict(given)
    prepare_environment(Settings(home=tmp_path / "home"), around)
    assert {name: around[name] for name in given} == given


def test_the_image_installs_extras_that_exist_at_the_tested_versions() -> None:
    lines = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    [extras] = re.findall(r"/source\[([\w,]+)\]", lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    offered = project["optional-dependencies"]
    pinned = (ROOT / "deployments/constraints.txt").read_text(encoding="utf-8")
    for extra in extras.split(","):
        for requirement in offered[extra]:
            assert re.search(rf"(?m)^{Requirement(requirement).name}==", pinned), requirement
    assert "USER ident-amocrm" in lines
    assert "ident-amocrm" in project["scripts"]
