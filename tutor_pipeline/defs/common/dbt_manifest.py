"""dbt's manifest, from which Dagster builds its assets; parsed again when the project changes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_dbt import DbtProject
from filelock import FileLock

from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.core.settings import Settings
from tutor_pipeline.core.warehouse.database import Schemas
from tutor_pipeline.metrics import dbt


def load_manifest(settings: Settings) -> tuple[Mapping[str, Any], DbtProject]:
    """Return the manifest of the dbt project under these settings. Needs no database."""
    target = dbt.target_dir(settings.home)
    target.mkdir(parents=True, exist_ok=True)
    manifest, stamp = target / "manifest.json", target / "manifest.stamp"
    current = _stamp(settings.schemas, settings)
    with FileLock(target / "manifest.lock", timeout=120):
        is_current = stamp.exists() and stamp.read_text() == current
        content = _read(manifest) if is_current else None
        if content is None:
            dbt.invoke(["parse"], dbt.parse_environment(settings.schemas, settings.home))
            stamp.write_text(current)
            content = json.loads(manifest.read_text(encoding="utf-8"))
    return content, DbtProject(project_dir=DBT_PROJECT_DIR, target_path=target)


def _read(manifest: Path) -> Mapping[str, Any] | None:
    """Return the manifest, or None if it is missing or incomplete (dbt was killed on writing)."""
    try:
        content: Mapping[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return content


def _stamp(schemas: Schemas, settings: Settings) -> str:
    """A hash that changes with each file of the project and each name that it reads."""
    digest = hashlib.sha256(repr((schemas, settings.timezone)).encode())
    for path in sorted(_files(DBT_PROJECT_DIR)):
        status = path.stat()
        digest.update(f"{path}:{status.st_mtime_ns}:{status.st_size}\n".encode())
    return digest.hexdigest()


def _files(project: Path) -> list[Path]:
    return [
        path
        for pattern in ("*.yml", "**/*.yml", "**/*.sql")
        for path in project.glob(pattern)
        if path.is_file() and not {"target", "logs"} & set(path.relative_to(project).parts)
    ]
