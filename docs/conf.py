"""The configuration of the documentation. `make docs` builds it with Sphinx, without the network."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import quartapp

project = "quartapp"
author = "quartapp contributors"
version = release = quartapp.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

# Links lead to headings as on a code host, for example `protocol.md#earlier-answers`.
myst_heading_anchors = 4
# Pygments does not know an ellipsis in JSON, nor haproxy. Such blocks have no colours.
suppress_warnings = ["misc.highlighting_failure"]

# Docstrings are plain text with names in single backticks and doctests as examples. Both read well in an editor.
default_role = "code"
smartquotes = False  # because of quotes in messages, which users search for
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name
    for name in (
        "ASGIApp",
        "Authenticate",
        "Code",
        "FilterFunction",
        "Message",
        "ModelFunction",
        "OnAnswer",
        "Prepare",
        "Reason",
        "Yielded",
    )
}
maximum_signature_line_length = 80

# Names of other packages are no links, because the build fetches no inventory. Neither are names of inner modules.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!quartapp\.)\S+|quartapp\.[a-z_.]+\.\w+")]

html_theme = "furo"
html_title = f"quartapp {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["pages.css"]


def readable(signature: str | None) -> str | None:
    """Return `signature` with `{}` for msgspec's name of that default, and with the names of type aliases."""
    return signature and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature).replace("<factory>", "{}")


def setup(app: Sphinx) -> None:
    """Connect the change of signatures to autodoc, which passes the signature and its return type last."""
    app.connect("autodoc-process-signature", lambda *parts: tuple(map(readable, parts[-2:])))
