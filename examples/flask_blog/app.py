"""A blog in Flask with a chat next to the posts, for its users.

FLASK_SECRET_KEY=... flask --app examples.flask_blog.app run
"""

from pathlib import Path

from flask import Flask

from .accounts import accounts, logins
from .assistant import chat
from .models import db
from .posts import posts


def create_app(**config: object) -> Flask:
    """Return the blog. Its configuration comes from variables with the prefix FLASK_, then from `config`."""
    app = Flask(__name__, instance_path=str(Path(__file__).parent / "instance"))
    app.config.update(
        SQLALCHEMY_DATABASE_URI="sqlite:///blog.db",  # in the instance folder
        SESSION_COOKIE_SAMESITE="Lax",  # so a form on another site cannot post as a user of the blog
        MAX_CONTENT_LENGTH=1_000_000,
    )
    app.config.from_prefixed_env()
    app.config.update(config)
    if not app.secret_key:
        raise RuntimeError("The blog needs FLASK_SECRET_KEY, which signs the cookies of its users.")
    db.init_app(app)
    logins.init_app(app)
    app.register_blueprint(accounts)
    app.register_blueprint(posts)
    chat.init_app(app)
    with app.app_context():
        db.create_all()
    return app
