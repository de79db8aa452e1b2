"""The log for those who check it from outside: its newest checkpoint and its tiles. C2SP tlog-tiles.

Checkpoint and hashes are for anybody: what others keep cannot be taken back. Entries are for who may see the trail.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse

from audit.accountability import Act
from audit.covering import log_state
from audit.models import LogAnchor
from audit.sequencing import read_tile
from audit.tiles import Tile, TileError, parse_tile
from leoportal.web import Request, open_to_all, page

FOR_EVER = "public, max-age=31536000, immutable"


@open_to_all
def checkpoint(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint, with what witnesses signed under it."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    newest = log_state().newest
    if newest is None:
        raise Http404("The log has no signed checkpoint yet; the signer makes one within a second of the first entry.")
    lines = "".join(newest.cosignatures.order_by("pk").values_list("line", flat=True))
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(bytes(newest.note) + lines.encode(), "text/plain; charset=utf-8", headers=headers)


@open_to_all
def anchored(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint that is anchored in Rekor: the bytes that its bundle is about."""
    return _anchored(request, "text/plain; charset=utf-8", lambda found: bytes(found.checkpoint.note))


@open_to_all
def anchor_bundle(request: HttpRequest) -> HttpResponse:
    """Its Sigstore bundle: certificate, signature, entry and proof of inclusion."""
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return _anchored(request, kind, lambda found: found.bundle.encode())


def _anchored(request: HttpRequest, kind: str, of: Callable[[LogAnchor], bytes]) -> HttpResponse:
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    newest = LogAnchor.objects.select_related("checkpoint").order_by("-pk").first()
    if newest is None:
        raise Http404("No checkpoint of this log is anchored in Rekor; the setting LOG_REKOR says whether they are.")
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(of(newest), kind, headers=headers)


@open_to_all
def hash_tile(request: HttpRequest, path: str) -> HttpResponse:
    """Hashes of the tree: a full tile, or as much of one as a signed checkpoint covers."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    return _serve(f"tile/{path}", FOR_EVER)


@page(Act.VIEW_TRAIL, "GET")
def entry_bundle(_request: Request, path: str) -> HttpResponse:
    """The leaves below a tile, each with its length before it."""
    return _serve(f"tile/entries/{path}", "private, no-store")


def _serve(path: str, caching: str) -> HttpResponse:
    try:
        tile = parse_tile(path)
        raw = read_tile(_covered(tile))
    except TileError as error:
        raise Http404(error.detail) from None
    return HttpResponse(
        raw, "application/octet-stream", headers={"Cache-Control": caching, "X-Content-Type-Options": "nosniff"}
    )


def _covered(tile: Tile) -> Tile:
    newest = log_state().newest
    size = newest.size if newest else 0
    if tile.last_leaf > size:
        raise TileError("tile.missing", f"{tile.path} is not in the signed tree of {size} leaves")
    return tile
