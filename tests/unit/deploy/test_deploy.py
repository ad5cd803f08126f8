"""The files of deploy/ against their schemas, and against what the project really has."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml

from tutor_pipeline.cli.app import app
from tutor_pipeline.core.settings import Settings
from tutor_pipeline.sources.contract import load_contract

PROJECT = Path(__file__).parents[3]
DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
NOTIFY = {"critical", "warning", "sessions", "digest", "ops"}
SETTINGS = {f"TUTOR_{name.upper()}" for name in Settings.model_fields}
SETTINGS |= {f"TUTOR_NOTIFY_{name.upper()}" for name in NOTIFY} | {"TUTOR_UI_URL"}


def documents():
    """Each manifest with the name of its file."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                yield path.name, document


MANIFESTS = list(documents())
OBJECTS = {(each["kind"], each["metadata"]["name"]): each for _, each in MANIFESTS}
PODS = {
    name: each["spec"]["template"]["spec"]
    for (kind, name), each in OBJECTS.items()
    if kind == "Deployment"
}


@pytest.mark.parametrize(
    "manifest", [pytest.param(each, id=f"{name}-{each['kind']}") for name, each in MANIFESTS]
)
@pytest.mark.parametrize("version", ["1.28", "1.34"])
def test_manifests_are_what_kubernetes_accepts(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_notice_a_wrong_manifest():
    wrong = json.loads(json.dumps(OBJECTS["Deployment", "tutor-pipeline"]))
    wrong["spec"]["replica"] = wrong["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


def test_the_kustomization_names_every_manifest_but_the_secrets():
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    secrets = {name for name, each in MANIFESTS if each["kind"] == "Secret"}
    assert secrets == {"secret.example.yaml"}
    assert set(listed["resources"]) == {name for name, _ in MANIFESTS} - secrets
    assert {image["name"] for image in listed["images"]} == {
        container["image"] for pod in PODS.values() for container in pod["containers"]
    }


def test_there_is_never_a_second_pipeline():
    spec = OBJECTS["Deployment", "tutor-pipeline"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


@pytest.mark.parametrize("name", PODS)
def test_pods_are_bound(name):
    """No root, no write to the image, no capability; only the home and /tmp can be written."""
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    # Who stops has as long as Dagster's processes are asked to end, and some.
    assert pod["terminationGracePeriodSeconds"] >= 30
    bound = container["securityContext"]
    assert bound["readOnlyRootFilesystem"]
    assert not bound["allowPrivilegeEscalation"]
    assert bound["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {home(), "/tmp"}  # noqa: S108
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert (
        str(pod["securityContext"]["runAsUser"]) in re.search(r"^USER (.*)$", DOCKERFILE, re.M)[1]
    )
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_names_in_manifests_lead_somewhere():
    for pod in PODS.values():
        for container in pod["containers"]:
            for source in container["envFrom"]:
                ((kind, reference),) = source.items()
                kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]
                assert (kind, reference["name"]) in OBJECTS
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in OBJECTS
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for (kind, _), each in OBJECTS.items()
        if kind == "Deployment"
    ]
    for (kind, name), each in OBJECTS.items():
        if kind == "Service":
            chosen = [
                found for found in labels if each["spec"]["selector"].items() <= found.items()
            ]
            assert len(chosen) == 1, name
            ports = {port["name"] for port in PODS[name]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


def test_what_is_secret_is_in_no_config_map():
    settings = OBJECTS["ConfigMap", "tutor-pipeline"]["data"]
    assert not [name for name in settings if "DATABASE_URL" in name or "NOTIFY" in name]
    for (kind, name), each in OBJECTS.items():
        if kind == "Secret":
            values = [value for value in each["stringData"].values() if value]
            assert all("CHANGE-ME" in value for value in values), name


def test_viewers_hold_no_credential_that_writes():
    secret = OBJECTS["Secret", "tutor-viewer"]["stringData"]
    assert all(value.startswith("postgresql://tutor_viewer:") for value in secret.values())
    for name, value in COMPOSE["services"]["viewer"]["environment"].items():
        if name.endswith("DATABASE_URL"):
            assert "postgresql://tutor_viewer:" in value
    assert "env_file" not in COMPOSE["services"]["viewer"]


def home():
    return re.search(r"TUTOR_HOME=(\S+)", DOCKERFILE)[1]


def test_the_image_is_built_from_the_lock_on_a_supported_python():
    base = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(base) == 1
    version = re.fullmatch(r"python:3\.(\d+)-slim", base[0])[1]
    requires = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (PROJECT / "pyproject.toml").read_text()
    )
    assert int(requires[1]) <= int(version) < int(requires[2])
    steps = re.sub(r"\\\n\s*", "", DOCKERFILE)
    installs = re.findall(r"pip install (.*)", steps)
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[0]
    assert installs[0].endswith("-r requirements.lock")
    # The second one fetches nothing: neither dependencies nor a build backend.
    assert {"--no-deps", "--no-build-isolation", "-e"} <= set(
        shlex.split(installs[1].split("&&")[0])
    )
    assert not re.search(r"index-url|ADD |curl|wget", DOCKERFILE)


def test_the_image_does_not_run_as_root_and_copies_what_it_needs():
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)
    assert len(user) == 1
    assert "0" not in user[0]
    after_user = DOCKERFILE.split("\nUSER ")[1]
    assert "\nRUN" not in after_user
    copied = [
        name
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.M)
        for name in shlex.split(line)[:-1]
    ]
    assert all((PROJECT / name).exists() for name in copied)
    # `.` would take data and secrets of the checkout along.
    assert "." not in copied
    assert {"dbt_project", "deploy/dagster.yaml", "workspace.yaml", "tutor_pipeline"} <= set(copied)


