"""Errors at every call site of some modules: each call in a function's body goes through a gate that can raise."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any

GATE = "_leo_call_site"


class InjectedError(Exception):
    """What a call site raises."""


class Sites:
    """The call sites of modules, by number: `where` says which, `hits` how often each was passed in this run."""

    def __init__(self) -> None:
        self.where: list[str] = []
        self.hits: dict[int, int] = {}
        self.armed: tuple[int, int] | None = None

    def pass_by(self, site: int, function: Any) -> Any:
        self.hits[site] = self.hits.get(site, 0) + 1
        if self.armed == (site, self.hits[site]):
            raise InjectedError(self.where[site])
        return function

    @contextmanager
    def run(self, armed: tuple[int, int] | None = None) -> Iterator[None]:
        """One run, with an error at one passage of one site."""
        self.hits, self.armed = {}, armed
        yield
        self.armed = None


class _Gated(ast.NodeTransformer):
    def __init__(self, sites: Sites, module: str) -> None:
        self.sites, self.module, self.depth = sites, module, 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.depth += 1
        node.body = [self.visit(statement) for statement in node.body]
        self.depth -= 1
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        said = f"{self.module}:{node.lineno} {ast.unparse(node.func)}"
        self.generic_visit(node)
        if not self.depth:
            return node
        number = ast.Constant(len(self.sites.where))
        self.sites.where.append(said)
        gate = ast.Call(ast.Name(GATE, ast.Load()), [number, node.func], [])
        return ast.copy_location(ast.Call(gate, node.args, node.keywords), node)


@contextmanager
def faulty(*modules: ModuleType) -> Iterator[Sites]:
    """Every function of these modules with gated calls, for the time inside."""
    sites, before = Sites(), list[tuple[FunctionType, CodeType]]()
    setattr(builtins, GATE, sites.pass_by)
    try:
        for module in modules:
            name = module.__name__.rpartition(".")[2]
            tree = ast.fix_missing_locations(_Gated(sites, name).visit(ast.parse(inspect.getsource(module))))
            codes = dict(_codes(compile(tree, str(module.__file__), "exec")))
            for function in _functions(module):
                if (code := codes.get(function.__qualname__)) is not None:
                    before.append((function, function.__code__))
                    function.__code__ = code
        yield sites
    finally:
        for function, code in before:
            function.__code__ = code
        delattr(builtins, GATE)


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in vars(module).values():
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield _innermost(value)
        if isinstance(value, type) and value.__module__ == module.__name__:
            for member in vars(value).values():
                found = member.fget if isinstance(member, property) else member
                if isinstance(found, FunctionType):
                    yield found


def _innermost(function: Callable[..., Any]) -> FunctionType:
    """What decorators wrap."""
    found = inspect.unwrap(function)
    assert isinstance(found, FunctionType)
    return found
