"""HTTP: the JSON API, the stream of events, uploads, metrics and health.

A face of the daemon: it reads the farm and asks the desk and the floor, and decides nothing itself.
Whoever asks must have a token; see `gate`.
"""

from farmd.api.app import create_app
from farmd.api.auth import Auth, load_or_create_token
from farmd.api.server import HttpServer, bind

__all__ = ["Auth", "HttpServer", "bind", "create_app", "load_or_create_token"]
