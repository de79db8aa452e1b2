"""Every endpoint: importing this module declares them all."""

from __future__ import annotations

from tests.support.github import (
    api_actions,
    api_apps,
    api_checks,
    api_comments,
    api_commits,
    api_git,
    api_hooks,
    api_issues,
    api_merging,
    api_people,
    api_protection,
    api_pulls,
    api_refs,
    api_repositories,
    api_reviews,
    api_rulesets,
    api_runs,
    api_statuses,
)

LOADED = (
    api_actions, api_apps, api_checks, api_comments, api_commits, api_git, api_hooks, api_issues, api_merging, api_people, api_protection,
    api_pulls, api_refs, api_repositories, api_reviews, api_rulesets, api_runs, api_statuses,
)  # fmt: skip