def test_what_the_image_copies_is_all_that_the_project_reads():
    """Settings name the files of the checkout; each is in the image."""
    named = set()
    for path in (PROJECT / "tutor_pipeline").rglob("*.py"):
        named |= set(re.findall(r'\bPROJECT_DIR / "([^"]+)"', path.read_text(encoding="utf-8")))
    assert named - {".tutor"} <= {"deploy", "workspace.yaml", "dbt_project"}


def test_compose_starts_what_there_is():
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "pipeline", "viewer"}
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service, name
        for needed in service.get("depends_on", {}):
            assert needed in services
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            is_file = source.startswith("./")
            assert (DEPLOY / source).exists() if is_file else source in COMPOSE["volumes"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "Dagster has no login"
        if "build" in service:
            build = service["build"]
            assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
            assert home() in {volume.split(":")[1] for volume in service["volumes"]}


def test_secrets_come_from_a_file_that_git_ignores():
    assert COMPOSE["services"]["pipeline"]["env_file"] == [".env"]
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/.env"], cwd=PROJECT, check=False, capture_output=True
    )
    assert ignored.returncode == 0
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    for line in example.splitlines():
        if re.match(r"\w*(PASSWORD|URL|NOTIFY)\w*=", line):
            assert line.endswith("="), f"no value in an example: {line}"
    named = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert named <= set(re.findall(r"^(\w+)=", example, re.M))


def test_every_variable_is_a_setting():
    for path in filter(Path.is_file, DEPLOY.rglob("*")):
        named = set(re.findall(r"\bTUTOR_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
        assert named <= SETTINGS, path.name


def test_every_command_exists():
    """Of the command line with its options, and of what is installed beside it."""
    commands = [
        PODS["tutor-pipeline"]["containers"][0]["args"],
        json.loads(re.search(r"^CMD (.*)$", DOCKERFILE, re.M)[1]),
    ]
    scripts = [PODS["tutor-viewer"]["containers"][0]["args"][2]]
    scripts += [COMPOSE["services"]["viewer"]["command"][2].replace("$$", "$")]
    assert scripts[0] == scripts[1]
    group = typer.main.get_command(app)
    for program, verb, *options in commands:
        assert program == "tutor-pipeline"
        known = {name for parameter in group.commands[verb].params for name in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= known
    assert "env" in group.commands
    assert "dagster-webserver --read-only" in scripts[0]
    from dagster_webserver.cli import dagster_webserver

    known = {name for parameter in dagster_webserver.params for name in parameter.opts}
    assert {"--read-only", "-h", "-p", "-w"} <= known


def test_probes_ask_what_is_served():
    from dagster._daemon.cli import liveness_check_command

    ui = {"path": "/server_info", "port": "ui"}
    pipeline = PODS["tutor-pipeline"]["containers"][0]
    viewer = PODS["tutor-viewer"]["containers"][0]
    for probe in (
        pipeline["startupProbe"], pipeline["readinessProbe"], viewer["startupProbe"],
        viewer["readinessProbe"], viewer["livenessProbe"],
    ):  # fmt: skip
        assert probe["httpGet"] == ui
    command = pipeline["livenessProbe"]["exec"]["command"][-1]
    assert command.endswith(f"dagster-daemon {liveness_check_command.name}")
    assert '"$TUTOR_HOME/dagster"' in command
    # What it reads must be among the variables of the container.
    assert "TUTOR_DAGSTER_DATABASE_URL" in OBJECTS["Secret", "tutor-pipeline"]["stringData"]


def test_shell_scripts_parse():
    for path in DEPLOY.glob("*.sh"):
        subprocess.run(["sh", "-n", path], check=True)


def test_no_file_names_a_host_but_examples():
    for path in filter(Path.is_file, DEPLOY.rglob("*")):
        hosts = re.findall(
            r"(?:https?://|@)([\w.-]+\.[a-z]{2,})\b", path.read_text(encoding="utf-8")
        )
        assert all(host.endswith("example.com") for host in hosts), (path.name, hosts)
    images = {container["image"] for pod in PODS.values() for container in pod["containers"]}
    images |= {service["image"] for service in COMPOSE["services"].values()}
    images |= set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert all(re.fullmatch(r"[a-z-]+(:[\w.-]+)?", image) for image in images), images


def test_the_pipelines_role_may_read_every_table_of_the_contract():
    text = (DEPLOY / "roles.sql").read_text(encoding="utf-8")
    (granted,) = re.findall(r"relname in \((\s+'users'.*?)\)", text, re.DOTALL)
    assert set(re.findall(r"'(\w+)'", granted)) == {table.name for table in load_contract().tables}
