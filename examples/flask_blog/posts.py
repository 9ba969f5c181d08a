"""The pages of the blog: the posts, the form that writes one, and the saved answers of the chat."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required
from sqlalchemy import select
from werkzeug import Response

from .models import Answer, Post, db

PAGE = 20

posts = Blueprint("posts", __name__)


@posts.get("/")
def index() -> str:
    newest = db.session.scalars(select(Post).order_by(Post.id.desc()).limit(PAGE)).all()
    return render_template("index.html", posts=newest)


@posts.route("/write", methods=["GET", "POST"])
@login_required
def write() -> Response | str:
    return edited(Post(author_id=current_user.id, title="", text=""))


@posts.route("/edit/<int:post_id>", methods=["GET", "POST"])
@login_required
def edit(post_id: int) -> Response | str:
    return edited(own_post(post_id))


@posts.post("/delete/<int:post_id>")
@login_required
def delete(post_id: int) -> Response:
    db.session.delete(own_post(post_id))
    db.session.commit()
    return redirect(url_for("posts.index"))


@posts.get("/answers")
@login_required
def answers() -> str:
    mine = select(Answer).where(Answer.user_id == current_user.id).order_by(Answer.ended_at.desc()).limit(PAGE)
    return render_template("answers.html", answers=db.session.scalars(mine).all())


def own_post(post_id: int) -> Post:
    """Return a post of the current user. A post of another user is a 403."""
    post = db.get_or_404(Post, post_id)
    if post.author_id != current_user.id:
        abort(403)
    return post


def edited(post: Post) -> Response | str:
    """Return the form with the post, or save what the form contains."""
    title, text = request.form.get("title", post.title).strip(), request.form.get("text", post.text).strip()
    if request.method == "POST":
        if title and text and len(title) <= 120:
            post.title, post.text = title, text
            db.session.add(post)
            db.session.commit()
            return redirect(url_for("posts.index"))
        flash("A post has a title of at most 120 characters, and a text.")
    return render_template("write.html", post=post, title=title, text=text)
