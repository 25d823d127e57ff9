"""Credentials and endpoint: the usual names, in the usual order, and never shown."""

from pathlib import Path

import pytest

from storage.access import DEFAULT_REGION, StoreDenied, access


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def write(folder: Path, credentials: str = "", config: str = "") -> None:
    (folder / ".aws").mkdir()
    (folder / ".aws" / "credentials").write_text(credentials)
    (folder / ".aws" / "config").write_text(config)


def test_the_environment_comes_before_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, "[default]\naws_access_key_id = filed\naws_secret_access_key = s\n")
    assert access().key_id == "filed"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "named")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    known = access()
    assert (known.key_id, known.session_token, known.region) == ("named", "t", DEFAULT_REGION)
    assert known.is_tls


def test_a_profile_gives_keys_region_and_endpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        tmp_path,
        "[default]\naws_access_key_id = other\naws_secret_access_key = o\n"
        "[lab]\naws_access_key_id = k\naws_secret_access_key = s%1\naws_session_token = t\n",
        "[profile lab]\nregion = eu-north-1\nendpoint_url = http://lab:9000/\n",
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    known = access()
    assert (known.key_id, known.secret, known.session_token) == ("k", "s%1", "t")
    assert (known.region, known.endpoint, known.host) == (
        "eu-north-1",
        "http://lab:9000",
        "lab:9000",
    )
    assert not known.is_tls


@pytest.mark.parametrize(
    ("names", "region", "endpoint"),
    [
        ({"AWS_DEFAULT_REGION": "b"}, "b", ""),
        ({"AWS_DEFAULT_REGION": "b", "AWS_REGION": "a"}, "a", ""),
        ({"AWS_ENDPOINT_URL": "https://all:1"}, DEFAULT_REGION, "https://all:1"),
        (
            {"AWS_ENDPOINT_URL": "https://all:1", "AWS_ENDPOINT_URL_S3": "http://s3:2"},
            DEFAULT_REGION,
            "http://s3:2",
        ),
    ],
)
def test_the_more_special_name_wins(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], region: str, endpoint: str
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    for name, value in (keys | names).items():
        monkeypatch.setenv(name, value)
    assert (access().region, access().endpoint) == (region, endpoint)


def test_an_access_does_not_show_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hidden")
    assert "hidden" not in repr(access())


def test_without_credentials_it_says_which_names_to_set() -> None:
    with pytest.raises(StoreDenied, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        access()


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(ValueError, match="AWS_PROFILE lab: there is no such profile"):
        access()


def test_a_broken_file_is_named_without_what_stands_in_it(tmp_path: Path) -> None:
    write(tmp_path, "aws_secret_access_key = hidden\n")
    with pytest.raises(ValueError, match="not a file of AWS profiles") as caught:
        access()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["lab:9000", "ftp://lab", "http://", "http://me:pass@lab"])
def test_an_endpoint_that_is_none_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ValueError, match="give http://host:port") as caught:
        access()
    assert "pass" not in str(caught.value)
