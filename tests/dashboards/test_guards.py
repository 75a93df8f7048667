"""Who may talk to the app: tested by requests, without a browser."""

import pytest

from dashboards.app import create_app, serve
from dashboards.guards import LOOPBACK, local_names
from dashboards.store import RunStore
from tests.dashboards.made import make_run
from workbench.errors import InputError

ROUTES = ["/", "/agreement", "/health", "/_dash-layout", "/assets/style.css"]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """One app for all: what it may answer depends on the request alone."""
    runs = tmp_path_factory.mktemp("runs")
    make_run(runs, "plain", steps=(0, 4))
    return create_app(RunStore(runs))


@pytest.fixture
def client(app):
    """A browser that has not been here before."""
    return app.server.test_client()


def _status(client, path, **options) -> int:
    with client.get(path, **options) as answer:
        return answer.status_code


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8050"])
def test_other_hosts_are_refused_on_every_route(client, path, host):
    assert _status(client, path, headers={"Host": host}) == 400


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8050", "localhost:1", "[::1]:8050"])
def test_local_names_with_any_port_are_served(client, path, host):
    assert _status(client, path, headers={"Host": host}) == 200


def _post(client, **options):
    body = {"output": "x.y", "outputs": {"id": "x", "property": "y"}, "inputs": [], "changedPropIds": [], "state": []}
    return client.post("/_dash-update-component", **{"json": body, **options})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_posts_from_other_pages_are_refused(client, headers):
    assert _post(client, headers=headers).status_code == 403


def test_a_foreign_preflight_gets_no_permission(client):
    answer = client.options("/_dash-update-component", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_own_origin_passes_the_guard(client):
    assert _post(client, headers={"Origin": "http://localhost"}).status_code != 403


def test_bodies_that_are_no_callback_are_refused_without_a_traceback(client):
    assert client.post("/_dash-update-component", data="x=1", content_type="text/plain").status_code == 415
    for body in ({}, [], 3, {"output": 1}, {"output": "x"}, {"output": "no.such", "outputs": []}):
        assert client.post("/_dash-update-component", json=body).status_code == 400
    assert _post(client).status_code == 400


def test_a_body_over_a_megabyte_is_refused(client):
    big = "x" * (2 << 20)
    assert client.post("/_dash-update-component", data=big, content_type="application/json").status_code == 413


def test_paths_out_of_the_component_folder_are_not_found(client):
    answer = client.get("/_dash-component-suites/dash/../../../../etc/passwd")
    assert answer.status_code in (400, 404)
    assert b"root:" not in answer.data


def test_security_headers_are_on_every_answer(client):
    for path in (*ROUTES, "/nowhere/else"):
        with client.get(path) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe-eval" not in headers["Content-Security-Policy"]


def test_the_page_names_no_other_host(client):
    page = client.get("/").get_data(as_text=True)
    assert "https://" not in page
    assert "http://" not in page


def test_health_answers(client):
    assert client.get("/health").status_code == 200


def test_mcp_stays_off_whatever_the_environment_says(store, monkeypatch):
    monkeypatch.setenv("DASH_MCP_ENABLED", "true")
    client = create_app(store).server.test_client()
    assert b"jsonrpc" not in client.post("/_mcp", json={"jsonrpc": "2.0", "method": "initialize", "id": 1}).data


# Token


@pytest.fixture
def locked(store):
    return create_app(store, token="s3cret").server


def test_without_the_token_nothing_is_served(locked):
    client = locked.test_client()
    for path in ("/", "/?token=", "/?token=wrong", "/_dash-layout", "/assets/style.css"):
        assert _status(client, path) == 401
    assert client.get("/health").status_code == 200
    client.set_cookie("mesascope-token", "s3cret")
    assert client.get("/").status_code == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address(locked):
    client = locked.test_client()
    answer = client.get("/agreement?run=c&token=s3cret")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/agreement?run=c"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "s3cret" not in cookie
    assert client.get("/").status_code == 200


def test_the_token_redirect_stays_on_this_host(locked):
    answer = locked.test_client().get("//evil.example/?token=s3cret")
    assert not answer.headers.get("Location", "/").startswith("//")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_addresses_need_a_token(tmp_path, host):
    with pytest.raises(InputError, match=r"host must be .* unless a token is set"):
        serve(tmp_path, host=host)


def test_a_taken_port_is_a_sentence_with_the_way_out(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} on 127\.0\.0\.1 must be free.*PORT={port + 1}"):
            serve(tmp_path, port=port)


def test_serve_announces_its_address_and_makes_a_token(tmp_path, monkeypatch):
    from waitress.server import BaseWSGIServer, MultiSocketServer

    for server in (BaseWSGIServer, MultiSocketServer):
        monkeypatch.setattr(server, "run", lambda self: self.close())
    told: list[str] = []
    serve(tmp_path, port=0, announce=told.append)
    serve(tmp_path, host="0.0.0.0", port=0, token="auto", announce=told.append)
    assert "on http://127.0.0.1:" in told[0]
    assert "token" not in told[0]
    assert "?token=" in told[1]


def test_local_names_hold_every_way_to_reach_a_wildcard_address():
    names = local_names("0.0.0.0")
    assert set(LOOPBACK) <= set(names)
    assert all(" " not in name for name in names)
