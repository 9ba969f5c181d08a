"""The tables of the blog."""

from datetime import UTC, datetime

from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The base of the tables."""


db = SQLAlchemy(model_class=Base)


def now() -> datetime:
    return datetime.now(UTC)


class User(UserMixin, Base):
    """A user of the blog."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    password_hash: Mapped[str]


class Post(Base):
    """A post of a user."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    title: Mapped[str] = mapped_column(String(120))
    text: Mapped[str]
    author: Mapped[User] = relationship()
    written_at: Mapped[datetime] = mapped_column(default=now)


class Answer(Base):
    """An answer of the chat: complete, failed, or abandoned by its user."""

    __tablename__ = "answer"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    question: Mapped[str]
    text: Mapped[str]
    ending: Mapped[str] = mapped_column(String(40))
    ended_at: Mapped[datetime] = mapped_column(default=now)
