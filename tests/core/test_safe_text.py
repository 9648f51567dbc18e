import json
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from worldtune.core.safe_text import json_text, markdown, mermaid_label, one_line, safe_lines, xml_text

TEXT = st.text(st.characters(), max_size=40)  # surrogates and unassigned characters too
HOSTILE = st.lists(
    st.sampled_from(
        ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:x)", "![a](b)", "<http://a.b>",
         "|", "`", "```", "\\", "\\<", "&lt;", "&#60;b&#62;", "**", "_x_", "# ", "- ", "1. ", "> ", "~~x~~", "\n",
         "\n\n    ", "\r", "<!--", "-->", "{% x %}", "$x$", "@bob", "https://a.b", "www.a.b", "a@b.c", "\x1b[31m", "x"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pocket\n   99  bob approved", r"pocket\n   99  bob approved"),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x7f\x85\x9b31m", r"\x7f\x85\x9b31m"),
        ("a\u2028b\u2029c\x0bd\x0ce\x1cf", r"a\u2028b\u2029c\x0bd\x0ce\x1cf"),
        ("\u202egpj.exe\u202c\u2066x\u2069\u061c", r"\u202egpj.exe\u202c\u2066x\u2069\u061c"),
        ("bo\u200bb\ufeff\u00ad\u2060", r"bo\u200bb\ufeff\xad\u2060"),
        ("\U000e0041\U000e0042\U000e0100", r"\U000e0041\U000e0042\U000e0100"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("bob\ufe0f\u3164\u2800", r"bob\ufe0f\u3164\u2800"),
        ("\ufffe\ufdd0\ue000", r"\ufffe\ufdd0\ue000"),
    ],
)
def test_unsafe_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    "text",
    ["", "runs/a (1) [x] 50 % \\n", "naïve Ångström ñ", "拾起红色的杯子", "コップ　を取る", "한국어", "हिन्दी", "שלום",
     "مرحبا", "🤖 🩷 👍🏽", "👨‍👩‍👧 ❤️ 1️⃣ 🏴‍☠️ 👩🏽‍🚀", "σ = 1.5 · 3×4 – …", "e\u0301"],
)  # fmt: skip
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert one_line(text) == text


@given(TEXT)
@example("👨\u200b\u200d👩")
@example("a\ufe0f\u200d👩")
@example("\x01\ufe0f\u20e3")
def test_one_line_is_one_printable_line_and_stable(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert not {unicodedata.category(char) for char in line} & {"Cc", "Cs", "Co", "Zl", "Zp"}
    assert {char for char in line if unicodedata.category(char) == "Cf"} <= {"\u200d"}
    assert line.encode("utf-8").decode("utf-8") == line
    assert one_line(line) == line


@given(TEXT)
def test_safe_lines_keep_line_breaks(text: str) -> None:
    assert len(safe_lines(f"{text}\nb").split("\n")) == text.count("\n") + 2


@given(st.one_of(HOSTILE, TEXT))
def test_markdown_of_hostile_text_renders_as_text(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    escaped = markdown(text)
    for page, around in ((f"# {escaped}", "h1"), (f"- {escaped}", "li"), (f"**{escaped}x**", "strong")):
        kinds = {token.tag for block in reader.parse(page) for token in [block, *(block.children or [])] if token.tag}
        assert kinds <= {"h1", "ul", "li", "p", "strong"}, page
        assert around in kinds or not escaped
    rows = reader.render(f"| a | b |\n|---|---|\n| {escaped} | c |\n")
    assert rows.count("<td>") == 2
    assert "<td>c</td>" in rows


@given(st.one_of(HOSTILE, TEXT))
def test_markdown_keeps_the_words(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True})
    (inline,) = [block for block in reader.parse(f"x {markdown(text)}") if block.type == "inline"]
    shown = "".join(token.content for token in inline.children or []).replace("\u200b", "")
    assert shown == " ".join(f"x {one_line(text)}".split())


def test_markdown_has_no_links_or_mentions() -> None:
    text = markdown("see https://a.b www.a.b @bob bob@a.b")
    assert "://" not in text
    assert "www.a" not in text
    assert "@b" not in text
    assert "@a" not in text


@given(st.one_of(HOSTILE, TEXT, st.just('"]\nn9["x')))
def test_mermaid_label_cannot_close_its_quotes(text: str) -> None:
    label = mermaid_label(text)
    assert not set(label) & set('"`[](){}<>|\\&')
    assert len(label.splitlines()) <= 1


@given(st.one_of(HOSTILE, TEXT))
def test_xml_text_is_well_formed_in_content_and_attribute(text: str) -> None:
    escaped = xml_text(text)
    node = ElementTree.fromstring(f'<a b="{escaped}">{escaped}</a>')
    assert (node.text or "") == node.attrib["b"] == one_line(text)
    assert not list(node)


@given(st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_json_text_reads_back_and_is_printable(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == json.loads(json.dumps(value))
    text.encode("utf-8")
    assert not {unicodedata.category(char) for char in text.replace("\n", "")} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
