"""What to do about an error of PostgreSQL: one sentence for each cause that people meet.

Belongs here: words of messages, and sentences. Pure. A server that speaks another language gets no
advice.
Does not belong here: what the pipeline itself refuses (each says what to do where it is raised).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg

_TOO_MANY = r"too many (connections|clients)|connection slots"
_CLOSE_SOME = (
    "Close other connections, or have the limit of the role, the database or the server raised: the"
    " pipeline takes up to 25."
)
_CONFLICT = r"due to conflict with recovery"

_CONNECT: Mapping[str, str] = {
    r"password authentication|no password supplied|role .* does not exist|Peer authentication": (
        "Set a user and a password that the server knows in TUTOR_DATABASE_URL."
    ),
    r"database .* does not exist": (
        "Have the database created, or name another one at the end of TUTOR_DATABASE_URL."
    ),
    r"resolve host|translate host name|Name or service not known": (
        "Correct the host in TUTOR_DATABASE_URL."
    ),
    r"does not support SSL": (
        "Take sslmode out of TUTOR_DATABASE_URL, or have SSL switched on at the server."
    ),
    r"certificate|SSL": "See what sslmode and sslrootcert in TUTOR_DATABASE_URL ask for.",
    r"no pg_hba.conf entry": (
        "Have this host, user and database let in at the server (pg_hba.conf)."
    ),
    _TOO_MANY: _CLOSE_SOME,
    r"session is read-only|server is in hot standby|not accept(ing)? writes": (
        "Name the primary server in TUTOR_DATABASE_URL: the pipeline writes."
    ),
    r"starting up|shutting down|recovery": "Run the same command again when the server is up.",
    r"timeout|timed out|No route": (
        "See that the host and the port in TUTOR_DATABASE_URL are right and that no firewall is in"
        " between."
    ),
}
_NO_SERVER = "Is the server up, and does TUTOR_DATABASE_URL name it?"

_BY_WORDS: Mapping[str, str] = {
    r"cannot execute .* in a read-only transaction|hot standby|(during|while) recovery": (
        "The pipeline writes: name the primary server in TUTOR_DATABASE_URL, and see that"
        " default_transaction_read_only is off for the role and the database."
    ),
    r"permission denied to create temporary|permission denied for database": (
        "Have `deploy/roles.sql` run, or the right granted: the pipeline's role makes temporary"
        " tables, and its schemas where they are missing."
    ),
    r"permission denied|must be owner|insufficient privilege": (
        "Have the right granted to the pipeline's role; `deploy/roles.sql` grants what it needs."
    ),
    r"due to statement timeout": (
        "Have the limit lifted for the pipeline's role:"
        " alter role … set statement_timeout = 0. Nothing is half done."
    ),
    r"due to lock timeout": (
        "Somebody else locks the table. Run the same command again when they are done."
    ),
    r"idle.in.transaction": (
        "Have the limit lifted for the pipeline's role:"
        " alter role … set idle_in_transaction_session_timeout = 0."
    ),
    r"No space left|could not extend file|disk full": (
        "Free space on the server's disk, then run the same command again. Nothing is half done."
    ),
    r"out of memory|out of shared memory|could not resize shared memory": (
        "Give the server more memory, or less work at once; then run the same command again."
    ),
    _TOO_MANY: _CLOSE_SOME,
    _CONFLICT: (
        "Run the same command again: the standby that was read cancelled it. If that happens often,"
        " have hot_standby_feedback switched on there."
    ),
    r"deadlock detected|could not serialize": (
        "Run the same command again: others changed the same rows at the same moment."
    ),
    r"could not connect to server|server closed the connection|connection .*(lost|closed|refused)"
    r"|terminating connection|consuming input failed": (
        "Run the same command again when the server is up. Nothing is half done."
    ),
    r"(relation|column|schema|function|type) .* does not exist": (
        "Its tables may have changed since they were built: `tutor-pipeline enrich` builds them"
        " anew, `tutor-pipeline check-source` shows what the platform has."
    ),
}


def of_connecting(text: str, named_by: str) -> str:
    """Returns what to do about a connection that cannot be made, from the server's or the client
    library's message. `named_by`: the setting with the URL.
    """
    return (_found(_CONNECT, text) or _NO_SERVER).replace("TUTOR_DATABASE_URL", named_by)


def of_statement(text: str) -> str | None:
    """Returns what to do about a statement that failed, from its message; None = unknown."""
    return _found(_BY_WORDS, text)


def is_cancelled_by_standby(error: Exception) -> bool:
    """Returns whether a hot standby cancelled what was read there, to go on following its primary.
    The same read again may work. The standby may stand behind foreign tables.
    """
    return re.search(_CONFLICT, str(error)) is not None


def cause(error: psycopg.Error) -> str:
    """Returns the message of a failed connection without what it repeats: a line per host."""
    lines = []
    for line in str(error).strip().splitlines():
        said = re.sub(r"^.*?connection to server .*? failed: ", "", line.strip())
        said = re.sub(r"^(connection failed: |- |FATAL: +|error: )+", "", said)
        if said and not said.startswith(("Is the server running", "Multiple connection")):
            lines.append(said)
    return "; ".join(dict.fromkeys(lines)) or str(error).strip()


def _found(remedies: Mapping[str, str], text: str) -> str | None:
    for words, remedy in remedies.items():
        if re.search(words, text, re.IGNORECASE):
            return remedy
    return None
