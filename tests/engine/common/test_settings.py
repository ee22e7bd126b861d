"""Precedence, refusals that name field, source and rule, and handing settings to a child."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.common.errors import SettingsError
from engine.common.settings import EFFECTIVE, Settings, fields, load, load_with_origins


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GODARK_")]:
        monkeypatch.delenv(name)


def test_defaults_lie_under_the_data_dir(tmp_path: Path) -> None:
    settings = load(data_dir=Path("elsewhere"))
    assert settings.data_dir == tmp_path / "elsewhere"
    assert settings.engine.socket == tmp_path / "elsewhere" / "engine.sock"
    assert settings.relayer.keyfile == tmp_path / "elsewhere" / "relayer" / "key.json"
    assert settings.devnet.data_dir == tmp_path / "elsewhere" / "devnet"
    assert load().data_dir == tmp_path / "data"
    assert (load().engine.segment_bytes, load().engine.group_frames_max) == (64 << 20, 8192)


def test_flags_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("godark.toml").write_text(
        "[devnet]\nslot_ms = 1\nport = 1\n[relayer]\npoll_ms = 9\n[venue]\nseed = 1\n"
    )
    monkeypatch.setenv("GODARK_DEVNET__SLOT_MS", "2")
    monkeypatch.setenv("GODARK_DEVNET__PORT", "2")
    settings, origins = load_with_origins(None, ["devnet.slot_ms=3"])
    assert (settings.devnet.slot_ms, settings.devnet.port, settings.relayer.poll_ms) == (3, 2, 9)
    assert settings.relayer.rpc_poll_ms == 50
    assert origins == {
        "devnet.slot_ms": "flag --set devnet.slot_ms",
        "devnet.port": "environment GODARK_DEVNET__PORT",
        "relayer.poll_ms": "file godark.toml",
        "venue.seed": "file godark.toml",
    }


def test_a_list_is_written_with_commas_or_as_a_toml_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GODARK_RELAYER__RPC_URLS", "http://127.0.0.1:1, https://node.example")
    assert load().relayer.rpc_urls == ("http://127.0.0.1:1", "https://node.example")
    monkeypatch.delenv("GODARK_RELAYER__RPC_URLS")
    Path("other.toml").write_text('[relayer]\nrpc_urls = ["http://127.0.0.1:2"]\n')
    assert load(Path("other.toml")).relayer.rpc_urls == ("http://127.0.0.1:2",)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "engine.socket_path=x",
            "engine.socket_path: from flag --set engine.socket_path: no such setting; did you mean",
        ),
        ("cellar.door=1", "cellar: from flag --set cellar.door: no such setting; godark config lists them"),
        ("bogus=1", "bogus: from flag --set bogus: no such setting"),
        ("engine=3", "engine: from flag --set engine: "),
        ("devnet.port=many", "devnet.port: from flag --set devnet.port: Input should be a valid integer"),
        ("devnet.host=0.0.0.0", "devnet.host: from flag --set devnet.host: must be a loopback address"),
        ("engine.segment_bytes=100001", "engine.segment_bytes: .*multiple of 4096"),
        ("engine.ring_frames=7", "engine: from flag --set engine.ring_frames: ring_frames 7 is less than"),
        ("engine.tcp=8000", "engine.tcp: .*must be host:port"),
        ("relayer.rpc_urls=ftp://x", "relayer.rpc_urls: .*entry 1 is not an http"),
        (f"engine.socket=/{'x' * 120}", "engine.socket: .*at most 107 bytes"),
        ("venue.seed", "flag --set venue.seed: must be section.field=value"),
    ],
)
def test_a_bad_flag_is_refused_by_field_source_and_rule(override: str, line: str) -> None:
    with pytest.raises(SettingsError, match=f"^{line}"):
        load(None, [override])


def test_the_source_of_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("godark.toml").write_text("[logs]\nlevel = 'loud'\n")
    with pytest.raises(SettingsError, match=r"^logs\.level: from file godark\.toml: .*'debug'"):
        load()
    monkeypatch.setenv("GODARK_LOGS__LEVEL", "quiet")
    with pytest.raises(SettingsError, match=r"^logs\.level: from environment GODARK_LOGS__LEVEL"):
        load()
    monkeypatch.setenv("GODARK_LOGS__LEVEL", "info")
    monkeypatch.setenv("GODARK_LOGS__COLOUR", "red")
    with pytest.raises(SettingsError, match=r"^logs\.colour: from environment GODARK_LOGS__COLOUR: no such"):
        load()


def test_a_slip_in_the_one_name_without_a_section_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GODARK_SHARED", "/machinery/is/ignored")
    assert load() == load()
    monkeypatch.setenv("GODARK_DATADIR", "/x")
    with pytest.raises(SettingsError, match="did you mean GODARK_DATA_DIR"):
        load()


@pytest.mark.parametrize("text", [b"[engine\n", b"a = 1\xff\n"])
def test_a_file_that_is_not_toml(text: bytes) -> None:
    Path("bad.toml").write_bytes(text)
    with pytest.raises(SettingsError, match=r"^file bad\.toml: "):
        load(Path("bad.toml"))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match=r"^file none\.toml: not found"):
        load(Path("none.toml"))


def test_a_value_is_never_repeated_in_an_error() -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, ["relayer.rpc_urls=wss://node.example/canary-token"])
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(load(None, ["relayer.rpc_urls=https://node.example/canary-token"]))


def test_a_child_gets_exactly_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parent = load(
        None, ["devnet.port=4711", "relayer.rpc_urls=http://a:1,http://b:2", "engine.tcp=127.0.0.1:9"]
    )
    monkeypatch.setenv(EFFECTIVE, parent.to_env()[EFFECTIVE])
    monkeypatch.setenv("GODARK_DEVNET__PORT", "1")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    Path("godark.toml").write_text("[venue]\nseed = 99\n")
    assert load() == parent
    assert load(None, ["devnet.port=5"]).devnet.port == 5
    monkeypatch.setenv(EFFECTIVE, "not json")
    with pytest.raises(SettingsError, match=EFFECTIVE):
        load()


def test_settings_are_frozen() -> None:
    settings = load()
    with pytest.raises(ValidationError, match="frozen"):
        settings.devnet.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.data_dir = Path("/x")  # type: ignore[misc]


def test_building_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GODARK_VENUE__SEED", "99")
    assert Settings().venue.seed == 7


def test_every_field_is_listed_once() -> None:
    names = fields()
    assert len(names) == len(set(names))
    assert {"data_dir", "engine.socket", "venue.seed"} <= set(names)
