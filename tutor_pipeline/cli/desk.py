"""Verbs around the desk: serving it, a link that signs in, accounts."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from threading import Event
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.cli.services import free_port
from tutor_pipeline.core import secret_keys
from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.settings import DEFAULT_DESK_PORT, Settings, load_settings
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.people.access import accounts, sign_ins
from tutor_pipeline.people.access.accounts import Purpose
from tutor_pipeline.people.access.roles import MEANING, Role

_RESTART_SECONDS = 2.0

Name = Annotated[str, typer.Argument(help="The name that the person signs in with.")]
_ROLES = "; ".join(f"{role}: {meaning}" for role, meaning in MEANING.items())


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    desk = typer.Typer(help="The pages of administrators and coaches.", invoke_without_command=True)
    desk.callback()(serve)
    desk.command()(link)
    desk.command("rotate-key")(rotate_key)
    app.add_typer(desk, name="desk")
    users = typer.Typer(
        help="Who may sign in at the desk: add, list, role, reset, disable, enable, sign-out.",
        no_args_is_help=True,
    )
    for verb in (add, role, reset, disable, enable):
        users.command()(verb)
    users.command("list")(list_)
    users.command("sign-out")(sign_out)
    app.add_typer(users, name="users")


def serve(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(help="Default: TUTOR_DESK_PORT, 3040.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default TUTOR_DESK_HOST, 127.0.0.1.")
    ] = None,
) -> None:
    """Serve the desk alone, without Dagster: for the people who read alerts. Ctrl-C stops it.

    Example: [bold]tutor-pipeline desk --port 3041[/bold]
    """
    if context.invoked_subcommand is not None:
        return
    session = open_session(note)
    settings = session.settings
    host = host or settings.desk_host
    chosen = choose_port(settings, host, port)
    process = start(host, chosen)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return
    if process.returncode != 0:
        warn(f"the desk ended by itself, with status {process.returncode}")
        raise typer.Exit(1)


def choose_port(
    settings: Settings, host: str, port: int | None = None, taken: tuple[int, ...] = ()
) -> int:
    """The wanted port, or the next free one where none is wished for. It is noted for `link`."""
    chosen = free_port(
        host,
        port or settings.desk_port or DEFAULT_DESK_PORT,
        is_wish=port is not None or settings.desk_port is not None,
        option="--port" if port is not None else "TUTOR_DESK_PORT",
        taken=taken,
    )
    settings.desk_port_file.write_text(f"{host} {chosen}")
    return chosen


def start(host: str, port: int) -> subprocess.Popen[bytes]:
    """Start the desk as a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tutor_pipeline.desk"),
            *("--host", host, "--port", str(port), "--with-parent"),
        ],
        env={**os.environ, "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")},
        start_new_session=True,
    )


def keep(host: str, port: int, ending: Event, tell: Callable[[str], None]) -> None:
    """Serve the desk until `ending` is set, and start it again when it dies."""
    process = start(host, port)
    while not ending.wait(0.5):
        if process.poll() is not None:
            tell(f"the desk had ended with status {process.returncode}; it is started again")
            if ending.wait(_RESTART_SECONDS):
                return
            process = start(host, port)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


def link() -> None:
    """Print a link that signs in once as an admin, for ten minutes, on this machine.

    Example: [bold]tutor-pipeline desk link[/bold]
    """
    session = open_session(note)
    out.print(sign_in_link(session.settings, session.warehouse), soft_wrap=True)


def rotate_key() -> None:
    """Make a new key for links in mails. Links that were sent before stay good.

    Example: [bold]tutor-pipeline desk rotate-key[/bold]
    """
    settings = load_settings()
    if settings.secret_key.get_secret_value():
        raise UsageError(
            "TUTOR_SECRET_KEY names the key: set it to a new one, a comma and the old one, for the"
            " desk and for the pipeline; leave the old one out after a week"
        )
    secret_keys.rotate(settings.secret_key_file)
    done("Links are signed with a new key. Restart the desk and `up`: they read it at their start")


def sign_in_link(settings: Settings, warehouse: Warehouse) -> str:
    """Make a link that signs in once as an admin, under the login name of this account."""
    with warehouse.connect() as database:
        secret = accounts.make_link(database, Purpose.SIGN_IN, _login_name(), datetime.now(UTC))
    return f"{settings.desk_address}/enter/{secret}"


