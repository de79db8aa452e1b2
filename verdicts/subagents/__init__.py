"""The five built-in sub-agents: real analysers over the changed files, never running the code they judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from verdicts.findings import AgentKind, AgentResult
from verdicts.subagents import database, design, performance, security, testing
from verdicts.subagents.change import Change


@dataclass(frozen=True, slots=True)
class SubAgent:
    """One sub-agent: whether it applies to some paths (empty, or why not), and its judgement of a change."""

    kind: AgentKind
    applies: Callable[[Sequence[str]], str]
    analyse: Callable[[Change, Path], AgentResult]


AGENTS: Final[Mapping[AgentKind, SubAgent]] = MappingProxyType(
    {
        module.KIND: SubAgent(module.KIND, module.applies, module.analyse)
        for module in (security, database, testing, performance, design)
    }
)
