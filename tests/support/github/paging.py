"""Lists in pages with Link headers, and the redirects of repositories that are called something else now."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from tests.support.github.exchange import API, Answer, Call, Incoming, Page, not_found

if TYPE_CHECKING:
    from tests.support.github.accounts import Actor
    from tests.support.github.repositories import Repository


def redirect(incoming: Incoming, actor: Actor, repository: Repository, params: dict[str, str]) -> Answer:
    """Renamed or transferred: 301 for reading, 307 for everything else, to the address by number."""
    if not actor.sees(repository):
        raise not_found()
    rest = incoming.path.removeprefix(API).split("/", 4)[4:]
    location = f"{repository.github.api}/repositories/{repository.id}" + (f"/{rest[0]}" if rest else "")
    if incoming.query:
        location += f"?{incoming.query}"
    status, text = (301, "Moved Permanently") if incoming.method in {"GET", "HEAD"} else (307, "Temporary Redirect")
    body = {
        "message": text,
        "url": location,
        "documentation_url": "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects",
    }
    return Answer(status, body, {"Location": location})


def paginated(call: Call, page: Page) -> Answer:
    """Shape: per_page 30 unless asked for, never more than 100."""
    asked = call.query
    size = min(max(int(asked.get("per_page") or 30), 1), 100) if asked.get("per_page", "30").isdigit() else 30
    number = max(int(asked.get("page") or 1), 1) if asked.get("page", "1").isdigit() else 1
    last = max((len(page.items) + size - 1) // size, 1)
    shown = [page.show(one) for one in page.items[(number - 1) * size : number * size]]
    links = {}
    if number > 1:
        links |= {"prev": number - 1, "first": 1}
    if number < last:
        links |= {"next": number + 1, "last": last}
    address = f"{call.github.url}{call.incoming.path}"
    others = [pair for pair in parse_qsl(call.incoming.query, keep_blank_values=True) if pair[0] != "page"]
    header = ", ".join(
        f'<{address}?{urlencode([*others, ("page", str(to))])}>; rel="{name}"' for name, to in links.items()
    )
    body = {"total_count": len(page.items), page.key: shown} | page.more if page.key else shown
    return Answer(200, body, {"Link": header} if header else {})
