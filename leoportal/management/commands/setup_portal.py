"""`manage.py setup_portal`: the portal's own identities, a signing key and a policy."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from leoportal import setup


class Command(BaseCommand):
    """The portal's own identities, a signing key and a policy."""

    help = "Make the portal's own identities, a signing key (RSA-4096, 30 days) and a policy. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who answers for the portal's machines."""
        parser.add_argument("--enforcer-operator", required=True, help="the person who answers for the enforcer lane")
        parser.add_argument(
            "--verifier-operator", required=True, help="the person who answers for built-in verification"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Set up what is missing."""
        setup.ensure_lanes(options["enforcer_operator"], options["verifier_operator"])
        key = setup.ensure_key(bits=settings.RSA_KEY_BITS)
        policy = setup.ensure_policy(())
        self.stdout.write(f"signing key {key.fingerprint} until {key.expires_at:%Y-%m-%d}, policy v{policy.number}")
