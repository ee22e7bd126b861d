"""Small wrong versions of a source file, one change each."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_EXTREMES = {"max": "min", "min": "max"}


class Mutant(NamedTuple):
    """One change: where, what the statement said, what it says now, and the whole text.

    line, last: of the statement, or of the head of a compound one; body: of the function that it is in.
    """

    function: str
    body: tuple[int, int]
    line: int
    last: int
    before: str
    after: str
    source: str
    again: int = 1
    """The how manieth of its name."""

    @property
    def name(self) -> str:
        """The same however lines move."""
        repeated = f" #{self.again}" if self.again > 1 else ""
        return f"{self.function}: {self.before} -> {self.after}{repeated}"


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every mutant of the kernels and plain functions of a module, in order of the text.

    Docstrings, annotations, decorators, dtypes, tables and machine code (`@primitive` and what takes a
    `builder`: it only runs compiled, against the same tests) are left alone. A deleted assignment is one to
    `pass`.
    """
    tree = ast.parse(source)
    named: Counter[str] = Counter()
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
        if _is_machine_code(function):
            continue
        for path, node in _walk(function):
            for changed in _changes(node):
                mutant = _mutant(tree, function, path, node, changed)
                named[mutant.name] += 1
                yield mutant._replace(again=named[mutant.name])


def _is_machine_code(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and (
        any(argument.arg == "builder" for argument in node.args.args)
        or any("primitive" in ast.dump(decorator) for decorator in node.decorator_list)
    )


Step = tuple[str, int | None]


def _walk(function: ast.FunctionDef) -> Iterator[tuple[tuple[Step, ...], ast.AST]]:
    """Nodes of a body with the way to them from the function; no docstring, no annotation."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    for k, statement in enumerate(function.body):
        if not (documented and k == 0):
            yield from _below(statement, (("body", k),))


def _below(node: ast.AST, path: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], ast.AST]]:
    if _is_machine_code(node):
        return
    yield path, node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        if isinstance(value, ast.AST):
            yield from _below(value, (*path, (name, None)))
        elif isinstance(value, list):
            for k, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _below(item, (*path, (name, k)))


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Wrong versions of one node."""
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            if type(operator) in _COMPARE:
                other = copy.deepcopy(node)
                other.ops[k] = _COMPARE[type(operator)]()
                yield other
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        other2 = copy.deepcopy(node)
        other2.op = _ARITHMETIC[type(node.op)]()
        yield other2
    elif isinstance(node, ast.BoolOp):
        other3 = copy.deepcopy(node)
        other3.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield other3
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _EXTREMES:
        other4 = copy.deepcopy(node)
        assert isinstance(other4.func, ast.Name)
        other4.func.id = _EXTREMES[node.func.id]
        yield other4
    if isinstance(node, ast.Assign | ast.AugAssign):
        yield ast.Pass()


def _mutant(
    tree: ast.Module, function: ast.FunctionDef, path: tuple[Step, ...], node: ast.AST, changed: ast.AST
) -> Mutant:
    whole = copy.deepcopy(tree)
    parent: ast.AST = whole.body[tree.body.index(function)]
    statement = parent
    for name, k in path[:-1]:
        below = getattr(parent, name)
        parent = below if k is None else below[k]
        statement = parent if isinstance(parent, ast.stmt) else statement
    name, k = path[-1]
    before = _first_line(node if isinstance(node, ast.stmt) else statement)
    if k is None:
        setattr(parent, name, changed)
    else:
        getattr(parent, name)[k] = changed
    after = _first_line(changed if isinstance(changed, ast.stmt) else statement)
    first, last = _lines(node if isinstance(node, ast.stmt) else statement)
    body = function.body[0].lineno, function.end_lineno or 0
    text = ast.unparse(ast.fix_missing_locations(whole))
    return Mutant(function.name, body, first, last, before, after, text)


def _lines(statement: ast.AST) -> tuple[int, int]:
    """First and last line of a statement, or of the head of a compound one."""
    assert isinstance(statement, ast.stmt)
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if isinstance(body, list) else statement.end_lineno
    return statement.lineno, max(statement.lineno, last or 0)


def _first_line(statement: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(statement)).partition("\n")[0]
