"""A stand-in for GitHub: a real HTTP server on loopback with real git behind it, and the state of github.com in between.

    with GitHub(tmp_path / "github") as github:
        boss = github.create_user("boss")
        github.create_organization("acme", owners=(boss,))            # administrators of everything in it
        repo = github.create_repository("acme/widgets", seed={"README.md": "hello\\n"})  # private, default branch main
        repo.add(github.create_user("dev"), "push")                    # pull, triage, push, maintain or admin

        gate = github.create_app("leo-gate", {"checks": "write", "pull_requests": "read"}, events=["pull_request"],
                                 webhook_url="http://127.0.0.1:8000/webhooks/github", webhook_secret="s3cret")
        installation = github.install(gate, repo)                      # or on=account: all its repositories

        Github(auth=Auth.AppInstallationAuth(Auth.AppAuth(gate.id, gate.private_key()), installation.id),
               base_url=github.api, seconds_between_requests=None, seconds_between_writes=None)   # PyGithub, unchanged
        subprocess.run(["git", "clone", repo.url_with(installation.token()), ...])              # git, unchanged

Leaving the ``with`` fails when any request or answer broke GitHub's OpenAPI description, any event GitHub's schemas
(`github.contract.violations`; `with github.contract.ignoring_requests():` where a test sends nonsense on purpose), or when
the stand-in itself crashed. `tests/github/conftest.py` has it as the fixture ``github``. What is assumed and not described: docs/github-stand-in.md.

Addresses: `github.url` (git at ``/OWNER/NAME.git``, identities at ``/oidc``, App manifests posted to ``/settings/apps/new``),
`github.api` (``…/api/v3``).
Tokens: `user.token()` (classic), `user.token(permissions={"checks": "read"})` (fine-grained), `installation.token()`,
`run.token(contents="read")` (the GITHUB_TOKEN of a run); `github.expire_tokens(app)`, `github.clock.advance(3600)`.
Each call is checked: 401, 403 "Resource not accessible by integration", 404 for what one may not see.

Git and people: `repo.commit({"a.txt": "new", "b.txt": None}, branch="feature/x", by=dev)` (past every rule), `repo.sha("main")`,
`repo.move(ref, sha)`, `repo.delete_branch("x")`, `repo.open_pull("feature/x", by=dev)` then `pull.comment(…)`, `.edit(by, base=…)`,
`.label(…)`, `.review("APPROVED", by)`, `.close(by)`, `.mergeable` (no conflict **and** every rule met), `.mergeable_state`,
`.obstacles()`. `github.create_team(organization, "leads", dev)`, `github.fork(repo, user)`, `github.rename(repo, "new", by)`, `github.transfer(repo, account, by)`.
Everything a repository holds is in lists: `repo.pulls[number]`, `.check_runs`, `.statuses`, `.comments`, `.labels`, `.events`,
`.rulesets`, `.rule_suites`, `.runs`, `.groups`, `.secrets`, `.environments`, `.token_permissions`.

Rules: `repo.require("Gate 3", app=gate, strict=True)` adds a ruleset with that required check, pinned to the App; anything else
by the API as an administrator. Queue: a ``merge_queue`` rule, then `repo.enqueue(pull1, pull2, by=boss)` (`together=True`: one group).
Checks: `check_run.press("verify", by)`, `.rerequest(by)`.

Workflows are those of ``.github/workflows`` in the repository; push, pull_request, merge_group and dispatches start runs
(queued). A test drives them: `repo.runs[-1].start().finish("success", jobs={"build": "failure"})`, `.rerun()`, `.cancel()`,
`.id_token("audience")`. `github.runs_are_hidden = True`: dispatched runs appear only with `github.show_runs()`.

Webhooks are sent by one thread as they come: `github.deliveries.settle()` waits for it. `.hold()`, then `.pending`,
`.release(order, copies=2)`, `.discard()`, `.resume()`; `.drop(lambda one: one.event == "push")` until `.deliver_all()`;
`.redeliver(one)`; `.named("push")`; `.log` has all. A failed one is not sent again. `github.add_hook(repo, url, secret=…)`: a repository's own.

Trouble: `github.chaos.plant(502, method="POST", path="/check-runs", times=2)`, kind ``"reset"`` or ``"slow"`` (seconds=…),
`after=True`: the effect happens, the answer is lost; `github.chaos.outage()` … `.end()`. `github.limits.use_up(actor)`
with `github.actor(token)`, `github.limits.start_secondary(30, status=429)`.
`github.before_request(lambda request: …)` runs before each request (``.method``, ``.path``, ``.number``) and may move a head.
`github.requests`: what was asked (method, path without /api/v3, query, actor, body, status).
`github.mergeability_is_late = True`: the first look at a pull request says ``mergeable: null``.
`github.queue_names_group = True`: of several pull requests in one group each is said to be merged as the group's commit, not as its own.
`github.bare_checks_count = False`: a check whose commit is the tip of no branch here (a fork's) satisfies nothing, a status does.
`github.wait(lambda: …)`: until something holds.
"""

from __future__ import annotations

from tests.support.github.world import GitHub

__all__ = ["GitHub"]
