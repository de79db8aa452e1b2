"""The four workflows of a governed repository, and the gate that each one's run is evidence for. Pure."""

from __future__ import annotations

from typing import Final

FOLDER: Final = ".github/workflows"
# Path of each workflow, and the gate that its run is evidence for; the last one uploads sub-agents' reports.
WORKFLOWS: Final = {
    f"{FOLDER}/leo-story.yml": "story-release",
    f"{FOLDER}/leo-slsa.yml": "slsa",
    f"{FOLDER}/leo-policy.yml": "policy-bundle",
    f"{FOLDER}/leo-agents.yml": "",
}