def _login_name() -> str:
    try:
        return accounts.key(getpass.getuser())
    except (OSError, KeyError, TutorPipelineError):
        return "this machine"


def add(
    name: Name,
    role: Annotated[Role, typer.Option(help=_ROLES)] = Role.COACH,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask for the password instead of printing a link.")
    ] = False,
) -> None:
    """Add an account, and print a link with which the person sets a password.

    Example: [bold]tutor-pipeline users add ada --role coach[/bold]
    """
    session = open_session(note)
    now = datetime.now(UTC)
    password = _asked() if ask else None
    with session.warehouse.connect() as database:
        name = accounts.add(database, name, role, now)
        if password is not None:
            accounts.set_password(database, name, password)
            secret = None
        else:
            secret = accounts.make_link(database, Purpose.PASSWORD, name, now)
    done(f"Added {name}, {role}")
    _print_link(session, name, secret)


def list_(as_json: AsJson = False) -> None:
    """List the accounts.

    Example: [bold]tutor-pipeline users list[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        rows = accounts.listed(database)
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("No account yet. Add one: tutor-pipeline users add NAME --role admin")
        return
    table = Table(box=None)
    for heading in ("name", "role", "state", "last seen"):
        table.add_column(heading)
    for row in rows:
        state = "disabled" if row["disabled_at"] else "" if row["has_password"] else "no password"
        seen = row["seen_at"]
        table.add_row(
            escape(row["name"]), row["role"], state or "may sign in",
            f"{seen:%Y-%m-%d %H:%M UTC}" if seen else "–",
        )  # fmt: skip
    out.print(table)


def role(name: Name, role: Annotated[Role, typer.Argument(help=_ROLES)]) -> None:
    """Change the role of an account, at once.

    Example: [bold]tutor-pipeline users role ada admin[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        accounts.set_role(database, name, role)
    done(f"{name} is {role} now")


def reset(
    name: Name,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask for the password instead of printing a link.")
    ] = False,
) -> None:
    """Sign an account out everywhere, and print a link with which the person sets another password.

    Example: [bold]tutor-pipeline users reset ada[/bold]
    """
    session = open_session(note)
    password = _asked() if ask else None
    with session.warehouse.connect() as database:
        if password is not None:
            accounts.set_password(database, name, password)
            secret = None
        else:
            secret = accounts.reset(database, name, datetime.now(UTC))
    done(f"{name} is signed out everywhere")
    _print_link(session, name, secret)


def disable(name: Name) -> None:
    """Let an account in no more, and sign it out everywhere. Its acts stay in the history.

    Example: [bold]tutor-pipeline users disable ada[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        accounts.disable(database, name, datetime.now(UTC))
    done(f"{name} is disabled and signed out")


def enable(name: Name) -> None:
    """Let a disabled account in again.

    Example: [bold]tutor-pipeline users enable ada[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        accounts.enable(database, name)
    done(f"{name} may sign in again")


def sign_out(
    name: Annotated[str | None, typer.Argument(help="The account; none with --all.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody.")] = False,
) -> None:
    """Sign an account out in all browsers, or everybody; also whoever came by a one-time link.

    Example: [bold]tutor-pipeline users sign-out --all[/bold]
    """
    if everybody == (name is not None):
        raise UsageError("whom? Say a name, or --all")
    session = open_session(note)
    with session.warehouse.connect() as database:
        ended = sign_ins.end_of(database, None if name is None else accounts.normal(name))
    done(f"Signed {count(ended, 'browser')} out")


def _asked() -> str:
    if not sys.stdin.isatty():
        raise UsageError("--ask needs a terminal; without it a link is printed")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _print_link(session: Session, name: str, secret: str | None) -> None:
    if secret is None:
        return
    out.print(f"Give {escape(name)} this link to set a password, once, within three days:")
    out.print(f"{session.settings.desk_address}/password/{secret}", soft_wrap=True)
    if session.settings.desk_url is None:
        warn("the link leads to this machine; where people reach the desk is TUTOR_DESK_URL")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def wait_until_served(host: str, port: int, seconds: float = 60) -> bool:
    """Whether the desk answers before the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(0.2)
    return False
