"""Markdown as it streams, in a real Chromium: the elements, hostile texts, and the time that it takes."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.markdown_documents import DOCUMENTS
from tests.support.serving import ROOT, Server, Servers
from tests.support.tabs import PageRecord, new_context
from tests.support.xss import BOMBS, PAYLOADS

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The tab answers within this time, whatever is shown in it.
MOST_LAG_MS = 500
#: Other work on the machine makes a tab late, never early: the best of a few tries is what the page itself costs.
TRIES = 8


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


class Tab:
    """The chat's page under its policy, empty but for the texts of a test, with its requests and what went wrong."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.record = PageRecord(page)
        self.opened: list[str] = []
        page.on("dialog", lambda dialog: self.opened.append(f"a dialog with {dialog.message}"))
        page.on("popup", lambda popup: self.opened.append("a window"))

    async def call(self, function: str, *arguments: Any) -> Any:
        return await self.page.evaluate(f"(given) => {function}(...given)", arguments)

    def loads(self) -> set[str]:
        """Return the URLs that were requested and are no module of the page's own."""
        own = re.compile(r"/static/(element|vendor)/[\w./-]+\.js")
        urls = {request.url for request in self.record.requests}
        return {url for url in urls if not own.fullmatch(urlsplit(url).path) and not url.startswith("data:")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loaded(browser: Browser, server: Server) -> AsyncIterator[Tab]:
    async with await new_context(browser, permissions=["clipboard-read", "clipboard-write"]) as context:
        await context.add_init_script(path=ROOT / "tests" / "node" / "markdown.js")
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{server.port}/", wait_until="networkidle")
        await page.evaluate("document.body.replaceChildren()")
        yield Tab(page)


@pytest.fixture
def tab(loaded: Tab) -> Iterator[Tab]:
    """A tab in which nothing may fail or open, and nothing may be loaded but modules of the page."""
    for found in (loaded.record.requests, loaded.record.errors, loaded.opened):
        found.clear()
    yield loaded
    assert (loaded.record.errors, loaded.opened, loaded.loads()) == ([], [], set())


# -- elements

HOST = ' rel="noopener noreferrer nofollow" target="_blank"'


def link(href: str, face: str) -> str:
    return f'<a href="{href}" title="{href}"{HOST}>{face}</a>'


def host(name: str) -> str:
    return f'<bdi class="host"> ({name})</bdi>'


#: Texts and their elements.
MADE: Mapping[str, tuple[str, str]] = {
    "a paragraph": ("a\nb", "<p>a\nb</p>"),
    "breaks": ("a  \nb\\\nc<br>d<BR/>e", "<p>a<br>b<br>c<br>d<br>e</p>"),
    "emphasis": ("*a* __b__ ~~c~~ `d*e*`", "<p><em>a</em> <strong>b</strong> <del>c</del> <code>d*e*</code></p>"),
    "headings of any depth without a gap": (
        "## a\n#### b\n##### c\n###### d\n# e\n## f",
        "<h3>a</h3><h4>b</h4><h5>c</h5><h6>d</h6><h3>e</h3><h4>f</h4>",
    ),
    "a tight list": ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
    "a loose list": ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
    "a list that starts late": ("7. a\n8. b", '<ol start="7"><li>a</li><li>b</li></ol>'),
    "tasks": (
        "- [x] a\n- [ ] b",
        '<ul><li><span class="task" role="img" aria-label="Done">☑</span> a</li>'
        '<li><span class="task" role="img" aria-label="To do">☐</span> b</li></ul>',
    ),
    "a quote": ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
    "a rule": ("a\n\n---", "<p>a</p><hr>"),
    "a table": (
        "|a|b|\n|-|-:|\n|*c*|",
        '<div class="table" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th scope="col">a</th>'
        '<th scope="col" class="align-right">b</th></tr></thead><tbody><tr><td><em>c</em></td>'
        '<td class="align-right"></td></tr></tbody></table></div>',
    ),
    "code": (
        '```python title="x"\na < b\n```',
        '<figure class="code"><figcaption><span class="language">python</span><button type="button" class="copy">Copy'
        '</button></figcaption><pre tabindex="0" role="group" aria-label="Code, python"><code>a &lt; b</code></pre>'
        "</figure>",
    ),
    "code without a language": (
        "    a\n     b",
        '<figure class="code"><figcaption><span class="language">text</span><button type="button" class="copy">Copy'
        '</button></figcaption><pre tabindex="0" role="group" aria-label="Code"><code>a\n b</code></pre></figure>',
    ),
    "HTML in a text": ("a <b onclick='x'>b</b>", "<p>a &lt;b onclick='x'&gt;b&lt;/b&gt;</p>"),
    "HTML of its own": (
        "<div>\n<p>a</p>\n</div>\n\nb",
        '<pre class="plain">&lt;div&gt;\n&lt;p&gt;a&lt;/p&gt;\n&lt;/div&gt;</pre><p>b</p>',
    ),
    "references of characters": (
        "&amp; &lt;b&gt; &copy; &#8364; &#x20AC; &nope; &#0; &amp;amp; \\&amp; `&amp;`",
        "<p>&amp; &lt;b&gt; © € € &amp;nope; � &amp;amp; &amp;amp; <code>&amp;amp;</code></p>",
    ),
    "formulas in a line": (
        "$a_1*b$ \\(c_2*d\\) *e $f*g$ h* $5 or $6",
        '<p><span class="math">$a_1*b$</span> <span class="math">\\(c_2*d\\)</span> '
        '<em>e <span class="math">$f*g$</span> h</em> $5 or $6</p>',
    ),
    "a formula of its own": ("a\n$$\n- b\n- c\n$$\nd", '<p>a</p><p class="math">$$\n- b\n- c\n$$</p><p>d</p>'),
    "a link": ("[a](https://b.example/c)", f"<p>{link('https://b.example/c', 'a' + host('b.example'))}</p>"),
    "a link that says its host": (
        "[a.example](https://a.example/b)",
        f"<p>{link('https://a.example/b', 'a.example')}</p>",
    ),
    "a bare address": ("https://a.example/b", f"<p>{link('https://a.example/b', 'https://a.example/b')}</p>"),
    "an address by www": ("www.a.example", f"<p>{link('http://www.a.example/', 'www.a.example')}</p>"),
    "a mailbox": ("<a@b.example>", f"<p>{link('mailto:a@b.example', 'a@b.example')}</p>"),
    "a mailbox under a text": (
        "[Bob](mailto:a@b.example)",
        f"<p>{link('mailto:a@b.example', 'Bob' + host('a@b.example'))}</p>",
    ),
    "a link that says another host": (
        "[https://good.example](https://evil.example/)",
        f"<p>{link('https://evil.example/', 'https://good.example' + host('evil.example'))}</p>",
    ),
    "a link that says the beginning of its host": (
        "[good.example](https://good.example.evil.example/)",
        f"<p>{link('https://good.example.evil.example/', 'good.example' + host('good.example.evil.example'))}</p>",
    ),
    "a link with a name before its host": (
        "https://good.example@evil.example/",
        f"<p>{link('https://good.example@evil.example/', '{0}' + host('evil.example'))}</p>".format(
            "https://good.example@evil.example/"
        ),
    ),
    "a host in another script": (
        "[pаypal.com](https://pаypal.com/)",
        f"<p>{link('https://xn--pypal-4ve.com/', 'pаypal.com' + host('xn--pypal-4ve.com'))}</p>",
    ),
    "hidden characters in a link": (
        "[a\u202eb\u200bc\u2060](https://d.example/)",
        f"<p>{link('https://d.example/', 'abc' + host('d.example'))}</p>",
    ),
    "a turned text": ("a \u202eb\u202c \u202dc &#8238;d", "<p>a b\u202c c d</p>"),
    "hidden characters in code": (
        "`a\u202eb` `👩‍👩‍👧`",
        '<p><code>a<span class="hidden-character">U+202E</span>b</code> <code>👩‍👩‍👧</code></p>',
    ),
    "a link to nowhere": ("[a](javascript:b) [c](/d)", "<p><span>a (javascript:b)</span> <span>c (/d)</span></p>"),
    "an address that is no link": ("<ftp://a.example>", "<p><span>ftp://a.example</span></p>"),
    "a footnote": ("a[^1]\n\n[^1]: b", "<p>a[^1]</p><p>[^1]: b</p>"),
    "an image": (
        "![a *b*](https://c.example/d.png)",
        f"<p>{link('https://c.example/d.png', 'a <em>b</em>' + host('c.example'))}</p>",
    ),
    "an image without a text": (
        "![](https://c.example/d.png)",
        f"<p>{link('https://c.example/d.png', 'image' + host('c.example'))}</p>",
    ),
    "an image in a link": (
        "[![a](https://b.example/)](https://c.example/)",
        f"<p>{link('https://c.example/', 'a' + host('c.example'))}</p>",
    ),
    "a nested depth beyond the cap": (
        "> " * 40 + "a",
        "<blockquote>" * 32 + f'<pre class="plain">{"&gt; " * 8}a</pre>' + "</blockquote>" * 32,
    ),
}


@pytest.mark.parametrize("name", MADE)
async def test_markdown_becomes(name: str, tab: Tab) -> None:
    text, html = MADE[name]
    assert await tab.call("rendered", text) == html


# -- as it streams


def places_of_cuts(text: str) -> Iterator[list[int]]:
    """Yield the places of each cut of a text in two, of equal pieces, and of random ones."""
    yield []
    yield from ([place] for place in range(1, len(text)))
    yield from (list(range(size, len(text), size)) for size in (1, 2, 3, 7))
    odd = random.Random(7)
    yield from (sorted(odd.sample(range(1, len(text)), k=min(12, len(text) - 1))) for _ in range(40))


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_text_in_any_pieces_becomes_the_same_elements(name: str, tab: Tab) -> None:
    """Compare with the text in one piece."""
    text = DOCUMENTS[name]
    result = await tab.call("differing", text, list(places_of_cuts(text)))
    assert result["wrong"] == [], result["whole"]


async def test_all_documents_in_one_come_to_the_same_in_pieces(tab: Tab) -> None:
    text = "\n\n".join(f"{document}\n~~~\n~~~" for name, document in DOCUMENTS.items() if name != "code")
    pieces = [list(range(size, len(text), size)) for size in (1, 5, 64, 1_000)]
    result = await tab.call("differing", text, [[], *pieces])
    assert result["wrong"] == []


# -- hostile texts


@pytest.mark.parametrize("name", PAYLOADS)
async def test_no_hostile_text_runs_or_loads_anything(name: str, tab: Tab) -> None:
    result = await tab.call("attack", PAYLOADS[name])
    assert result == {"wrong": [], "fired": None, "violations": []}


@pytest.mark.sampled
@pytest.mark.parametrize("size", ["one piece", "pieces"])
@pytest.mark.parametrize("name", BOMBS)
async def test_the_tab_lives_through(name: str, size: str, tab: Tab) -> None:
    """Check also that all letters of the text are shown, unless a link has some in its address."""
    bomb = f"{BOMBS[name]}\n\nThe end"
    for _ in range(TRIES):
        result = await tab.call("bomb", bomb, len(bomb) if size == "one piece" else len(bomb) // 20)
        if result["lagMs"] < MOST_LAG_MS:
            break
    assert result["lagMs"] < MOST_LAG_MS
    assert result["wrong"] == []
    assert result["text"].rstrip().endswith("The end")
    if "https" not in bomb:
        assert letters(result["text"]) == letters(re.sub(r"^```\w+", "", bomb))


def letters(text: str) -> str:
    return "".join(re.findall(r"[a-zA-Z]", text))


# -- while it streams


async def test_what_is_settled_is_not_touched_again(tab: Tab) -> None:
    """Selected text stays selected and what has the focus keeps it, while blocks of every kind come after them."""
    rest = DOCUMENTS["lists"] + DOCUMENTS["tables"] + DOCUMENTS["code"] + "[later]: https://later.example/\n"
    result = await tab.call("settle", "Read [this](https://a.example/) first.\n\nThen\nthat.\n", rest)
    assert result == {"touched": 0, "selected": "first", "focused": "https://a.example/"}


async def test_what_is_selected_in_a_growing_paragraph_stays_so(tab: Tab) -> None:
    result = await tab.call(
        "settle", "Read [this](https://a.example/) first", " and *then* read on, `as long` as it goes."
    )
    assert (result["selected"], result["focused"]) == ("first", "https://a.example/")


async def test_a_link_whose_address_comes_at_the_end_becomes_one_then(tab: Tab) -> None:
    text = "Read [this][1].\n\nThen that.\n\n" + "And more.\n\n" * 3
    assert "<a" not in await tab.call("rendered", text)
    assert "https://a.example/" in await tab.call("rendered", text + "[1]: https://a.example/", [len(text)])


async def test_an_answer_that_breaks_off_in_its_code_shows_all_that_came(tab: Tab) -> None:
    html = await tab.call("rendered", "```js\nlet a = 1;\n``", [3, 9, 16])
    assert "<code>let a = 1;\n``</code>" in html


async def test_a_long_text_is_shown_in_steps_and_complete_in_the_end(tab: Tab) -> None:
    """After a slice of work that took its time, the next call gives the page a rest."""
    text = "".join(f"Paragraph {number} of *many*.\n\n" for number in range(6_000))
    result = await tab.call("patience", text)
    assert result == {"isAllShown": False, "isSomeShown": True, "isLeftAlone": True, "paragraphs": 6_000}


async def test_a_long_table_goes_on_under_its_own_head(tab: Tab) -> None:
    rows = "".join(f"| {number} | row number {number} |\n" for number in range(1_000))
    text = f"| a | b |\n|---|---|\n{rows}\nThe end\n"
    for cuts in ([], list(range(100, len(text), 100))):
        html = await tab.call("rendered", text, cuts)
        heads = html.count('<thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead>')
        assert heads == html.count("<table>") > 1
        assert re.findall(r"<tr><td>(\d+)</td>", html) == [str(number) for number in range(1_000)]
        assert html.endswith("<p>The end</p>")


async def test_a_long_list_goes_on_with_its_own_numbers(tab: Tab) -> None:
    """It is cut between two items, never within one."""
    items = [f"{number}. item number {number}\n     goes on\n" for number in range(1, 1_000)]
    text = "".join(items) + "\nThe end\n"
    for cuts in ([], list(range(100, len(text), 100))):
        html = await tab.call("rendered", text, cuts)
        starts = [int(start) for start in re.findall(r'<ol start="(\d+)">', html)]
        firsts = [int(first) for first in re.findall(r'<ol start="\d+"><li>item number (\d+)\n', html)]
        assert starts == firsts != []
        made = re.findall(r"<li>item number (\d+)\n *goes on</li>", html)
        assert made == [str(number) for number in range(1, 1_000)]


# -- code

SNIPPETS: Mapping[str, str] = {
    "js": "const a = `b ${c}`; // d",
    "TypeScript": "type A = string | number;",
    "py": 'def f(a: int) -> str:\n    return f"{a}"',
    "sh": 'for a in *; do echo "$a"; done',
    "json": '{"a": [1, true, null]}',
    "html": '<a href="b">c</a> &amp; <style>p { color: red }</style>',
    "xml": '<?xml version="1.0"?><a b="c"/>',
    "css": "p > a:hover { color: #fff }",
    "sql": "SELECT 'a' FROM b WHERE c = 1",
    "yaml": 'a: "b"\nc:\n  - d',
    "go": "func main() { return }",
    "rust": "fn main() -> u32 { 1 }",
    "java": "class A { int b = 1; }",
    "c++": "#include <a>\nint main() { return 0; }",
    "diff": "@@ -1 +1 @@\n-a\n+b",
    "toml": "[a]\nb = true",
}


@pytest.mark.parametrize("language", SNIPPETS)
async def test_code_is_coloured_once_it_is_closed(language: str, tab: Tab) -> None:
    result = await tab.call("colours", language, SNIPPETS[language])
    assert result["before"] == 0
    assert result["after"] > 0
    assert (result["text"], result["wrong"]) == (SNIPPETS[language], [])


@pytest.mark.parametrize(
    ("language", "code"),
    [("brainfuck", "let a = 1"), ("", "let a = 1"), ("js", "let a = 1;\n" * 3_000), ("js", "let a = 1;" * 60)],
    ids=["of a language nobody knows", "of no language", "too long", "of too long a line"],
)
async def test_code_stays_plain_if_it_is(language: str, code: str, tab: Tab) -> None:
    result = await tab.call("colours", language, code, "```js\nlet b;\n```\n")
    assert (result["after"], result["text"].rstrip("\n")) == (0, code.rstrip("\n"))


@pytest.mark.parametrize("line", ["let a = 1;\n", "a" * 1_024], ids=["in lines", "in a line"])
async def test_long_code_has_the_same_parts_in_any_pieces(line: str, tab: Tab) -> None:
    """Only the last part is laid out again when more text comes."""
    code = line * (60_000 // len(line))
    lengths = await tab.call("partsOfCode", code, len(code))
    assert max(lengths) <= 2 * 8_192
    assert sum(lengths) == len(code.rstrip("\n"))
    for chars in (1_024, 1_000, 16_384):
        assert await tab.call("partsOfCode", code, chars) == lengths


@pytest.mark.parametrize("way", ["clipboard", "command"])
async def test_code_is_copied_as_it_was_written(way: str, tab: Tab) -> None:
    """Copy hidden characters themselves, not the names that are shown for them; also on a page without TLS."""
    code = 'if (a !== "\u202eb\u200b") {\n\n\treturn "<&>";\n}'
    await tab.call("colours", "js", code)
    if way == "command":
        await tab.page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error()))")
    await tab.page.get_by_role("button", name="Copy").first.click()
    await tab.page.get_by_role("button", name="Copied").wait_for()
    assert await tab.page.evaluate("navigator.clipboard.readText()") == code
    await tab.page.evaluate("delete navigator.clipboard.writeText")


async def test_wide_code_and_tables_can_be_reached_and_named(tab: Tab) -> None:
    await tab.call("attack", "```py\na\n```\n\n| a |\n|---|\n| b |\n")
    for name in ("Code, py", "Table"):
        group = tab.page.get_by_role("group", name=name)
        await group.focus()
        assert await group.evaluate("group => group === document.activeElement")


# -- the check itself


#: Elements, each with what it must not have; handlers are not among them, for the page's policy lets nobody plant one.
OFFENCES = ["script", "img", "iframe", "svg", "form", "a href=javascript:1", "a href=//b", "a href=https://b/"]
OFFENCES += ["a href=https://b rel=opener", "p style=color:red", "p id=a", "p name=a", "p class=answer", "p role=alert"]


@pytest.mark.parametrize("element", OFFENCES)
async def test_the_check_for_offences_finds(element: str, tab: Tab) -> None:
    """Add each kind of element that hostile texts contain."""
    assert await tab.call("planted", *element.split()) != []
