"""Addresses: read, named without their secrets, and used."""

import json
import logging
from datetime import UTC, datetime

import pytest

from tests.servers import free_port
from tutor_pipeline.core.audiences import Audience, split_addresses
from tutor_pipeline.people.notify import targets
from tutor_pipeline.people.notify.targets import FILE, DeliveryError, Outgoing, plain

MESSAGE = Outgoing(
    "0123456789abcdef", Audience.CRITICAL, "alert", "Critical: <!channel> Sarah @everyone",
    "[free](http://evil.example) <@U123> <http://evil.example|click> *bold* & more\n",
    "<p>…</p>", datetime(2026, 3, 18, 9, tzinfo=UTC),
)  # fmt: skip
SECRET = "s3cret-T0ken"


def only(tmp_path, url):
    found = targets.read({Audience.CRITICAL: [url]}, tmp_path)[Audience.CRITICAL]
    (target,) = [each for name, each in found.items() if name != FILE]
    return target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  \n", ()),
        ("json://a/b", ("json://a/b",)),
        ("mailto://h?to=a@e.com,b@e.com json://c", ("mailto://h?to=a@e.com,b@e.com", "json://c")),
        ("json://a,json://b,\n json://c", ("json://a", "json://b", "json://c")),
        ("json://a;json://b", ("json://a", "json://b")),
        ("nonsense", ("nonsense",)),
    ],
)
def test_a_setting_holds_any_number_of_addresses(text, expected):
    assert split_addresses(text) == expected


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"slack://{'A' * 9}/{'B' * 9}/{'C' * 24}/#ops", "Slack"),
        (f"discord://{'1' * 18}/{SECRET * 4}", "Discord"),
        (f"msteams://{'a' * 8}-aaaa/{'b' * 32}/{'c' * 8}", None),
        (f"json://user:{SECRET}@hooks.example.com:8080/{SECRET}?x={SECRET}",
         "JSON at hooks.example.com:8080"),
        (f"mmosts://chat.example.com/{SECRET}xxxxxxxxxxxxxx", "Mattermost at chat.example.com"),
        (f"mailtos://me:{SECRET}@gmail.com?to=ops@example.com",
         "email to ops@example.com via smtp.gmail.com"),
        (f"tgram://123456789:{'a' * 35}/12345", "Telegram"),
    ],
)  # fmt: skip
def test_a_name_holds_nothing_secret(tmp_path, url, name):
    target = only(tmp_path, url)
    if name is not None:
        assert target.name == name
    assert SECRET not in target.name
    assert SECRET not in repr(target)


def test_addresses_that_differ_in_secrets_alone_have_names_of_their_own(tmp_path):
    urls = [f"json://hooks.example.com/{number}" for number in range(3)]
    found = targets.read({Audience.OPS: urls}, tmp_path)[Audience.OPS]
    assert list(found) == [
        FILE, "JSON at hooks.example.com", "JSON at hooks.example.com (2)",
        "JSON at hooks.example.com (3)",
    ]  # fmt: skip


def test_of_two_audiences_too_and_one_address_is_one(tmp_path):
    found = targets.read(
        {
            Audience.CRITICAL: ["json://hooks.example.com/a", "json://hooks.example.com/b"],
            Audience.OPS: ["json://hooks.example.com/b", "json://hooks.example.com/c"],
        },
        tmp_path,
    )
    assert list(found[Audience.OPS]) == [
        FILE, "JSON at hooks.example.com (2)", "JSON at hooks.example.com (3)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("to", "arrives"),
    [("anna@example.com,ben@", ["anna"]), ("notanemail", [])],
)
def test_a_slip_in_a_recipient_is_a_problem_and_no_silence(tmp_path, to, arrives):
    url = f"mailto://user:{SECRET}@smtp.example.com?from=a@example.com&to={to}"
    found = targets.read({Audience.CRITICAL: [url]}, tmp_path)[Audience.CRITICAL]
    broken = found["a part of address 1 of TUTOR_NOTIFY_CRITICAL"]
    assert broken.problem
    assert SECRET not in broken.problem
    with pytest.raises(DeliveryError):
        broken.send(MESSAGE)
    mails = [name for name in found if name.startswith("email to")]
    assert mails == [f"email to {name}@example.com via smtp.example.com" for name in arrives]


def test_who_wants_files_alone_says_so(tmp_path):
    assert split_addresses("file") == (FILE,)
    assert list(targets.read({Audience.OPS: [FILE]}, tmp_path)[Audience.OPS]) == [FILE]


@pytest.mark.parametrize("url", [f"nonsense://{SECRET}", SECRET, f"slack://{SECRET}"])
def test_what_is_no_address_says_so_when_used_and_repeats_nothing(tmp_path, url, caplog, capfd):
    target = only(tmp_path, url)
    assert target.name == "address 1 of TUTOR_NOTIFY_CRITICAL"
    with pytest.raises(DeliveryError, match="Apprise can't use it") as caught:
        target.send(MESSAGE)
    everything = f"{caught.value}{target}{caplog.text}{''.join(capfd.readouterr())}"
    assert SECRET not in everything


