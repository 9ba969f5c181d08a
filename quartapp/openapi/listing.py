"""The document as a plain HTML page without scripts and styles, used if the viewer is not installed."""

from __future__ import annotations

from html import escape

from quartapp.openapi.schemas import Json

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
</head>
<body>
<h1>{title}</h1>
<p>The complete document is <a href="openapi.json">openapi.json</a>. For an interactive page:
<code>pip install 'quartapp[docs]'</code></p>
{sections}
</body>
</html>
"""


def listing(document: Json) -> str:
    """Return an HTML list of the routes with their parameters and responses."""
    sections = [
        _section(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return _PAGE.format(title=escape(document["info"]["title"]), sections="\n".join(sections))


def _section(method: str, path: str, operation: Json) -> str:
    takes = [f"<code>{escape(each['name'])}</code> ({each['in']})" for each in operation["parameters"]]
    takes += _types(operation.get("requestBody", {}))
    replies = sorted(operation["responses"].items())
    answers = [f"<li>{status}: {', '.join(_types(reply)) or 'no body'}</li>" for status, reply in replies]
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>\n<p>{escape(operation['summary'])}</p>\n"
        f"<p>Takes {', '.join(takes) or 'nothing'}; answers</p>\n<ul>{''.join(answers)}</ul>"
    )


def _types(described: Json) -> list[str]:
    """Return each media type, with the name of its component if it has one."""
    return [
        f"<code>{media_type}</code> {_name(each['schema'])}".strip()
        for media_type, each in described.get("content", {}).items()
    ]


def _name(schema: Json) -> str:
    narrowed = schema.get("allOf", [schema])[0]
    return str(narrowed.get("$ref", "")).rpartition("/")[2]
