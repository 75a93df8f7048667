"""Who may talk to the app: local names, its own pages, holders of the token."""

import hashlib
import hmac
import logging
import re
import socket
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
from flask import Flask, Response, abort, redirect, request
from werkzeug.exceptions import HTTPException

_LOG = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LARGEST_BODY = 1 << 20
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/?#@\s]+)(?::\d{1,5})?")
_COOKIE = "mesascope-token"
_OPEN_PATHS = ("/health",)
_FOREIGN = ("cross-site", "same-site")
_CALLBACKS = "/_dash-update-component"


def guard(server: Flask, hosts: Sequence[str], token: str | None, script_hashes: Sequence[str]) -> None:
    """Refuse other hosts, other origins, large or malformed bodies and, with a token, whoever lacks it.

    Args:
        server: The app's Flask server.
        hosts: Names under which it may be addressed; ports do not matter.
        token: Secret that a browser must show once, or None for no such need.
        script_hashes: CSP sources of the page's inline scripts.
    """
    server.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    known = {host.lower() for host in hosts}
    server.before_request(lambda: _own_host(known))
    server.before_request(_same_origin)
    if token is not None:
        server.before_request(lambda: _token_holder(token))
    server.before_request(_whole_callback)
    policy = _policy(script_hashes)
    server.after_request(lambda response: _with_headers(response, policy))
    server.register_error_handler(Exception, _told)


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine alone."""
    return host in ("127.0.0.1", "localhost", "::1")


def local_names(host: str) -> list[str]:
    """Names and addresses of this machine under which a server bound to ``host`` can be reached."""
    names = [*LOOPBACK, host, socket.gethostname(), socket.getfqdn()]
    if host in ("0.0.0.0", "::"):
        addresses = (a for each in psutil.net_if_addrs().values() for a in each)
        names += [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
    return sorted({f"[{name.split('%')[0]}]" if ":" in name and name[0] != "[" else name for name in names if name})


def _own_host(known: Collection[str]) -> None:
    # Flask's TRUSTED_HOSTS cuts its entries at the first colon and so cannot hold an IPv6 address.
    given = _HOST.fullmatch(request.headers.get("Host", ""))
    if given is None or given[1].lower() not in known:
        abort(400)


def _same_origin() -> None:
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        abort(403)
    if request.method not in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Site") in _FOREIGN:
        abort(403)


def _token_holder(token: str) -> Any:
    if request.path in _OPEN_PATHS:
        return None
    proof = hashlib.sha256(token.encode()).hexdigest()
    shown = request.args.get("token")
    if shown is not None and hmac.compare_digest(shown.encode(), token.encode()):
        response = redirect(_without_token())
        response.set_cookie(_COOKIE, proof, httponly=True, samesite="Strict")
        return response
    if not hmac.compare_digest(request.cookies.get(_COOKIE, "").encode(), proof.encode()):
        told = "A token is needed: open the address that was printed at the start."
        return Response(told, 401, mimetype="text/plain")
    return None


def _without_token() -> str:
    rest = [(key, value) for key, value in request.args.items(multi=True) if key != "token"]
    # A path with two slashes at its start would be read as another host.
    path = "/" + request.path.lstrip("/\\")
    return f"{path}?{urlencode(rest)}" if rest else path


def _whole_callback() -> None:
    """Refuse what no page of ours sends, before Dash stumbles over it."""
    if request.path != _CALLBACKS or request.method != "POST":
        return
    body = request.get_json(silent=True)
    if request.mimetype != "application/json":
        abort(415)
    if not isinstance(body, dict) or not isinstance(body.get("output"), str) or "outputs" not in body:
        abort(400)


def _with_headers(response: Response, policy: str) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Content-Security-Policy"] = policy
    return response


def _policy(script_hashes: Sequence[str]) -> str:
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self'", *script_hashes)),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _told(error: Exception) -> Any:
    """A short answer instead of a traceback; what a callback raises never comes here."""
    if isinstance(error, HTTPException):
        return error
    if request.path == _CALLBACKS:
        return Response("Malformed request.", 400, mimetype="text/plain")
    if request.path.startswith("/_dash-component-suites/"):
        return Response("Not found.", 404, mimetype="text/plain")
    _LOG.exception("request for %s failed", request.path)
    return Response("Something went wrong; the log of the app has details.", 500, mimetype="text/plain")
