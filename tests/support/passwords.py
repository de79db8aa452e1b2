"""Passwords of tests: the product's hasher with one iteration. The real one takes half a second for each person made."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """Django's first hasher, quick."""

    iterations = 1
