"""A network of its own, in which a host vanishes: `unshare -rn python vanished_host.py …`.

Arguments: the URL of a server by its socket, then what waits. Between who waits and the server is a
relay with an address of this network. When all wait, the network goes down: packets get nowhere,
nobody says goodbye. Prints how many seconds later each wait ended, as JSON.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

import psycopg
import psycopg2

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.watchdog import watch

SLEEP = "select pg_sleep(3000)"


def wait(what, url):
    """Connect, and wait: for the answer of a long statement, or for that of one sent too late."""
    if what == "dbt":
        watch(url)
        connection = psycopg2.connect(url)
    else:
        connection = Warehouse(url).connect().connection
    statement = SLEEP
    if what == "sent too late":
        sys.stdout.write("connected\n")
        sys.stdout.flush()
        sys.stdin.readline()
        statement = "select 1"
    try:
        connection.cursor().execute(statement)
    except (psycopg.OperationalError, psycopg2.OperationalError):
        return
    raise AssertionError("the host is there")


def relay(listening, path):
    def pump(one, other):
        while data := one.recv(65536):
            other.sendall(data)

    while True:
        client, _ = listening.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def main(url, *whats):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    parts, options = urlsplit(url), parse_qs(urlsplit(url).query)
    listening = socket.create_server(("127.0.0.1", 0))
    path = f"{options['host'][0]}/.s.PGSQL.{options['port'][0]}"
    threading.Thread(target=relay, args=(listening, path), daemon=True).start()
    port = listening.getsockname()[1]
    user = parts.netloc.removesuffix("@")
    there = parts._replace(netloc=f"{user}@127.0.0.1:{port}", query="").geturl()
    waiting = {
        what: subprocess.Popen(
            [sys.executable, __file__, "wait", what, there],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for what in whats
    }
    waiting["sent too late"].stdout.readline()
    with psycopg.connect(url, autocommit=True) as connection:
        asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        while connection.execute(asleep).fetchone()[0] < len(whats) - 1:
            assert all(each.poll() is None for each in waiting.values())
            time.sleep(0.1)
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    began = time.monotonic()
    waiting["sent too late"].stdin.write("\n")
    waiting["sent too late"].stdin.flush()
    seconds = {}
    while len(seconds) < len(whats):
        for what, process in waiting.items():
            if what not in seconds and process.poll() is not None:
                assert process.returncode == 0, what
                seconds[what] = round(time.monotonic() - began)
        time.sleep(0.1)
    sys.stdout.write(json.dumps(seconds))


if __name__ == "__main__":
    if sys.argv[1] == "wait":
        wait(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
