"""`tutor-pipeline up` as users run it, and what its pages ask for."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from typing import Any

import psutil

from tests.integration.conftest import Project
from tests.integration.refreshes import until
from tests.servers import free_port

PATIENCE_SECONDS = 900


class Ui:
    """`up` of a project, and its UI; ended with the context."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._port = free_port()

    def __enter__(self) -> Ui:
        self._project.settings["TUTOR_UI_PORT"] = str(self._port)
        self._process = psutil.Process(self._project.start("up").pid)
        until(self._answers, "the UI answers", PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(90)

    def ask(self, query: str, timeout: float = 30, **variables: object) -> Any:
        """What the UI would be told."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def backfill(self, asset: list[str], days: list[str]) -> str:
        """Start a backfill as the asset page does. Returns its id."""
        launched = self.ask(
            "mutation ($asked: LaunchBackfillParams!) {"
            " launchPartitionBackfill(backfillParams: $asked) { __typename"
            " ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
            asked={"partitionNames": days, "assetSelection": [{"path": asset}]},
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def runs_of(self, backfill: str) -> list[str]:
        """How the runs of a backfill ended, once it has ended; it is to be a good end."""
        ended: dict[str, Any] = {}

        def has_ended() -> bool:
            with contextlib.suppress(OSError):
                ended.update(
                    self.ask(
                        "query ($id: String!) { partitionBackfillOrError(backfillId: $id) {"
                        " ... on PartitionBackfill { status runs { status } } } }",
                        id=backfill,
                    )["partitionBackfillOrError"]
                )
            return ended.get("status", "REQUESTED") != "REQUESTED"

        until(has_ended, "the backfill ends", PATIENCE_SECONDS)
        assert ended["status"] == "COMPLETED_SUCCESS"
        return [each["status"] for each in ended["runs"]]

    def process(self, part: str) -> psutil.Process:
        """The process below `up` whose command line contains `part`."""
        for process in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if part in " ".join(process.cmdline()):
                    return process
        raise AssertionError(f"there is no {part}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("{ version }"))
        return False
