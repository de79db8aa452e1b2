"""`python -m leoportal.demo`: one real commit through the lanes, on a portal that is already running."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")
    execute_from_command_line(["manage.py", "demo", *sys.argv[1:]])