def test_every_audience_has_the_folder(tmp_path):
    found = targets.read({}, tmp_path / "messages")
    assert {name for own in found.values() for name in own} == {FILE}
    found[Audience.OPS][FILE].send(MESSAGE)
    found[Audience.OPS][FILE].send(MESSAGE)
    names = sorted(path.name for path in (tmp_path / "messages").iterdir())
    assert names == [
        "20260318T090000Z-critical-01234567.html", "20260318T090000Z-critical-01234567.txt",
    ]  # fmt: skip
    text = (tmp_path / "messages" / names[1]).read_text(encoding="utf-8")
    assert text == f"{MESSAGE.subject}\n\n{MESSAGE.text}"


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "messages").write_text("a file")
    found = targets.read({}, tmp_path / "messages")
    with pytest.raises(DeliveryError, match="cannot write to"):
        found[Audience.OPS][FILE].send(MESSAGE)


def test_the_oldest_files_go(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "KEPT", 3)
    for number in range(5):
        for suffix in ("html", "txt"):
            (tmp_path / f"2026031{number}T090000Z-ops-x.{suffix}").write_text("…")
    targets.prune(tmp_path)
    assert sorted(path.name[:8] for path in tmp_path.glob("*.html")) == [
        "20260312", "20260313", "20260314",
    ]  # fmt: skip
    targets.prune(tmp_path / "none")


def test_json_over_http(web_server, tmp_path):
    only(tmp_path, f"json://127.0.0.1:{web_server.port}/{SECRET}").send(MESSAGE)
    ((path, body),) = web_server.requests
    assert path == f"/{SECRET}"
    assert body["title"] == plain(MESSAGE.subject)
    assert body["message"].strip() == plain(MESSAGE.text).strip()
    assert body["type"] == "warning"


def test_mattermost_over_http(web_server, tmp_path):
    url = f"mmost://127.0.0.1:{web_server.port}/{'a1' * 12}"
    only(tmp_path, url).send(MESSAGE)
    ((path, body),) = web_server.requests
    assert path == f"/hooks/{'a1' * 12}"
    said = json.dumps(body, ensure_ascii=False)
    assert "Sarah" in said
    assert_harmless(said)
    assert "github" not in said  # no picture is fetched from Apprise's own site


def assert_harmless(said):
    """Nobody is mentioned, no link hides behind other words."""
    for mention in ("<!channel>", "<@U123>", "@everyone", "<http", "](http"):
        assert mention not in said


class Answer:
    """What an HTTP library says of a request that was taken."""

    status_code = 200
    content = b"ok"
    text = "ok"

    @property
    def headers(self):
        return {}

    def json(self):
        return {"ok": True}


@pytest.mark.parametrize(
    "url",
    [
        f"slack://{'T1A2B3C4D'}/{'B1A2B3C4D'}/{'a1' * 12}/#ops",
        f"discord://{'1' * 18}/{'a1' * 32}",
    ],
)
def test_what_slack_and_discord_are_asked_to_show(tmp_path, url, monkeypatch):
    """Their hosts are fixed: looked at where Apprise makes its HTTP call."""
    asked = []

    def take(address, data=None, **_):
        asked.append((address, data))
        return Answer()

    monkeypatch.setattr("requests.post", take)
    monkeypatch.setattr("requests.request", lambda method, address, **rest: take(address, **rest))
    only(tmp_path, url).send(MESSAGE)
    ((address, data),) = asked
    assert address.startswith("https://")
    said = json.dumps(json.loads(data), ensure_ascii=False)
    assert "Sarah" in said
    assert "more" in said
    assert_harmless(said)
    assert "github" not in said


def test_an_endpoint_that_says_no_or_is_not_there(web_server, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    web_server.status = 503
    with pytest.raises(DeliveryError, match="503") as refused:
        only(tmp_path, f"json://u:{SECRET}@127.0.0.1:{web_server.port}/{SECRET}").send(MESSAGE)
    with pytest.raises(DeliveryError, match="Connection error") as gone:
        only(tmp_path, f"json://u:{SECRET}@127.0.0.1:{free_port()}/{SECRET}").send(MESSAGE)
    printed = "".join(capfd.readouterr())
    for text in (str(refused.value), str(gone.value), caplog.text, printed):
        assert SECRET not in text


def test_a_long_message_is_sent_whole(tmp_path, monkeypatch):
    """Discord takes 2,000 characters at a time."""
    asked = []
    monkeypatch.setattr(
        "requests.post", lambda address, data=None, **_: asked.append(json.loads(data)) or Answer()
    )
    words = " ".join(f"word{number}" for number in range(900))
    long = Outgoing("m", Audience.OPS, "incident", "Pipeline", words, "", MESSAGE.made_at)
    target = only(tmp_path, f"discord://{'1' * 18}/{'a1' * 32}")
    target.send(long)
    said = " ".join(json.dumps(each) for each in asked)
    assert len(asked) > 1
    assert "word0" in said
    assert "word899" in said
