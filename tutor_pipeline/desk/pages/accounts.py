"""Accounts: who may sign in, and as what. What `tutor-pipeline users` does, for admins."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.desk.formats import sentence
from tutor_pipeline.desk.site import Place, Visit
from tutor_pipeline.people.access import accounts, sign_ins
from tutor_pipeline.people.access.accounts import LIFETIME, Purpose
from tutor_pipeline.people.access.roles import MEANING, Role


def show(visit: Visit) -> Response:
    """GET /settings."""
    return _page(visit)


def add(visit: Visit) -> Response:
    """POST /settings/accounts/add: adds an account, and shows its link once."""

    def act(name: str) -> tuple[str, str | None]:
        added = accounts.add(visit.database, name, _role(visit), visit.now)
        secret = accounts.make_link(visit.database, Purpose.PASSWORD, added, visit.now)
        return f"{added} is added.", secret

    return _acted(visit, act)


def role(visit: Visit) -> Response:
    """POST /settings/accounts/role: changes what an account may."""

    def act(name: str) -> tuple[str, str | None]:
        wanted = _role(visit)
        accounts.set_role(visit.database, name, wanted)
        return f"{name} is {wanted} from now on.", None

    return _acted(visit, act)


def reset(visit: Visit) -> Response:
    """POST /settings/accounts/reset: removes the password, and shows a link that sets another."""

    def act(name: str) -> tuple[str, str | None]:
        secret = accounts.reset(visit.database, name, visit.now)
        return f"{name} is signed out everywhere and sets a new password.", secret

    return _acted(visit, act)


def disable(visit: Visit) -> Response:
    """POST /settings/accounts/disable: lets nobody in under a name."""

    def act(name: str) -> tuple[str, str | None]:
        accounts.disable(visit.database, name, visit.now)
        return f"{name} is signed out everywhere and can no longer sign in.", None

    return _acted(visit, act)


def enable(visit: Visit) -> Response:
    """POST /settings/accounts/enable: undoes that."""

    def act(name: str) -> tuple[str, str | None]:
        accounts.enable(visit.database, name)
        return f"{name} can sign in again.", None

    return _acted(visit, act)


def sign_out(visit: Visit) -> Response:
    """POST /settings/accounts/sign-out: signs all browsers of an account out."""

    def act(name: str) -> tuple[str, str | None]:
        ended = sign_ins.end_of(visit.database, accounts.key(name))
        return f"{name} is signed out everywhere ({ended:,} before).", None

    return _acted(visit, act)


def _acted(visit: Visit, act: Callable[[str], tuple[str, str | None]]) -> Response:
    """Does it to the account of the form. Answers with the page, and with the link if there is one:
    it is shown this once.
    """
    try:
        said, secret = act(visit.text("name"))
    except (UsageError, RefusedError) as error:
        # What the command line advises is of no use here.
        why = str(error).partition(";")[0].partition(": make another")[0]
        return _page(visit, 400, problem=f"{sentence(why)}. Nothing was changed.")
    link = f"{visit.site.options.url}/password/{secret}" if secret else None
    return _page(visit, said=said, link=link)


def _page(visit: Visit, status: int = 200, **said: str | None) -> Response:
    return visit.page(
        "accounts.html.j2",
        status,
        accounts=accounts.listed(visit.database),
        roles=MEANING,
        link_days=LIFETIME[Purpose.PASSWORD].days,
        filled={"name": visit.text("name") if status != 200 else ""},
        **{"said": None, "link": None, "problem": None} | said,
    )


def _role(visit: Visit) -> Role:
    try:
        return Role(visit.text("role"))
    except ValueError as error:
        raise UsageError("choose a role") from error


PLACES = (
    Place("/settings", show, Role.ADMIN, nav=(9, "Settings")),
    Place("/settings/accounts/add", add, Role.ADMIN, "POST"),
    Place("/settings/accounts/role", role, Role.ADMIN, "POST"),
    Place("/settings/accounts/reset", reset, Role.ADMIN, "POST"),
    Place("/settings/accounts/disable", disable, Role.ADMIN, "POST"),
    Place("/settings/accounts/enable", enable, Role.ADMIN, "POST"),
    Place("/settings/accounts/sign-out", sign_out, Role.ADMIN, "POST"),
)
