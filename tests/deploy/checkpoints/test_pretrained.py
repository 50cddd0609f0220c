"""Fetching the official file from a server of our own, which can also fail in several ways."""

from __future__ import annotations

import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from levit_deploy.checkpoints import fetch_pretrained, load_checkpoint, pretrained
from levit_deploy.errors import ConfigError, EnvironmentIncompleteError


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        self.wfile.write(server.content[: server.sent_bytes])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(small, writers, saved, monkeypatch):
    """An HTTP server that offers a checkpoint as the official LeViT-128S; its attributes spoil the answer."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = saved({"model": writers["official"](small)}, "source.pth").read_bytes()
    prefix = hashlib.sha256(content).hexdigest()[:8]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.content, running.sent_bytes, running.status, running.requests = content, None, 200, []
        url = f"http://127.0.0.1:{running.server_port}/LeViT-128S-{prefix}.pth"
        published = replace(pretrained.PUBLISHED["128S"], checkpoint_url=url, checkpoint_sha256_prefix=prefix)
        monkeypatch.setattr(pretrained, "PUBLISHED", {"128S": published})
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def failure(cache) -> str:
    with pytest.raises(EnvironmentIncompleteError) as error:
        fetch_pretrained("128S", cache_dir=cache, progress=False)
    message = str(error.value)
    assert error.value.exit_code == 4
    assert "\n" not in message
    for part in ("http://127.0.0.1", str(cache / "LeViT-128S-"), "--checkpoint"):
        assert part in message
    return message


def test_download_then_cache(server, tmp_path):
    path = fetch_pretrained("levit-128s", cache_dir=tmp_path / "new" / "cache", progress=False)
    assert path.parent == tmp_path / "new" / "cache"
    checkpoint = load_checkpoint(path)
    assert checkpoint.model.config.arch == "128S"
    assert checkpoint.sha256 == hashlib.sha256(server.content).hexdigest()
    assert fetch_pretrained("128S", cache_dir=path.parent, progress=False) == path
    assert len(server.requests) == 1


@pytest.mark.usefixtures("server")
def test_default_cache_is_that_of_torch_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    assert fetch_pretrained("128S", progress=False).parent == tmp_path / "hub" / "checkpoints"


def test_damaged_cache_is_replaced(server, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(pretrained.logger, "warning", lambda message, *values: said.append(message % values))
    path = fetch_pretrained("128S", cache_dir=tmp_path, progress=False)
    path.write_bytes(path.read_bytes()[:1000])
    assert fetch_pretrained("128S", cache_dir=tmp_path, progress=False) == path
    assert "is damaged" in said[0]
    assert path.read_bytes() == server.content


@pytest.mark.parametrize("sent_bytes", [0, 1000])
def test_interrupted_download_leaves_nothing(sent_bytes, server, tmp_path):
    server.sent_bytes = sent_bytes
    assert "cut short or altered" in failure(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    server.sent_bytes = None
    assert fetch_pretrained("128S", cache_dir=tmp_path / "cache", progress=False).is_file()


def test_altered_download_leaves_nothing(server, tmp_path):
    server.content = server.content[:-1] + b"x"
    assert "cut short or altered" in failure(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_http_error(server, tmp_path):
    server.status = 404
    assert "404" in failure(tmp_path / "cache")


@pytest.mark.usefixtures("server")
def test_offline(tmp_path, monkeypatch):
    published = pretrained.PUBLISHED["128S"]
    url = "http://127.0.0.1:9/" + published.checkpoint_url.rpartition("/")[2]
    monkeypatch.setattr(pretrained, "PUBLISHED", {"128S": replace(published, checkpoint_url=url)})
    assert "no download is possible" in failure(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("server")
def test_cache_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert "cannot be written" in failure(tmp_path / "cache")


def test_unknown_architecture():
    with pytest.raises(ConfigError, match="choose from"):
        fetch_pretrained("512")
