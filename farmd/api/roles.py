"""Which role each operation of the API takes: the one table, asked by the gate before anything else is done.

What is not in it is refused, and an app with an operation that is not in it does not start. Knows paths as
their templates; knows no request.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from farmd.model.access import Role

OPEN = frozenset({"/healthz", "/openapi.json", "/docs"})
"""What is answered without a token; it says nothing about the shop."""

LEAST: dict[tuple[str, str], Role] = {
    ("GET", "/api/v1/builds"): Role.VIEWER,
    ("GET", "/api/v1/events"): Role.VIEWER,
    ("GET", "/api/v1/farm"): Role.VIEWER,
    ("GET", "/api/v1/files/{sha256}/thumbnail"): Role.VIEWER,
    ("GET", "/api/v1/jobs"): Role.VIEWER,
    ("GET", "/api/v1/jobs/{job_id}"): Role.VIEWER,
    ("GET", "/api/v1/jobs/{job_id}/why"): Role.VIEWER,
    ("GET", "/api/v1/lots"): Role.VIEWER,
    ("GET", "/api/v1/machines"): Role.VIEWER,
    ("GET", "/api/v1/machines/{name}"): Role.VIEWER,
    ("GET", "/api/v1/machines/{name}/telemetry"): Role.VIEWER,
    ("GET", "/api/v1/me"): Role.VIEWER,
    ("GET", "/api/v1/next"): Role.VIEWER,
    ("GET", "/api/v1/plan"): Role.VIEWER,
    ("GET", "/api/v1/plan/problem"): Role.VIEWER,
    ("GET", "/api/v1/runs"): Role.VIEWER,
    ("GET", "/api/v1/runs/{run_id}"): Role.VIEWER,
    ("GET", "/api/v1/safe-mode"): Role.VIEWER,
    ("GET", "/api/v1/throughput"): Role.VIEWER,
    ("GET", "/metrics"): Role.VIEWER,
    # The lines of a link are the customer's file.
    ("GET", "/api/v1/machines/{name}/terminal"): Role.TECHNICIAN,
    ("POST", "/api/v1/estop"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/clear"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/estop"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/hold"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/load"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/pause"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/release"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/resume"): Role.TECHNICIAN,
    ("POST", "/api/v1/machines/{name}/stop"): Role.TECHNICIAN,
    ("POST", "/api/v1/runs/{run_id}/continue"): Role.TECHNICIAN,
    ("POST", "/api/v1/runs/{run_id}/resolve"): Role.TECHNICIAN,
    ("PATCH", "/api/v1/jobs/{job_id}"): Role.PLANNER,
    ("POST", "/api/v1/jobs"): Role.PLANNER,
    ("POST", "/api/v1/jobs/{job_id}/cancel"): Role.PLANNER,
    ("POST", "/api/v1/jobs/{job_id}/hold"): Role.PLANNER,
    ("POST", "/api/v1/jobs/{job_id}/release"): Role.PLANNER,
    ("POST", "/api/v1/machines/{name}/command"): Role.ENGINEER,
    ("POST", "/api/v1/safe-mode/leave"): Role.ENGINEER,
    ("GET", "/api/v1/tokens"): Role.ADMIN,
    ("POST", "/api/v1/tokens"): Role.ADMIN,
    ("POST", "/api/v1/tokens/{name}/revoke"): Role.ADMIN,
}
"""The least role on the ladder, by method and path."""

MACHINES = frozenset({("GET", "/api/v1/farm"), ("GET", "/api/v1/me")})
"""What a machine's token may ask besides."""


def permits(role: Role, operation: tuple[str, str]) -> bool:
    """Whether a role may do an operation of the table."""
    if role is Role.MACHINE:
        return operation in MACHINES
    return role.includes(LEAST[operation])


class Operations:
    """Finds the operation that a request asks for."""

    def __init__(self, table: Collection[tuple[str, str]]) -> None:
        self._by_length: dict[int, list[tuple[list[str], dict[str, tuple[str, str]]]]] = {}
        paths: dict[str, dict[str, tuple[str, str]]] = {}
        for method, path in table:
            paths.setdefault(path, {})[method] = (method, path)
        # A path that is spelled out goes before one with a name in it.
        for path in sorted(paths, key=lambda path: path.count("{")):
            parts = path.split("/")
            self._by_length.setdefault(len(parts), []).append((parts, paths[path]))

    def find(self, path: str) -> Mapping[str, tuple[str, str]] | None:
        """The operations at an address, by method; None where nothing is."""
        parts = path.split("/")
        for template, methods in self._by_length.get(len(parts), ()):
            if all(_fits(name, part) for name, part in zip(template, parts, strict=True)):
                return methods
        return None


def _fits(name: str, part: str) -> bool:
    return part != "" if name.startswith("{") else name == part
