"""FHIRPath text to trees."""

from __future__ import annotations

from decimal import Decimal

import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views.fhirpath import Moment, parse
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
    mentions,
    walk,
)


def name(text: str) -> Member:
    return Member(This(), text)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("id", name("id")),
        ("name.family", Member(name("name"), "family")),
        ("$this", This()),
        ("$this.id", name("id")),
        ("name.$this", name("name")),
        ("`div`", name("div")),
        ("text.div", Member(name("text"), "div")),
        ("name[0]", Index(name("name"), Literal(0))),
        ("name.first()", Call(name("name"), "first", ())),
        ("extension('u').value", Member(Call(This(), "extension", (Literal("u"),)), "value")),
        ("%use", Variable("use")),
        ("%`a b`", Variable("a b")),
        ("{}", Literal(None)),
        ("true", Literal(True)),
        ("12", Literal(12)),
        ("1.50", Literal(Decimal("1.50"))),
        ("-3", Negation(Literal(3))),
        ("@2015-02", Literal(Moment("2015-02"))),
        ("@T12:30", Literal(Moment("12:30"))),
        ("@2015-02-04T14:34:28Z", Literal(Moment("2015-02-04T14:34:28Z"))),
        (r"'it\'s \u00e9\n'", Literal("it's é\n")),
        ("a // a comment\n/* and another */ .b", Member(name("a"), "b")),
    ],
)
def test_an_expression_becomes_its_tree(text: str, tree: Expression) -> None:
    assert parse(text) == tree


def test_operators_bind_as_the_standard_orders_them() -> None:
    tree = parse("a or b and c = d < e | f + g * h")
    expected = Operation("*", name("g"), name("h"))
    for operator, left in (("+", "f"), ("|", "e"), ("<", "d"), ("=", "c"), ("and", "b"), ("or", "a")):
        expected = Operation(operator, name(left), expected)
    assert tree == expected


def test_operators_of_one_precedence_go_from_left_to_right_and_parentheses_change_that() -> None:
    assert parse("a - b - c") == Operation("-", Operation("-", name("a"), name("b")), name("c"))
    assert parse("a - (b - c)") == Operation("-", name("a"), Operation("-", name("b"), name("c")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@@", "position 1"),
        ("", "a value is due"),
        ("a.", "a name is due at position 3, not the end"),
        ("a b", "an operator or the end is due at position 3, not 'b'"),
        ("a.first(", "a value is due"),
        ("f(a b)", "',' is due"),
        ("a[0", "']' is due"),
        ("(a", r"'\)' is due"),
        ("a.'b'", "a name is due"),
        ("'open", "position 1"),
        ("a ; b", "position 3"),
        ("1 +", "a value is due at position 4"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(ViewError, match=said):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 5000 + "a" + ")" * 5000, "a" + ".a" * 5000, "a" + " or a" * 5000])
def test_expressions_deeper_than_the_stack_are_refused(text: str) -> None:
    with pytest.raises(ViewError, match="nested more than 100 deep"):
        parse(text)


def test_a_tree_tells_its_depth_its_parts_and_the_variables_it_asks_for() -> None:
    tree = parse("name.where(use = %use)[%rowIndex].given")
    assert depth(parse("a.b.c")) == 4
    assert {part.name for part in walk(tree) if isinstance(part, Variable)} == {"use", "rowIndex"}
    assert mentions(tree, "rowIndex")
    assert not mentions(tree, "resource")
