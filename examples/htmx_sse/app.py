"""A form of htmx: the answer arrives as fragments of HTML in server-sent events. There is no build.

hypercorn app:app
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

from markupsafe import escape
from quart import Quart, Response, abort, request

from quartapp import Chat, ChatError, Delta, Done, Refusal

app = Quart(__name__)
app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # because browsers would keep your files for 12 hours
chat = Chat(app, url_prefix="/ai", without=("native", "openai", "ai-sdk", "page", "docs"))

TURNS = '<article class="question">{}</article><article class="answer" aria-busy="true"></article>'
PIECE = '<hx-partial hx-target="[aria-busy=true]" hx-swap="beforeend">{}</hx-partial>'
NOTE = '<hx-partial hx-target="[aria-busy=true]" hx-swap="beforeend"><p class="note">{}</p></hx-partial>'
STATUS = '<hx-partial hx-target="[role=status]" hx-swap="innerHTML">{}</hx-partial>'
END = "event: end\ndata:\n\n"  # without it, page.js reports that the answer is incomplete

# The answer is complete for the server, but the model has not said all of it.
SHORTENED = {
    "length": "The answer has reached its longest length.",
    "content_filter": "A filter of the model's server has ended the answer.",
}


@app.get("/")
async def page() -> Response:
    response = await app.send_static_file("page.html")
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    return response


@app.post("/questions")
async def ask() -> Response:
    if request.headers.get("HX-Request") != "true":
        abort(403)  # because a form of another site, which cannot send this header, could spend your tokens
    question = (await request.form).get("question", "")
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    response = Response(events(question), headers=headers)
    response.timeout = None  # because the chat has limits of its own, which report an error
    return response


async def events(question: str) -> AsyncIterator[str]:
    """Yield the question and an empty answer, then each piece of the answer, then its end."""
    yield event(TURNS, question)
    yield event(STATUS, "Answering…")
    note, text = "", ""
    try:
        async with aclosing(chat.stream(question)) as answer:
            async for piece in answer:
                if isinstance(piece, Delta | Refusal):
                    text += piece.text
                    yield event(PIECE, piece.text)
                elif isinstance(piece, Done):
                    note = SHORTENED.get(piece.finish_reason, "")
    except ChatError as error:
        note = f"{'This answer is incomplete' if text else 'There is no answer'}. {error.sentence}"
    if note:
        yield event(NOTE, note)
    yield event(STATUS, "" if note else "Done.")
    yield END


def event(template: str, text: str) -> str:
    """Return a server-sent event with the template around the text, which is escaped."""
    html = template.format(escape(text)).replace("\r", "&#13;")  # because a CR would end the line
    return "".join(f"data: {line}\n" for line in html.split("\n")) + "\n"
