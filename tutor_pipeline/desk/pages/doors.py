"""Signing in and out: with a password, with a one-time link; setting a password."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.desk.formats import sentence
from tutor_pipeline.desk.site import Limit, Place, Visit, redirect
from tutor_pipeline.people.access import accounts, sign_ins
from tutor_pipeline.people.access.accounts import Purpose
from tutor_pipeline.people.access.passwords import SHORTEST
from tutor_pipeline.people.access.roles import MEANING, Role
from tutor_pipeline.people.access.sign_ins import PausedError, WrongError


def sign_in_page(visit: Visit) -> Response:
    """GET /sign-in."""
    if visit.who is not None:
        return redirect("/")
    return visit.page("sign_in.html.j2", next=visit.asked.get("next", "/"), why=None, name="")


def sign_in(visit: Visit) -> Response:
    """POST /sign-in."""
    name = visit.text("name")[:200]
    address = visit.request.client.host if visit.request.client else ""
    try:
        secret = sign_ins.sign_in(visit.database, name, visit.text("password"), address, visit.now)
    except (WrongError, PausedError) as error:
        status = 403 if isinstance(error, WrongError) else 429
        return visit.page(
            "sign_in.html.j2", status, next=visit.text("next"), name=name,
            why=f"{sentence(str(error))}.",
        )  # fmt: skip
    return _entered(visit, visit.back("/"), secret)


def sign_out(visit: Visit) -> Response:
    """POST /sign-out."""
    if visit.who is not None:
        sign_ins.end(visit.database, visit.who)
    answer = redirect("/sign-in")
    answer.delete_cookie(visit.site.options.cookie, secure=visit.site.options.is_https,
                         httponly=True, samesite="lax")  # fmt: skip
    return answer


def enter_page(visit: Visit) -> Response:
    """GET /enter/SECRET: a button, so that a mail scanner or a prefetch uses nothing up."""
    link = accounts.good_link(visit.database, Purpose.SIGN_IN, visit.path("secret"), visit.now)
    if link is None:
        return _used(visit, "tutor-pipeline desk link")
    return visit.page("enter.html.j2", account=link.account)


def enter(visit: Visit) -> Response:
    """POST /enter/SECRET: signs in as an admin."""
    link = accounts.use_link(visit.database, Purpose.SIGN_IN, visit.path("secret"), visit.now)
    if link is None:
        return _used(visit, "tutor-pipeline desk link")
    secret = sign_ins.begin(visit.database, link.account, visit.now, Role.ADMIN)
    return _entered(visit, redirect("/"), secret)


def password_page(visit: Visit) -> Response:
    """GET /password/SECRET: the form for a new password."""
    link = accounts.good_link(visit.database, Purpose.PASSWORD, visit.path("secret"), visit.now)
    if link is None:
        return _used(visit, "tutor-pipeline users reset NAME")
    return visit.page("password.html.j2", account=link.account, shortest=SHORTEST, why=None)


def set_password(visit: Visit) -> Response:
    """POST /password/SECRET: sets the password and signs in."""
    secret, password = visit.path("secret"), visit.text("password")
    link = accounts.good_link(visit.database, Purpose.PASSWORD, secret, visit.now)
    if link is None:
        return _used(visit, "tutor-pipeline users reset NAME")
    try:
        if password != visit.text("again"):
            raise UsageError("the two passwords differ: type the same twice")
        with visit.database.transaction():
            if accounts.use_link(visit.database, Purpose.PASSWORD, secret, visit.now) is None:
                return _used(visit, "tutor-pipeline users reset NAME")
            accounts.set_password(visit.database, link.account, password)
    except UsageError as error:
        return visit.page(
            "password.html.j2", 400, account=link.account, shortest=SHORTEST,
            why=f"{sentence(str(error))}.",
        )  # fmt: skip
    return _entered(visit, redirect("/"), sign_ins.begin(visit.database, link.account, visit.now))


def account(visit: Visit) -> Response:
    """GET /account: who one is, and what that allows."""
    assert visit.who is not None
    return visit.page("account.html.j2", meaning=MEANING[visit.who.role])


def sign_out_everywhere(visit: Visit) -> Response:
    """POST /account/sign-out: signs all browsers of the account out."""
    sign_ins.end_of(visit.database, visit.account)
    return redirect("/sign-in")


def _entered(visit: Visit, answer: RedirectResponse, secret: str) -> Response:
    """Sets the cookie of a new sign-in; what the browser had before is signed out."""
    if visit.who is not None:
        sign_ins.end(visit.database, visit.who)
    options = visit.site.options
    answer.set_cookie(
        options.cookie, secret, max_age=int(sign_ins.LONGEST.total_seconds()),
        httponly=True, samesite="lax", secure=options.is_https, path="/",
    )  # fmt: skip
    return answer


def _used(visit: Visit, command: str) -> Response:
    return visit.page(
        "message.html.j2", 410, title="This link is used up",
        text=f"It was used, or is too old. Whoever runs the pipeline makes another: {command}",
    )  # fmt: skip


PLACES = (
    Place("/account", account, Role.VIEWER),
    Place("/account/sign-out", sign_out_everywhere, Role.VIEWER, "POST"),
    Place("/sign-in", sign_in_page, None),
    Place("/sign-in", sign_in, None, "POST", limit=Limit.PASSWORDS),
    Place("/sign-out", sign_out, None, "POST"),
    Place("/enter/{secret}", enter_page, None),
    Place("/enter/{secret}", enter, None, "POST"),
    Place("/password/{secret}", password_page, None),
    Place("/password/{secret}", set_password, None, "POST", limit=Limit.PASSWORDS),
)
