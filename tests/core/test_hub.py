"""The hub is tried once, for a moment, and its libraries then look into their cache alone."""

from __future__ import annotations

import socket
import time

import pytest
from huggingface_hub import constants

from crosslatent.core import hub


@pytest.fixture
def online(monkeypatch):
    """As on a machine on which nothing is said of the hub, and no proxy."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_ENDPOINT", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "getproxies", dict)


def test_without_a_network_the_cache_is_all_that_is_asked(online, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://nowhere.invalid")
    with hub.tried_once("owner/model") as reason:
        assert reason == "the hub (nowhere.invalid) cannot be reached"
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()


def test_a_server_that_answers_is_left_to_the_libraries(online, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with hub.tried_once("owner/model") as reason:
            assert (reason, constants.is_offline_mode()) == ("", False)


def test_nothing_is_tried_for_folders_behind_proxies_or_offline(online, monkeypatch, tmp_path):
    def refuse(*_arguments, **_options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with hub.tried_once(tmp_path) as reason:
        assert reason == ""
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:1"})
    with hub.tried_once("owner/model") as reason:
        assert reason == ""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.tried_once("owner/model") as reason:
        assert "switched off" in reason


def test_a_connection_that_hangs_ends_soon(online, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    monkeypatch.setattr(hub, "SECONDS", 0.1)
    asked = []

    def hang(_place, timeout):
        asked.append(timeout)
        time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    with hub.tried_once("owner/model") as reason:
        assert "hub.example" in reason
    assert asked == [0.1]
