"""OSCAL assessment results of a real pull request, held to what the model requires (NIST OSCAL 1.1.2, JSON outline)."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from tests.web.scene import Scene, make_scene
from verdicts.models import Verdict

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[45][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
TEXT = re.compile(r"\S(.*\S)?", re.DOTALL)
# Each assembly: its members, `!` where the model requires one. A tuple is a list of at least one.
PROP = {"name!": TOKEN, "value!": TEXT, "ns": TEXT}
STATUS = {"state!": re.compile("satisfied|not-satisfied"), "reason": TOKEN}
TARGET = {"type!": re.compile("statement-id|objective-id"), "target-id!": TOKEN, "status!": STATUS}
FINDING = {"uuid!": UUID, "title!": TEXT, "description!": TEXT, "target!": TARGET, "related-observations": ({"observation-uuid!": UUID},)}  # fmt: skip
OBSERVATION = {
    "uuid!": UUID, "title": TEXT, "description!": TEXT, "methods!": (re.compile("EXAMINE|INTERVIEW|TEST|UNKNOWN"),),
    "types": (TOKEN,), "collected!": datetime, "props": (PROP,), "relevant-evidence": ({"description!": TEXT},),
}  # fmt: skip
CONTROLS = {"control-selections!": ({"include-controls": ({"control-id!": TOKEN},)},)}
RESULT = {
    "uuid!": UUID, "title!": TEXT, "description!": TEXT, "start!": datetime, "end": datetime,
    "reviewed-controls!": CONTROLS, "observations": (OBSERVATION,), "findings": (FINDING,),
}  # fmt: skip
METADATA = {"title!": TEXT, "last-modified!": datetime, "version!": TEXT, "oscal-version!": TEXT, "props": (PROP,)}
MODEL = {
    "assessment-results!": {
        "uuid!": UUID, "metadata!": METADATA, "import-ap!": {"href!": TEXT}, "results!": (RESULT,),
        "back-matter": {"resources": ({"uuid!": UUID, "title": TEXT, "description": TEXT},)},
    }
}  # fmt: skip


def misfits(value: Any, model: Any, where: str = "") -> list[str]:
    """What the model does not allow: a member missing, one it does not have, a value of another form."""
    if isinstance(model, dict):
        names = {name.rstrip("!"): part for name, part in model.items()}
        missing = [f"{where}/{name[:-1]} is missing" for name in model if name[-1] == "!" and name[:-1] not in value]
        unknown = [f"{where}/{name} is not in the model" for name in value.keys() - names.keys()]
        return (
            missing
            + unknown
            + [m for n in value.keys() & names.keys() for m in misfits(value[n], names[n], f"{where}/{n}")]
        )
    if isinstance(model, tuple):
        if not isinstance(value, list) or not value:
            return [f"{where} is no list of at least one"]
        return [m for number, item in enumerate(value) for m in misfits(item, model[0], f"{where}/{number}")]
    if model is datetime:
        return [] if datetime.fromisoformat(value).tzinfo else [f"{where} has no time zone"]
    return [] if model.fullmatch(value) else [f"{where} is {value!r}"]


@pytest.fixture
def scene(db, settings, tmp_path) -> Scene:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    return make_scene(tmp_path)


def test_a_role_separation_proof_as_oscal_has_what_the_model_requires(scene: Scene):
    pull = scene.escalated()
    address, client = f"/audit/prs/acme/payments/{pull.number}/proof/", scene.client("auditor")
    answer = client.post(address, {"file_format": "oscal"})
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"] == f'attachment; filename="PR-{pull.number}-role-separation.oscal.json"'
    document = json.loads(answer.content)
    assert misfits(document, MODEL) == []
    (result,) = document["assessment-results"]["results"]
    seen = [observation["uuid"] for observation in result["observations"]]
    (finding,) = result["findings"]
    assert [one["observation-uuid"] for one in finding["related-observations"]] == seen
    assert len(set(seen)) == len(seen) == 16
    assert finding["target"]["status"] == {"state": "satisfied", "reason": "pass"}
    plan = document["assessment-results"]["back-matter"]["resources"][0]["uuid"]
    assert document["assessment-results"]["import-ap"]["href"] == f"#{plan}"


def test_the_model_of_this_test_bites(scene: Scene):
    address = f"/audit/prs/acme/payments/{scene.escalated().number}/proof/"
    document = json.loads(scene.client("auditor").post(address, {"file_format": "oscal"}).content)
    (result,) = document["assessment-results"]["results"]
    del result["reviewed-controls"]
    result["observations"][0]["methods"] = []
    result["findings"][0]["target"]["status"]["state"] = "ok"
    assert len(misfits(document, MODEL)) == 3


def test_what_is_not_separated_does_not_satisfy(scene: Scene, monkeypatch):
    pull = scene.escalated()
    assert Verdict.objects.filter(pull_request=pull).exists()
    monkeypatch.setattr("verdicts.duty_rules.conflicts", lambda parts, _registry: [(parts[0], parts[-1])])
    answer = scene.client("auditor").post(f"/audit/prs/acme/payments/{pull.number}/proof/", {"file_format": "oscal"})
    (result,) = json.loads(answer.content)["assessment-results"]["results"]
    assert result["findings"][0]["target"]["status"] == {"state": "not-satisfied", "reason": "fail"}
