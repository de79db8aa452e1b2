"""The wire format of Sigstore bundles, closed: a field of nobody, or one spelt another way, is refused.

Source: Sigstore protobuf-specs, bundle v0.1 to v0.3, as protobuf's JSON with its lowerCamelCase names.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_BUNDLE_BYTES: Final = 4 << 20


def _refuse_other_spellings(text: str) -> str:
    """Bits that nobody reads could be changed without notice."""
    try:
        is_canonical = base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except binascii.Error:
        is_canonical = False
    if not is_canonical:
        raise ValueError("expected canonical base64")
    return text


type Text = Annotated[str, Field(min_length=1, max_length=MAX_BUNDLE_BYTES)]
type Base64 = Annotated[Text, AfterValidator(_refuse_other_spellings)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Raw(_Wire):
    """DER bytes in base64."""

    raw_bytes: Text = Field(alias="rawBytes")


class Chain(_Wire):
    """Certificates, the leaf first."""

    certificates: Annotated[list[Raw], Field(min_length=1, max_length=10)]


class LogId(_Wire):
    """Which log; a hint."""

    key_id: Base64 = Field(alias="keyId")


class Kind(_Wire):
    """What an entry is."""

    kind: Text
    version: Text


class Promise(_Wire):
    """The log's signed promise to take an entry."""

    signed_entry_timestamp: Base64 = Field(alias="signedEntryTimestamp")


class Checkpoint(_Wire):
    """The log's signed tree head."""

    envelope: Text


class Proof(_Wire):
    """That an entry is in the tree of a checkpoint."""

    log_index: str = Field("0", alias="logIndex")
    root_hash: Base64 = Field(alias="rootHash")
    tree_size: Text = Field(alias="treeSize")
    hashes: Annotated[list[Base64], Field(max_length=64)] = []
    checkpoint: Checkpoint | None = None


class Entry(_Wire):
    """One entry of a transparency log."""

    log_index: str = Field("0", alias="logIndex")
    log_id: LogId = Field(alias="logId")
    kind_version: Kind = Field(alias="kindVersion")
    integrated_time: str = Field("0", alias="integratedTime")
    inclusion_promise: Promise | None = Field(None, alias="inclusionPromise")
    inclusion_proof: Proof | None = Field(None, alias="inclusionProof")
    canonicalized_body: Base64 = Field(alias="canonicalizedBody")


class Timestamp(_Wire):
    """One RFC 3161 response."""

    signed_timestamp: Text = Field(alias="signedTimestamp")


class Timestamps(_Wire):
    """All of them."""

    rfc3161_timestamps: list[Timestamp] = Field(default_factory=list, alias="rfc3161Timestamps")


class Material(_Wire):
    """What a signature is checked with."""

    certificate: Raw | None = None
    chain: Chain | None = Field(None, alias="x509CertificateChain")
    public_key: dict[str, str] | None = Field(None, alias="publicKey")
    tlog_entries: Annotated[list[Entry], Field(max_length=32)] = Field(default_factory=list, alias="tlogEntries")
    timestamps: Timestamps | None = Field(None, alias="timestampVerificationData")


class Digest(_Wire):
    """What the signer says the artifact hashes to."""

    algorithm: Text
    digest: Text


class Message(_Wire):
    """A signature over an artifact."""

    message_digest: Digest | None = Field(None, alias="messageDigest")
    signature: Text


class Signature(_Wire):
    """An envelope's signature."""

    sig: Text
    keyid: str = ""


class DsseEnvelope(_Wire):
    """A DSSE envelope; one signature exactly."""

    payload: str
    payload_type: Text = Field(alias="payloadType")
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=1)]


class BundleWire(_Wire):
    """A bundle of any version."""

    media_type: Text = Field(alias="mediaType")
    material: Material = Field(alias="verificationMaterial")
    message: Message | None = Field(None, alias="messageSignature")
    envelope: DsseEnvelope | None = Field(None, alias="dsseEnvelope")
