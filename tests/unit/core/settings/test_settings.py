"""Settings: defaults that work, and a sentence for each that is wrong."""

import pytest

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.settings import PROJECT_DIR, load_settings, misspelt
from tutor_pipeline.core.warehouse.database import Warehouse

URL = "postgresql://app:p%40ss@db.example.com:5433/live"


def test_a_key_that_is_too_short_is_named_before_anything_is_sent(monkeypatch):
    monkeypatch.setenv("TUTOR_SECRET_KEY", "k" * 32 + "," + "short")
    with pytest.raises(UsageError, match=r"TUTOR_SECRET_KEY.*at least 32 characters") as error:
        load_settings()
    assert "short" not in str(error.value)


def test_the_defaults(monkeypatch):
    monkeypatch.delenv("TUTOR_HOME", raising=False)
    settings = load_settings()
    assert settings.home == PROJECT_DIR / ".tutor"
    assert settings.database_url is None
    assert settings.schemas.ours == ("staging", "intermediate", "marts", "ops")
    assert (settings.champion, settings.yearly_departure_rate) == ("auto", 0.25)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TUTOR_DATABASE_URL", "mysql://db/live"),
        ("TUTOR_DATABASE_URL", "postgresql://db.example.com"),
        ("TUTOR_DATABASE_URL", "postgresql://app@db:65536/live"),
        ("TUTOR_DATABASE_URL", "postgresql://app@db:0/live"),
        ("TUTOR_DATABASE_URL", "postgresql://app@db:abc/live"),
        ("TUTOR_DATABASE_URL", "postgresql://app:s3cret@s/w@127.0.0.1:5432/live"),
        ("TUTOR_DATABASE_URL", "postgresql://app@db/live?soup=1"),
        ("TUTOR_TIMEZONE", "Europe"),
        ("TUTOR_TIMEZONE", "Mars/Olympus"),
        ("TUTOR_PLATFORM_TIMEZONE", "../etc/passwd"),
        ("TUTOR_HISTORY_START", "2025-99-99"),
        ("TUTOR_SCHEMA_PREFIX", "pg_"),
        ("TUTOR_SCHEMA_PREFIX", 'a"b'),
        ("TUTOR_UI_PORT", "0"),
        ("TUTOR_REPORTS_PORT", "0"),
        ("TUTOR_CHAMPION", "nobody"),
        ("TUTOR_CHAMPION", "DEPARTURE_V1"),
        ("TUTOR_YEARLY_DEPARTURE_RATE", "0"),
        ("TUTOR_YEARLY_DEPARTURE_RATE", "25"),
        ("TUTOR_YEARLY_DEPARTURE_RATE", "nan"),
        ("TUTOR_REPORTS_URL", "javascript:alert(1)"),
        ("TUTOR_REPORTS_URL", "https://user:s3cret@reports.example.com"),
        ("TUTOR_REPORTS_URL", "https://reports.example.com:99999"),
        ("TUTOR_REPORTS_URL", "https://reports.example.com/?a=b"),
    ],
)
def test_a_wrong_one_is_named_and_no_secret_is_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name) as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["auto", "departure_v1", "health_v1", "signals_v1"])
def test_who_may_be_the_champion(monkeypatch, name):
    monkeypatch.setenv("TUTOR_CHAMPION", name)
    assert load_settings().champion == name


@pytest.mark.parametrize("name", ["signals_v2", "model_departure"])
def test_a_champion_that_is_gone_names_its_successor(monkeypatch, name):
    monkeypatch.setenv("TUTOR_CHAMPION", name)
    with pytest.raises(UsageError, match="TUTOR_CHAMPION") as caught:
        load_settings()
    assert f"{name} is no longer a scorer; set departure_v1" in str(caught.value)


def test_an_empty_one_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("TUTOR_DATABASE_URL", "")
    assert load_settings().database_url is None


def test_the_short_scheme_is_understood(monkeypatch):
    monkeypatch.setenv("TUTOR_DATABASE_URL", URL.replace("postgresql", "postgres"))
    assert load_settings().database_url == URL


def test_the_highest_port_is_a_port(monkeypatch):
    highest = URL.replace("5433", "65535")
    monkeypatch.setenv("TUTOR_DATABASE_URL", highest)
    assert load_settings().database_url == highest


def test_a_url_is_shown_without_its_password():
    assert Warehouse(URL).masked_url == "postgresql://app@db.example.com:5433/live"
    assert "p@ss" not in repr(Warehouse(URL))
    assert "p%40ss" not in repr(Warehouse(URL))


def test_a_profile_is_a_name_or_a_file_wherever_the_process_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for given, expected in (
        ("standard", "standard"),
        ("own.yml", str(tmp_path / "own.yml")),
        ("rules/own", str(tmp_path / "rules" / "own")),
        ("/etc/own.yml", "/etc/own.yml"),
    ):
        monkeypatch.setenv("TUTOR_RULE_PROFILE", given)
        assert load_settings().rule_profile == expected


def test_where_people_reach_a_report(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTOR_HOME", str(tmp_path))
    assert load_settings().report_address("a.html") == "http://127.0.0.1:3030/a.html"
    load_settings().reports_port_file.write_text("3037")  # as `up` leaves it
    assert load_settings().report_address("a.html") == "http://127.0.0.1:3037/a.html"
    monkeypatch.setenv("TUTOR_REPORTS_PORT", "4000")
    assert load_settings().report_address("a.html") == "http://127.0.0.1:4000/a.html"
    for url in ("https://example.com/reports", "https://example.com/reports/"):
        monkeypatch.setenv("TUTOR_REPORTS_URL", url)
        assert (
            load_settings().report_address("a b.html") == "https://example.com/reports/a%20b.html"
        )


def test_a_variable_that_looks_like_a_setting_is_told_with_the_one_meant() -> None:
    names = ["TUTOR_DATABSE_URL", "TUTOR_DATABASE_URL", "TUTOR_PIPELINE_PORT", "TUTORS", "HOME"]
    assert misspelt(names) == {"TUTOR_DATABSE_URL": "TUTOR_DATABASE_URL"}
