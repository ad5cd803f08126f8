"""Each message to each address once: senders at once, failures, and senders that die."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from tests.unit.people.notify.conftest import NOW
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.people.notify import deliver, delivery_status
from tutor_pipeline.people.notify.deliver import MAX_ATTEMPTS, Sender, backoff
from tutor_pipeline.people.notify.targets import DeliveryError, Target


class Post:
    """Addresses that note what they get, as (target, message), and a clock that tests move."""

    def __init__(self, db):
        self.db = db
        self.got = []
        self.now = NOW
        self.failing = {}
        self.delay = 0.0

    def target(self, name):
        def send(message):
            time.sleep(self.delay)
            if why := self.failing.get(name):
                raise why
            self.got.append((name, message.message_id))

        return Target(name, send)

    def sender(self, *names, audience=Audience.CRITICAL):
        own = {name: self.target(name) for name in names}
        return Sender(self.db, {audience: own}, lambda: self.now)

    def run(self, *names, **options):
        return self.sender(*names, **options).run(lambda: None, max_seconds=600)


@pytest.fixture
def post(empty, db):
    return Post(db)


@pytest.fixture
def message(empty, insert):
    def add(message_id, *names, audience="critical", **delivery):
        insert(
            "ops.messages",
            message_id=message_id, audience=audience, kind="alert", items=1,
            subject=f"about {message_id}", text_body="t", html_body="h", made_at=NOW,
        )  # fmt: skip
        for name in names:
            insert(
                "ops.deliveries", **{"message_id": message_id, "target": name, "due_at": NOW}
                | delivery
            )  # fmt: skip

    return add


def states(run):
    rows = run("select * from ops.deliveries order by message_id, target")
    return {(row["message_id"], row["target"]): row["state"] for row in rows}


def test_many_senders_at_once_send_each_once(post, message, run):
    for number in range(60):
        message(f"m{number:02}", "mail", "chat", "file")
    post.delay = 0.002
    with ThreadPoolExecutor(4) as pool:
        tallies = list(pool.map(lambda _: post.run("mail", "chat", "file"), range(4)))
    assert Counter(post.got) == {
        (name, f"m{number:02}"): 1 for number in range(60) for name in ("mail", "chat", "file")
    }
    assert sum(tally.sent.total() for tally in tallies) == 180
    assert set(states(run).values()) == {"sent"}


def test_one_address_that_is_down_holds_up_no_other(post, message, run):
    post.failing["mail"] = DeliveryError("no answer")
    for number in range(3):
        message(f"m{number}", "mail", "chat")
    tally = post.run("mail", "chat")
    assert (tally.sent, tally.failed) == (Counter(chat=3), Counter(mail=3))
    assert {key[1]: value for key, value in states(run).items()} == {
        "mail": "waiting", "chat": "sent",
    }  # fmt: skip
    (row, *_) = run("select * from ops.deliveries where target = 'mail'")
    assert (row["last_error"], row["attempts"]) == ("no answer", 1)
    assert row["due_at"] == NOW + timedelta(seconds=30)
    assert row["leased_by"] is None


def test_a_slow_address_holds_up_no_other(post, message):
    message("m1", "mail", "chat")
    message("m2", "mail", "chat")
    slow = threading.Event()
    order = []

    def wait(sent):
        order.append(("mail", sent.message_id))
        slow.wait(20)

    def chat(sent):
        order.append(("chat", sent.message_id))
        if sent.message_id == "m2":
            slow.set()

    own = {"mail": Target("mail", wait), "chat": Target("chat", chat)}
    Sender(post.db, {Audience.CRITICAL: own}, lambda: NOW).run(lambda: None, max_seconds=600)
    assert order.index(("chat", "m2")) < order.index(("mail", "m2"))


def test_the_waits_grow_and_then_it_is_dead(post, message, run):
    message("m1", "mail")
    post.failing["mail"] = DeliveryError("no answer")
    waits = []
    for _ in range(MAX_ATTEMPTS):
        post.run("mail")
        (row,) = run("select * from ops.deliveries")
        waits.append((row["due_at"] - post.now).total_seconds())
        assert post.run("mail").failed.total() == 0  # it is not due
        post.now = max(row["due_at"], post.now)
    assert waits[:-1] == [30, 120, 480, 1_920, 7_680, 21_600, 21_600]
    assert states(run) == {("m1", "mail"): "dead"}
    assert row["ended_at"] is not None
    post.failing.clear()
    post.now += timedelta(days=30)
    assert post.run("mail").sent.total() == 0  # dead is dead
    with post.db.connect() as database:
        (dead,) = delivery_status.dead(database)
    assert (dead["target"], dead["messages"], dead["last_error"]) == ("mail", 1, "no answer")


def test_the_dead_are_tried_again_when_somebody_says_so(post, message, run):
    message("m1", "mail", state="dead", attempts=8, ended_at=NOW, last_error="x")
    message("m2", "mail", state="dead", attempts=8, ended_at=NOW, last_error="x")
    message("m3", "mail", state="sent", attempts=1, ended_at=NOW)
    with post.db.connect() as database:
        assert deliver.retry(database, ["m1"], NOW) == 1
    assert post.run("mail").sent == Counter(mail=1)
    with post.db.connect() as database:
        assert deliver.retry(database, None, NOW) == 1
        assert deliver.retry(database, None, NOW) == 0
    post.run("mail")
    assert post.got == [("mail", "m1"), ("mail", "m2")]
    assert set(states(run).values()) == {"sent"}


def test_an_address_that_breaks_in_its_own_way_is_a_failure(post, message, run):
    message("m1", "mail")
    post.failing["mail"] = RuntimeError("with a s3cret in it")
    post.run("mail")
    (row,) = run("select * from ops.deliveries")
    assert row["last_error"] == "RuntimeError in the sender"


def test_what_a_dead_sender_had_claimed_is_taken_over_when_its_time_is_up(post, message, run):
    message("m1", "mail")
    assert post.sender("mail")._claim(()) is not None  # and dies
    assert post.run("mail").sent.total() == 0
    post.now += deliver.LEASE
    assert post.run("mail").sent.total() == 0
    post.now += timedelta(seconds=1)
    assert post.run("mail").sent.total() == 1
    assert post.got == [("mail", "m1")]


def test_who_lost_its_claim_marks_nothing(post, message, run):
    message("m1", "mail")
    lost = post.sender("mail")
    claim = lost._claim(())
    post.now += deliver.LEASE + timedelta(seconds=1)
    other = post.sender("mail")
    assert other._claim(()) is not None
    lost._end(claim, "failed late")
    (row,) = run("select * from ops.deliveries")
    assert (row["state"], row["leased_by"], row["last_error"]) == ("waiting", other._name, None)


def test_who_lives_keeps_its_claim_however_long_it_takes(post, message, monkeypatch, db):
    monkeypatch.setattr(deliver, "LEASE", timedelta(seconds=0.6))
    monkeypatch.setattr(deliver, "PROLONG_SECONDS", 0.15)
    message("m1", "mail")
    post.delay = 2.0
    began = time.monotonic()

    def clock():
        return NOW + timedelta(seconds=time.monotonic() - began)

    def one(_):
        own = {"mail": post.target("mail")}
        sender = Sender(db, {Audience.CRITICAL: own}, clock)
        return sender.run(lambda: None, max_seconds=4, linger_seconds=3)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(2)))
    assert post.got == [("mail", "m1")]


def test_a_message_that_kills_its_senders_is_dead_in_the_end(post, message, run):
    message("m1", "mail")
    for _ in range(MAX_ATTEMPTS):
        assert post.sender("mail")._claim(()) is not None
        post.now += deliver.LEASE + timedelta(seconds=1)
    tally = post.run("mail")
    assert tally.dead == Counter(mail=1)
    (row,) = run("select * from ops.deliveries")
    assert (row["state"], row["last_error"]) == ("dead", "the sender died while sending it")


def test_another_audience_s_address_of_the_same_name_is_another(post, message, run):
    message("m1", "mail", audience="ops")
    assert post.run("mail").sent.total() == 0
    # Left to others for a while.
    assert post.run("mail", audience=Audience.OPS).sent.total() == 0
    post.now += deliver.LEFT_FOR
    assert post.run("mail", audience=Audience.OPS).sent.total() == 1


def test_an_address_that_is_no_longer_set_waits_a_day_for_who_knows_it(post, message, run):
    message("m1", "old address", "mail")
    message("m2", "old address", state="dead", attempts=8, ended_at=NOW, last_error="x")
    post.run("mail")
    post.now += timedelta(days=1)
    post.run("mail")
    assert states(run)["m1", "old address"] == "waiting"
    post.now += deliver.LEFT_FOR
    post.run("mail")
    rows = run("select * from ops.deliveries where target = 'old address'")
    assert {(row["state"], row["last_error"]) for row in rows} == {
        ("dropped", "no setting names this address any more")
    }
    with post.db.connect() as database:
        assert delivery_status.dead(database) == []


def test_what_was_sent_is_marked_whatever_stops_the_sender(post, message, run):
    message("m1", "mail")
    post.delay = 0.5
    calls = []

    def prepare():
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        post.sender("mail").run(prepare, max_seconds=600)
    assert states(run) == {("m1", "mail"): "sent"}


def test_a_database_that_is_away_for_a_moment_stops_no_sender(post, message, run, monkeypatch):
    message("m1", "mail")
    calls = []

    def prepare():
        calls.append(1)
        if len(calls) < 3:
            raise psycopg.OperationalError("the server is away")

    monkeypatch.setattr(deliver.time, "sleep", lambda _: None)
    assert post.sender("mail").run(prepare, max_seconds=600).sent.total() == 1
    with pytest.raises(psycopg.OperationalError):
        post.sender("mail").run(failing, max_seconds=600)


def failing():
    raise psycopg.OperationalError("the server is away")


def test_an_address_has_one_message_at_a_time_whoever_sends(post, message):
    message("m1", "mail")
    message("m2", "mail")
    one, other = post.sender("mail"), post.sender("mail")
    claim = one._claim(())
    assert other._claim(()) is None
    with post.db.connect() as database:
        assert deliver.anything_due(database, post.now) == (0, None)
    one._end(claim, None)
    assert other._claim(()) is not None


def test_one_host_takes_half_of_the_hands_at_most(post, message, run):
    names = [f"email to {number} via slow" for number in range(8)]
    message("m1", *names, "chat")
    slow = threading.Event()

    def wait(sent):
        slow.wait(20)

    def chat(sent):
        slow.set()

    own = {name: Target(name, wait, "slow") for name in names}
    own["chat"] = Target("chat", chat, "chat")
    run("update ops.deliveries set due_at = due_at + interval '1 s' where target = 'chat'")
    sender = Sender(post.db, {Audience.CRITICAL: own}, lambda: NOW + timedelta(minutes=1))
    assert sender.run(lambda: None, max_seconds=600).sent.total() == 9
    assert slow.is_set()


def test_a_database_that_is_away_when_a_message_has_gone_does_not_repeat_it(
    post, message, run, monkeypatch
):
    message("m1", "mail")
    sender = post.sender("mail")
    claim = sender._claim(())
    assert sender._send(claim) is None
    connect, failures = type(post.db).connect, [1, 2]

    def away(self, **options):
        if failures:
            failures.pop()
            raise psycopg.OperationalError("the server is away")
        return connect(self, **options)

    monkeypatch.setattr(type(post.db), "connect", away)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    sender._end(claim, None)
    assert states(run) == {("m1", "mail"): "sent"}
    assert post.got == [("mail", "m1")]


def test_waits_never_exceed_their_bound():
    assert backoff(1) == timedelta(seconds=30)
    assert backoff(40) == deliver.LONGEST_WAIT


def test_what_people_see(post, message, run):
    message("m1", "mail", "chat")
    post.failing["mail"] = DeliveryError("no answer")
    post.run("mail", "chat")
    with post.db.connect() as database:
        counts = delivery_status.counts(database)
        rows = delivery_status.by_target(database, NOW)
        listed = delivery_status.listed(database, states=["waiting"])
        found = delivery_status.message(database, "m")
    assert {name: counts[name] for name in ("waiting", "failing", "dead")} == {
        "waiting": 1, "failing": 1, "dead": 0,
    }  # fmt: skip
    assert [(row["target"], row["sent"], row["waiting"], row["last_error"]) for row in rows] == [
        ("chat", 1, 0, None), ("mail", 0, 1, "no answer"),
    ]  # fmt: skip
    assert [row["target"] for row in listed] == ["mail"]
    assert [row["state"] for row in found["deliveries"]] == ["sent", "waiting"]


def test_an_address_names_each_of_its_audiences_once(message, db):
    message("m1", "mail")
    message("m2", "mail")
    message("m3", "mail", audience="ops")
    with db.connect() as database:
        (row,) = delivery_status.by_target(database, NOW)
    assert (row["audiences"], row["waiting"]) == (["critical", "ops"], 3)
