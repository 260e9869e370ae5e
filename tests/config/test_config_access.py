"""Settings of who may come in: roles by account, certificate and key, where the socket and the anchors are."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmd.config import Config, load_config
from farmd.model.access import Role
from farmd.model.errors import ConfigErrors

FARM = '[farm]\nname = "x"\ndata_dir = "data"\n'


def load(folder: Path, text: str) -> Config:
    path = folder / "farm.toml"
    path.write_text(FARM + text)
    return load_config(path)


def test_what_is_not_said(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config.socket_path == tmp_path / "data" / "farmd.sock"
    assert config.anchor_path == tmp_path / "data" / "anchors"
    assert (config.api.socket_users, config.api.tls_cert, config.api.requests_per_s) == ({}, None, 200.0)


def test_what_is_said(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
[api]
socket = "run/s"
tls_cert = "tls/cert.pem"
tls_key = "/elsewhere/key.pem"
requests_per_s = 0
[api.socket_users]
ana = "technician"
[api.socket_groups]
office = "planner"
[journal]
anchor_file = "/mnt/anchors"
""",
    )
    assert config.socket_path == tmp_path / "run" / "s"
    assert (config.api.tls_cert, config.api.tls_key) == (
        tmp_path / "tls/cert.pem",
        Path("/elsewhere/key.pem"),
    )
    assert config.api.socket_users == {"ana": Role.TECHNICIAN}
    assert config.api.socket_groups == {"office": Role.PLANNER}
    assert config.anchor_path == Path("/mnt/anchors")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[api]\ntls_cert = "a"\n', 4, "go together"),
        ('[api.socket_users]\nana = "king"\n', 5, "viewer"),
        ("[journal]\nanchor_minutes = 0\n", 5, "greater than 0"),
        ("[api]\nrequests_per_s = -1\n", 5, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigErrors) as told:
        load(tmp_path, text)
    (error,) = told.value.errors
    assert error.where == f"{tmp_path / 'farm.toml'}:{line}"
    assert said in error.what
