"""The wire formats of attestations: DSSE envelope, in-toto Statement v1, SLSA provenance v0.2 and v1.

Statements and predicates are closed: a field of another version, or of nobody, is refused. What DSSE's authors or a
producer add to an envelope is passed over, as DSSE asks for: nothing of it is signed, and nothing is read.
Source: in-toto Statement v1 and ResourceDescriptor v1; SLSA provenance v0.2 and v1; DSSE v1.0.2.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic import JsonValue as PydanticJson

type DigestSet = dict[str, str]
type Text = Annotated[str, Field(min_length=1, max_length=4000)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Signature(_Wire):
    """One signature of an envelope, not verified here."""

    model_config = ConfigDict(extra="ignore")

    keyid: str = ""
    sig: Text


class Envelope(_Wire):
    """A DSSE envelope around a statement."""

    model_config = ConfigDict(extra="ignore")

    payload: str
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=16)]


class ResourceDescriptor(_Wire):
    """Something that is named, and by what digests. Source: in-toto ResourceDescriptor v1."""

    name: str = ""
    uri: str = ""
    digest: DigestSet = Field(default_factory=dict)
    content: str = ""
    download_location: str = Field("", alias="downloadLocation")
    media_type: str = Field("", alias="mediaType")
    annotations: dict[str, PydanticJson] = Field(default_factory=dict)


class Builder(_Wire):
    """Who built. `builder_dependencies` and `version` exist in v1 only."""

    id: Text
    version: dict[str, str] = Field(default_factory=dict)
    builder_dependencies: list[ResourceDescriptor] = Field(default_factory=list, alias="builderDependencies")


class BuilderV02(_Wire):
    """Who built, as v0.2 says it."""

    id: Text


class BuildDefinition(_Wire):
    """What was to be built."""

    build_type: Text = Field(alias="buildType")
    external_parameters: dict[str, PydanticJson] = Field(alias="externalParameters")
    internal_parameters: dict[str, PydanticJson] = Field(default_factory=dict, alias="internalParameters")
    resolved_dependencies: list[ResourceDescriptor] = Field(default_factory=list, alias="resolvedDependencies")


class BuildMetadata(_Wire):
    """Which run it was."""

    invocation_id: str = Field("", alias="invocationId")
    started_on: str = Field("", alias="startedOn")
    finished_on: str = Field("", alias="finishedOn")


class RunDetails(_Wire):
    """Who ran the build, and when."""

    builder: Builder
    metadata: BuildMetadata | None = None
    byproducts: list[ResourceDescriptor] = Field(default_factory=list)


class ProvenanceV1(_Wire):
    """The predicate https://slsa.dev/provenance/v1."""

    build_definition: BuildDefinition = Field(alias="buildDefinition")
    run_details: RunDetails = Field(alias="runDetails")


class ConfigSource(_Wire):
    """Where the build's configuration came from."""

    uri: str = ""
    digest: DigestSet = Field(default_factory=dict)
    entry_point: str = Field("", alias="entryPoint")


class Invocation(_Wire):
    """How the build was started."""

    config_source: ConfigSource = Field(default_factory=ConfigSource, alias="configSource")
    parameters: PydanticJson = None
    environment: PydanticJson = None


class Material(_Wire):
    """One input of the build."""

    uri: Text
    digest: DigestSet = Field(default_factory=dict)


class ProvenanceV02(_Wire):
    """The predicate https://slsa.dev/provenance/v0.2."""

    builder: BuilderV02
    build_type: Text = Field(alias="buildType")
    invocation: Invocation | None = None
    build_config: PydanticJson = Field(None, alias="buildConfig")
    metadata: dict[str, PydanticJson] | None = None
    materials: list[Material] = Field(default_factory=list)


class Subject(_Wire):
    """What a statement is about: a resource descriptor with a name and at least one digest."""

    name: Text
    digest: Annotated[DigestSet, Field(min_length=1)]
    uri: str = ""
    content: str = ""
    download_location: str = Field("", alias="downloadLocation")
    media_type: str = Field("", alias="mediaType")
    annotations: dict[str, PydanticJson] = Field(default_factory=dict)


class RawStatement(_Wire):
    """A statement whose predicate has not been looked at."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[Subject], Field(min_length=1, max_length=1000)]
    predicate_type: Text = Field(alias="predicateType")
    predicate: dict[str, PydanticJson]


class AnySubject(Subject):
    """A subject as in-toto allows it: the name may be missing."""

    name: str = ""


class AnyStatement(_Wire):
    """A statement of others: subjects without names are allowed, other versions and unknown fields are not."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[AnySubject], Field(min_length=1, max_length=1000)]
    predicate_type: Text = Field(alias="predicateType")
    predicate: dict[str, PydanticJson]
