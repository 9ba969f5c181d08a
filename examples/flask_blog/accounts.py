"""The accounts of the blog: register, log in, log out."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import LoginManager, login_required, login_user, logout_user
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug import Response
from werkzeug.security import check_password_hash, generate_password_hash

from .models import User, db

MIN_PASSWORD_CHARS = 8

accounts = Blueprint("accounts", __name__)
logins = LoginManager()
logins.login_view = "accounts.log_in"
logins.login_message = "Log in first."


@logins.user_loader
def load_user(user_id: str) -> User | None:
    return db.session.get(User, int(user_id))


@accounts.route("/register", methods=["GET", "POST"])
def register() -> Response | str:
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    if request.method == "POST":
        fault = fault_of(name, password) or add_user(name, password)
        if fault is None:
            return redirect(url_for("posts.index"))
        flash(fault)
    return render_template("account.html", title="Register", name=name)


@accounts.route("/login", methods=["GET", "POST"])
def log_in() -> Response | str:
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    if request.method == "POST":
        user = db.session.scalar(select(User).where(User.name == name))
        if user and check_password_hash(user.password_hash, password):
            login_user(user)
            return redirect(url_for("posts.index"))
        flash("This name and this password do not belong together.")
    return render_template("account.html", title="Log in", name=name)


@accounts.post("/logout")
@login_required
def log_out() -> Response:
    logout_user()
    return redirect(url_for("posts.index"))


def fault_of(name: str, password: str) -> str | None:
    """Return what is wrong with the name or the password of a new user."""
    if not 1 <= len(name) <= 40:
        return "A name has 1 to 40 characters."
    if len(password) < MIN_PASSWORD_CHARS:
        return f"A password has at least {MIN_PASSWORD_CHARS} characters."
    return None


def add_user(name: str, password: str) -> str | None:
    """Add a user and log in as this user. Return a message if the name is in use."""
    user = User(name=name, password_hash=generate_password_hash(password))
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        return "This name is in use. Choose another one."
    login_user(user)
    return None
