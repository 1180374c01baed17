"""FHIRPath text to a tree, by precedence climbing."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from s4s_lab.errors import ViewError
from s4s_lab.views.fhirpath.moments import Moment
from s4s_lab.views.fhirpath.syntax import (
    Call,
    Expression,
    Index,
    Literal,
    Member,
    Negation,
    Operation,
    This,
    Variable,
    depth,
)

_TOKEN = re.compile(
    r"""
    (?P<space>   \s+ | //[^\n]* | /\*.*?\*/ )
  | (?P<number>  \d+ (?: \.\d+ )? )
  | (?P<string>  '(?: [^'\\] | \\. )*' )
  | (?P<moment>  @ (?: T[\d:.]+ | \d{4} (?: -\d\d (?: -\d\d )? )? (?: T (?: [\d:.]+ (?: Z | [+-]\d\d:\d\d )? )? )? ) )
  | (?P<variable> % (?: [A-Za-z_]\w* | `[^`]+` | '[^']+' ) )
  | (?P<this>    \$this\b )
  | (?P<name>    [A-Za-z_]\w* | `(?: [^`\\] | \\. )+` )
  | (?P<symbol>  <= | >= | != | [().,\[\]{}|=<>+*/-] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED = {"r": "\r", "n": "\n", "t": "\t", "f": "\f"}
# The higher, the tighter (FHIRPath N1, "Operator Precedence").
_PRECEDENCE = {
    "or": 1, "and": 2,
    "=": 3, "!=": 3,
    "<": 4, "<=": 4, ">": 4, ">=": 4,
    "|": 5,
    "+": 6, "-": 6,
    "*": 7, "/": 7,
}  # fmt: skip
_MAX_DEPTH = 100


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(one, text)


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ViewError(f"{text!r} is no FHIRPath: {text[position]!r} at position {position + 1}.")
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(_Token(kind, match[0], position))
        position = match.end()
    return [*found, _Token("end", "", len(text))]


class _Parser:
    """One pass over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def peek(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def refuse(self, token: _Token, wanted: str) -> ViewError:
        seen = repr(token.text) if token.text else "the end"
        return ViewError(f"{self.text!r} is no FHIRPath: {wanted} is due at position {token.position + 1}, not {seen}.")

    def expect(self, symbol: str) -> None:
        token = self.take()
        if token.text != symbol:
            raise self.refuse(token, repr(symbol))

    def whole(self) -> Expression:
        expression = self.operation(0)
        if self.peek().kind != "end":
            raise self.refuse(self.peek(), "an operator or the end")
        return expression

    def operation(self, tightness: int) -> Expression:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ViewError(f"A FHIRPath expression is nested more than {_MAX_DEPTH} deep.")
        left = self.signed()
        while (precedence := self.binary_precedence()) > tightness:
            operator = self.take().text
            left = Operation(operator, left, self.operation(precedence))
        self.depth -= 1
        return left

    def binary_precedence(self) -> int:
        token = self.peek()
        return _PRECEDENCE.get(token.text, 0) if token.kind in ("symbol", "name") else 0

    def signed(self) -> Expression:
        if self.peek().text in ("-", "+"):
            sign = self.take().text
            operand = self.invocations(self.term())
            return Negation(operand) if sign == "-" else operand
        return self.invocations(self.term())

    def term(self) -> Expression:
        token = self.take()
        match token.kind, token.text:
            case "number", text:
                return Literal(Decimal(text) if "." in text else int(text))
            case "string", text:
                return Literal(_unescape(text[1:-1]))
            case "moment", text:
                return Literal(Moment(text[1:].removeprefix("T").removesuffix("T")))
            case "variable", text:
                return Variable(text[1:].strip("`'"))
            case "this", _:
                return This()
            case "name", "true" | "false":
                return Literal(token.text == "true")
            case "name", _:
                return self.named(This(), token)
            case "symbol", "(":
                inner = self.operation(0)
                self.expect(")")
                return inner
            case "symbol", "{":
                self.expect("}")
                return Literal(None)
        raise self.refuse(token, "a value")

    def invocations(self, base: Expression) -> Expression:
        while self.peek().text in (".", "["):
            if self.take().text == "[":
                base = Index(base, self.operation(0))
                self.expect("]")
                continue
            token = self.take()
            if token.kind == "this":
                continue
            if token.kind != "name":
                raise self.refuse(token, "a name")
            base = self.named(base, token)
        return base

    def named(self, base: Expression, token: _Token) -> Expression:
        name = _unescape(token.text[1:-1]) if token.text.startswith("`") else token.text
        if self.peek().text != "(":
            return Member(base, name)
        self.take()
        arguments: list[Expression] = []
        while self.peek().text != ")":
            if arguments:
                self.expect(",")
            arguments.append(self.operation(0))
        self.take()
        return Call(base, name, tuple(arguments))


def parse(text: str) -> Expression:
    """Parse one FHIRPath expression.

    Parameters
    ----------
    text : str
        The expression; operators and steps may be nested 100 deep.

    Raises
    ------
    ViewError
        If `text` is no expression of the supported part of FHIRPath; the message shows where.

    References
    ----------
    FHIRPath N1, "Formal Specifications": grammar and operator precedence.
    """
    expression = _Parser(text).whole()
    if depth(expression) > _MAX_DEPTH:
        raise ViewError(f"A FHIRPath expression is nested more than {_MAX_DEPTH} deep.")
    return expression
