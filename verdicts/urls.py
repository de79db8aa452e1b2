"""Addresses of PLAN, LEAD and the proof of one pull request. Mounted at the root."""

from django.urls import path

from verdicts import views, views_lead, views_trail

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
    path("escalations/", views_lead.list_escalations, name="escalations"),
    path("escalations/<int:pk>/", views_lead.show_escalation, name="escalation"),
    path("escalations/<int:pk>/decide/", views_lead.decide_escalation, name="decide"),
    path(f"audit/{PR}", views_trail.show_separation, name="separation"),
    path("audit/exports/", views_trail.list_exports, name="exports"),
    path("audit/exports/make/", views_trail.make_export, name="export"),
]
