"""The trail at many sizes: filling, packs, and what Django needs before the rest is imported."""

import django

django.setup()
