r"""Make text from untrusted files safe for a terminal, Markdown, Mermaid, XML and JSON.

A character that could start a new line, control a terminal, or reorder or hide text is shown as an escape: `\n`,
`\x1b`, `\u202e`. All other characters, such as accents, Chinese and emoji, are unchanged.

Sources: Unicode 16 DerivedCoreProperties (Default_Ignorable_Code_Point), CommonMark 0.31 (escapes, entities), GFM
(tables, autolinks), XML 1.0 (Char), https://mermaid.js.org/syntax/flowchart.html (entity codes).
"""

import json
import re
import unicodedata
from html import escape
from typing import Any

UNSAFE_CATEGORIES = {
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Zl",
    "Zp",
}  # controls, format characters, lone surrogates, private use, separators
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
NOT_PLAIN = re.compile(r"[^\n -~]")  # all but printable ASCII, which is safe, and line feeds
SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
JOINER, VARIATION_SELECTORS, KEYCAP = "\u200d", "\ufe0e\ufe0f", "\u20e3"
EMOJI_AMONG_LETTERS = "‼⁉ℹ↔⤴⤵〰"
ZERO_WIDTH_SPACE = "&#8203;"


def one_line(text: object) -> str:
    """Return `text` as one printable line with escapes for unsafe characters. A second call changes nothing."""
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    shown: list[str] = []
    for index, char in enumerate(line):
        before, after = shown[-1][-1:] if shown else "", line[index + 1 : index + 2]
        shown.append(_escape_char(char) if is_unsafe(char) and not _is_part_of_emoji(before, char, after) else char)
    return "".join(shown)


def safe_lines(text: str) -> str:
    """Return our own text of several lines, such as a help page, with each line made safe by `one_line`."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def is_unsafe(char: str) -> bool:
    """Return whether a character controls, reorders or hides text, or cannot be printed."""
    return unicodedata.category(char) in UNSAFE_CATEGORIES or bool(INVISIBLE.match(char)) or _is_noncharacter(ord(char))


def markdown(text: object) -> str:
    """Return `text` as one line of Markdown without any markup: no tags, cells, links or mentions.

    HTML characters become entities, because a backslash is not enough for some Markdown readers.
    """
    words = " ".join(one_line(text).split())
    marked = re.sub(r"([\\`*_{}\[\]#|!~$])", r"\\\1", escape(words, quote=False))
    marked = re.sub(r"^([-+=])|^(\d+)([.)])", lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", marked)
    marked = re.sub(r"/(?=/)", f"/{ZERO_WIDTH_SPACE}", marked)
    return re.sub(r"(@|\bwww\.)", rf"\1{ZERO_WIDTH_SPACE}", marked, flags=re.IGNORECASE)


def mermaid_label(text: object) -> str:
    """Return `text` for a quoted Mermaid label, with entity codes for all but letters, digits and ` ./@:-_`."""
    return "".join(char if char.isalnum() or char in " ./@:-_" else f"#{ord(char)};" for char in one_line(text))


def xml_text(text: object) -> str:
    """Return `text` as the content or a quoted attribute of an XML element, such as an SVG's `<text>`."""
    return escape(one_line(text))


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Return `value` as JSON, with unsafe characters as JSON escapes. It reads back as the same value."""
    dumped = json.dumps(value, indent=indent, ensure_ascii=False)
    return NOT_PLAIN.sub(lambda match: _json_escape(match[0]) if is_unsafe(match[0]) else match[0], dumped)


def _escape_char(char: str) -> str:
    code = ord(char)
    if char in SHORT_ESCAPES:
        return SHORT_ESCAPES[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) > 0x7F else f"\\u{ord(char):04x}"


def _is_part_of_emoji(before: str, char: str, after: str) -> bool:
    """Return whether an invisible character joins or styles an emoji, as in a family, a heart or a keycap."""
    if char in VARIATION_SELECTORS:
        return bool(before) and (_is_emoji(before) or (before in "0123456789#*" and after == KEYCAP))
    joins = char == JOINER and bool(before and after)
    return joins and _is_emoji(after) and (before in VARIATION_SELECTORS or _is_emoji(before))


def _is_emoji(char: str) -> bool:
    return char in EMOJI_AMONG_LETTERS or (char > "\x7f" and unicodedata.category(char) in {"So", "Sk"})


def _is_noncharacter(code: int) -> bool:
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
