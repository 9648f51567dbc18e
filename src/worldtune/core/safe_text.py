r"""Text from other people's files, made safe for a terminal, Markdown, Mermaid, XML and JSON.

A character that could start a new line, control a terminal, reorder a line or hide in it is shown as an escape:
`\n`, `\x1b`, `\u202e`. All other characters, such as accents, Chinese and emoji, stay as they are.

Sources: Unicode 16 DerivedCoreProperties (Default_Ignorable_Code_Point), CommonMark 0.31 (escapes, entities), GFM
(tables, autolinks), XML 1.0 (Char), https://mermaid.js.org/syntax/flowchart.html (entity codes).
"""

import json
import re
import unicodedata
from html import escape
from typing import Any

UNSAFE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # controls, format characters, lone surrogates, private use, separators
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
JOINER, STYLES, KEYCAP = "\u200d", "\ufe0e\ufe0f", "\u20e3"
EMOJI_AMONG_LETTERS = "‼⁉ℹ↔⤴⤵〰"
ZERO_WIDTH_SPACE = "&#8203;"


def one_line(text: object) -> str:
    """Return `text` as one printable line; unsafe characters are shown as escapes. A second call changes nothing."""
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    shown: list[str] = []
    for place, char in enumerate(line):
        before, after = shown[-1][-1:] if shown else "", line[place + 1 : place + 2]
        shown.append(_escaped(char) if is_unsafe(char) and not _is_of_emoji(before, char, after) else char)
    return "".join(shown)


def lines_of_text(text: str) -> str:
    """Return our own text of several lines, such as a help page, with each line made safe by `one_line`."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def is_unsafe(char: str) -> bool:
    """Return whether a character controls, reorders or hides, or cannot be printed at all."""
    return unicodedata.category(char) in UNSAFE or bool(INVISIBLE.match(char)) or _is_noncharacter(ord(char))


def markdown(text: object) -> str:
    """Return `text` as one line of Markdown in which nothing is a tag, a mark, a cell, a link or a mention.

    HTML characters become entities, which every Markdown reader shows as text; a backslash is not enough for some.
    """
    words = " ".join(one_line(text).split())
    marked = re.sub(r"([\\`*_{}\[\]#|!~$])", r"\\\1", escape(words, quote=False))
    marked = re.sub(r"^([-+=])|^(\d+)([.)])", lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", marked)
    marked = re.sub(r"/(?=/)", f"/{ZERO_WIDTH_SPACE}", marked)
    return re.sub(r"(@|\bwww\.)", rf"\1{ZERO_WIDTH_SPACE}", marked, flags=re.IGNORECASE)


def mermaid_label(text: object) -> str:
    """Return `text` as the inside of a quoted Mermaid label: all but letters, digits and ` ./@:-_` are entity codes."""
    return "".join(char if char.isalnum() or char in " ./@:-_" else f"#{ord(char)};" for char in one_line(text))


def xml_text(text: object) -> str:
    """Return `text` as the content or the quoted attribute of an XML element, such as a `<text>` of an SVG."""
    return escape(one_line(text))


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Return `value` as JSON with unsafe characters as JSON's own escapes: it reads back as the same value."""
    dumped = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(_json_escape(char) if char != "\n" and is_unsafe(char) else char for char in dumped)


def _escaped(char: str) -> str:
    code = ord(char)
    if char in SHORT:
        return SHORT[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) > 0x7F else f"\\u{ord(char):04x}"


def _is_of_emoji(before: str, char: str, after: str) -> bool:
    """Return whether an invisible character joins or styles an emoji, as in a family, a heart or a keycap."""
    if char in STYLES:
        return bool(before) and (_is_picture(before) or (before in "0123456789#*" and after == KEYCAP))
    joins = char == JOINER and bool(before and after)
    return joins and _is_picture(after) and (before in STYLES or _is_picture(before))


def _is_picture(char: str) -> bool:
    return char in EMOJI_AMONG_LETTERS or (char > "\x7f" and unicodedata.category(char) in {"So", "Sk"})


def _is_noncharacter(code: int) -> bool:
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
