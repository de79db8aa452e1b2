"""Addresses of handoffs and of what a handoff's bundle holds."""

from django.urls import path

from handoffs import views

app_name = "handoffs"

urlpatterns = [
    path("", views.list_handoffs, name="list"),
    path("<int:pk>/", views.show_handoff, name="handoff"),
    path("<int:pk>/artifact.tar.gz", views.download_artifact, name="artifact"),
    path("<int:pk>/artifact.tar.gz.asc", views.download_signature, name="signature"),
    path("<int:pk>/public-key.asc", views.download_key, name="key"),
    path("<int:pk>/artifact.sigstore.json", views.download_bundle, {"what": "artifact"}, name="artifact-bundle"),
    path("<int:pk>/statement.sigstore.json", views.download_bundle, {"what": "statement"}, name="statement-bundle"),
    path("<int:pk>/acknowledge/", views.acknowledge, name="acknowledge"),
    path("<int:pk>/statement.dsse.json", views.download_statement, name="statement"),
]
