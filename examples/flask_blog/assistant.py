"""The chat of the blog: its users, what it knows about their posts, and the saved answers."""

from typing import Any

from flask_login import current_user
from sqlalchemy import select

from quartapp import AnswerReport, Chat, ChatRequest, Principal

from .models import Answer, Post, db

#: About 2,000 tokens of posts with each question.
MAX_CONTEXT_CHARS = 8000

chat = Chat(url_prefix="/ai", system_prompt="You help the author of a blog. Answer briefly.")


@chat.authenticate
def who(request: Any) -> str | None:
    return current_user.get_id()  # type: ignore[no-any-return]


@chat.prepare
def add_posts(request: ChatRequest, principal: Principal) -> ChatRequest | None:
    """Add the user's own posts to the question, the newest first, as many as fit."""
    mine = select(Post).where(Post.author_id == int(principal.id)).order_by(Post.id.desc())
    context, room = "", MAX_CONTEXT_CHARS
    for post in db.session.scalars(mine):
        text = f"## {post.title}\n\n{post.text}\n\n"
        if len(text) > room:
            break
        context, room = context + text, room - len(text)
    return request.with_context(f"These are posts of the author:\n\n{context}") if context else None


@chat.on_answer
def save(report: AnswerReport) -> None:
    """Save the answer, with the text as far as the model sent it."""
    assert report.principal
    answer = Answer(
        id=report.id,
        user_id=int(report.principal.id),
        question=report.question,
        text=report.text,
        ending=report.ending,
    )
    db.session.add(answer)
    db.session.commit()
