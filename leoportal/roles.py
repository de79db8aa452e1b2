"""Sign-in and permissions: Django's `has_perm` answers from the accountability matrix, and from nowhere else."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import Exists, Model, OuterRef, Subquery
from django.http import HttpRequest

from audit.accountability import Act, may
from audit.covering import open_alarms
from audit.events import Role
from audit.models import RoleGrant


class RoleBackend(BaseBackend):
    """Permission names are the acts of `audit.accountability`; superusers get nothing for free."""

    def has_perm(self, user_obj: AbstractBaseUser | AnonymousUser, perm: str, obj: Model | None = None) -> bool:  # noqa: ARG002 - Django's signature
        """Whether the user's one role may do `perm`."""
        if not user_obj.is_active or user_obj.is_anonymous or perm not in set(Act):
            return False
        grant = RoleGrant.objects.current().filter(principal__user_id=user_obj.pk).first()
        return grant is not None and may(Role(grant.role), Act(perm))


class SignInBackend(AuthenticationBackend):  # type: ignore[misc]
    """allauth's sign-in; with the user come who it is, its role and whether the log has an alarm, in one query."""

    def get_user(self, user_id: int) -> User | None:
        """The signed-in user with its principal and role, or None for one that may not sign in any more."""
        role = RoleGrant.objects.current().filter(principal__user_id=OuterRef("pk")).values("role")[:1]
        known = User.objects.select_related("principal").annotate(role=Subquery(role), has_alarm=Exists(open_alarms()))
        user = known.filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None


class ClosedSignup(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up: an operator creates people, with their one role."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - allauth's signature
        """Always closed."""
        return False
