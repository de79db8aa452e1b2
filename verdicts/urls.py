"""Addresses of PLAN, LEAD and the proof of one pull request. Mounted at the root."""

from django.urls import path

from verdicts import (
    views,
    views_break_glass,
    views_exports,
    views_keys,
    views_lead,
    views_repositories,
    views_trail,
)

app_name = "verdicts"
PR = "prs/<str:owner>/<str:repo>/<int:number>/"

urlpatterns = [
    path("turn/", views.show_turn, name="turn"),
    path("prs/", views.list_pulls, name="pulls"),
    path(PR, views.show_pull, name="pull"),
    path(f"{PR}verdict/", views.give_verdict, name="verdict"),
    path(f"{PR}verify/", views.verify_pull, name="verify"),
    path(f"{PR}merge/", views.merge_pull, name="merge"),
    path(f"{PR}diff/", views.show_diff, name="diff"),
    path(f"{PR}history/", views.show_history, name="history"),
    path(f"{PR}verdicts/<int:pk>/statement.dsse.json", views_trail.download_verdict, name="verdict_statement"),
    path(f"{PR}decisions/<int:pk>/statement.dsse.json", views_trail.download_decision, name="decision_statement"),
    path(f"{PR}break-glass/", views_break_glass.ask, name="ask_break_glass"),
    path("break-glass/", views_break_glass.list_break_glass, name="break_glass"),
    path("break-glass/<int:pk>/open/", views_break_glass.open_glass, name="open_break_glass"),
    path("break-glass/<int:pk>/review/", views_break_glass.review, name="review_break_glass"),
    path("repositories/", views_repositories.list_repositories, name="repositories"),
    path("repositories/apps/", views_repositories.set_up_apps, name="apps"),
    path("repositories/apps/<str:side>/", views_repositories.show_code, name="app_code"),
    path("repositories/<str:owner>/<str:repo>/", views_repositories.show_repository, name="repository"),
    path("keys/", views_keys.list_keys, name="keys"),
    path("keys/rotate/", views_keys.rotate_key, name="rotate_key"),
    path("keys/rotations/<int:pk>/cancel/", views_keys.cancel_key_rotation, name="cancel_rotation"),
    path("keys/rotations/<int:pk>/retry/", views_keys.retry_key_rotation, name="retry_rotation"),
    path("keys/<slug:fingerprint>/public.asc", views_keys.download_public_key, name="public_key"),
    path("keys/<slug:fingerprint>/revocation/", views_keys.ask_to_revoke, name="revoke_key"),
    path("keys/<slug:fingerprint>/revoke/", views_keys.revoke, name="revoke"),
    path("escalations/", views_lead.list_escalations, name="escalations"),
    path("escalations/<int:pk>/", views_lead.show_escalation, name="escalation"),
    path("escalations/<int:pk>/decide/", views_lead.decide_escalation, name="decide"),
    path(f"audit/{PR}", views_trail.show_separation, name="separation"),
    path(f"audit/{PR}proof/", views_trail.make_proof, name="proof"),
    path("audit/exports/", views_exports.list_exports, name="exports"),
    path("audit/exports/make/", views_exports.make_export, name="export"),
    path("audit/exports/packs/", views_exports.make_pack, name="pack"),
    path("audit/exports/<int:pk>/file", views_exports.download_export, name="export_file"),
]
