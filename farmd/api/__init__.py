"""HTTP: the JSON API, the stream of events, uploads, metrics and health.

A face of the daemon: it reads the farm and asks the desk and the floor, and decides nothing itself.
Whoever asks must have a token, or be known to the local socket; see `gate`.
"""

from farmd.api.app import create_app
from farmd.api.auth import Auth, load_or_create_token, new_token, sha256_of_token
from farmd.api.limits import Limits
from farmd.api.peers import PeerRoles, listen_locally, peer_roles, sees_all_accounts
from farmd.api.server import HttpServer, bind
from farmd.api.tls import Certificate, keep_fresh

__all__ = [
    "Auth",
    "Certificate",
    "HttpServer",
    "Limits",
    "PeerRoles",
    "bind",
    "create_app",
    "keep_fresh",
    "listen_locally",
    "load_or_create_token",
    "new_token",
    "peer_roles",
    "sees_all_accounts",
    "sha256_of_token",
]
