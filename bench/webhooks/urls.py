"""The portal's addresses and the two others."""

from django.urls import path

from bench.webhooks import views
from leoportal.urls import urlpatterns as portal

urlpatterns = [path("bench/message/", views.with_message), path("bench/orm/", views.with_orm), *portal]
