"""Ordinary Markdown, each document with something that is only understood once more of it has come."""

from __future__ import annotations

from collections.abc import Mapping

DOCUMENTS: Mapping[str, str] = {
    "prose": """\
# A title

A paragraph of *several* words, **some of them bold**, one `coded`,
and a second line\\
after a break.\x20\x20
And a third.

Another one: a_b_c, 2 * 3 * 4, <b>tags</b> &amp; &copy; &unknown; &#65;.
""",
    "headings": "## One\n\ntext\n\n### Two\n#### Three\n## Four\n> ### Five\n\n# Six\n\n### Seven\n",
    "setext": "A title\n=======\n\nA second\none\n---\n\nText\n\n---\n\nMore\n***\nEnd\n",
    "lists": """\
Before
- one
- two
  - nested
    more of it

    a paragraph of it
- three

1. first
2. second
   ```sh
   ls -l
   ```
3. third

After

10) ten
11) eleven
- [ ] to do
- [x] done
""",
    "a list that turns loose": "- one\n- two\n- three\n\n- four\n\n  more of four\n\ntext\n\n* a\n* b\n\n\n* c\n",
    "tables": """\
| a | b |
|---|:-:|
| 1 | `x|y` |
| 2 |
text right after
| c |
| - |

no | table
here

Not
| one |
|-yet

x | y
--|--
1 | 2
> quote
""",
    "code": """\
Text
```python
def f(x):
    return x


```
~~~ text
```
~~~~
    indented
    code

    more

````md
```js
1
```
````
  ```
   less
 indent
  ```
``` not closed ``` inline
```
open to the end
``
""",
    "references": """\
See [one], [Two][2] and [three].

> A quote of [one].

- an item of [ONE] and [none]

[one]: https://one.example/
[2]: <https://two.example/> "A title"

[three]:
  https://three.example/
  'A title'
[one]: https://other.example/

Last [one].
""",
    "quotes": "> a\n> b\nlazy\n\n> > deep\n> back\n\n> - item\n>   more\n> ```\n> code\n> ```\n\ntext\n> # title\n",
    "html": "<div>\n*raw*\n\n*read*\n</div>\n\n<!-- a\n\nb -->\n\nA <!-- c --> in text\n<pre>\nx\n\ny</pre>\nz\n",
    "formulas": """\
The $a_1 * b_2 * c$ and \\(x_1^*\\) cost $5 and $6, *a $*$ b*.

$$
x
- y
- z

$$ not one

\\[
\\begin{aligned}
a &= b \\\\
- c
\\end{aligned}
\\]
Text
$$ E = mc^2 $$
\\[1\\] a reference
""",
    "line ends": "a\r\nb\r\n\r\n- c\r\n- d\r\n\r\n```\r\ncode\r\n\r\nmore\r\n```\r\nend\r",
    "links": "[a](https://a.example/ 'b') <https://c.example> www.d.example ![e](https://f.example/g) [h](i) x@y.z\n",
    "odd beginnings": "\n\n   text\n\n\n#nothing\n# \n-\n- \n+\n\n1.\n\n    code\n\ttab\n***bold***\n_x_\n",
    "characters": """\
Grüße 日本語 👩\u200d👩\u200d👧 e\u0301 \u202eturned\u202c

| 数 | 学 |
|--|--|
| 🎉 | é |

```
👩\u200d👩\u200d👧 日本語 👍🏽 \u202e
```
""",
}
