"""Rows of people and machines: their names, roles, tokens, what they took part in, and what administrators propose.

Nothing here is deleted. A grant, a name or a link ends, and its row says when; triggers refuse everything else.
"""

from __future__ import annotations

import secrets
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q

from audit.commitments import commitment
from audit.events import GRANTED, Role
from audit.identities import KINDS
from audit.separation import Part, Registry

ROLE_CHOICES = [(role.value, role.value.title()) for role in GRANTED]


def never_two(name: str, *same: str) -> ExclusionConstraint:
    """At no moment two rows with the same values of these columns, however many transactions race.

    The range is `[starts_at, ends_at)`; an end that is null is never.
    """
    equal = [(column, RangeOperators.EQUAL) for column in same]
    time = Func(F("starts_at"), F("ends_at"), function="TSTZRANGE", output_field=DateTimeRangeField())
    return ExclusionConstraint(name=name, expressions=[*equal, (time, RangeOperators.OVERLAPS)])


def ends_after_start(name: str) -> models.CheckConstraint:
    """A row that ended did not end before it started."""
    return models.CheckConstraint(name=name, condition=Q(ends_at=None) | Q(ends_at__gt=F("starts_at")))


def named_entry(of: str, *, null: bool = False) -> models.ForeignKey[Any, Any]:
    """The entry of the log that says so: a row whose entry was taken away is noticed (`sequencing.find_lost`)."""
    return models.ForeignKey("audit.LogEntry", models.PROTECT, related_name="+", db_comment=of, null=null)


def in_force_at(size: int) -> Q:
    """Rows that a tree of this size says to hold: begun by one of its leaves, and ended by none of them."""
    is_ended = Q(end_entry__tree_leaf__isnull=False, end_entry__tree_leaf__index__lt=size)
    return Q(log_entry__tree_leaf__index__lt=size) & ~is_ended


def end_is_named(name: str, end: str = "ends_at", entry: str = "end_entry") -> models.CheckConstraint:
    """A row ends with the entry that says so, and not without."""
    is_over = Q(**{f"{end}__isnull": False, f"{entry}__isnull": False})
    return models.CheckConstraint(name=name, condition=is_over | Q(**{end: None, entry: None}))


class Kind(models.TextChoices):
    """What a principal is."""

    HUMAN = "human"
    MACHINE = "machine"


class PrincipalQuerySet(models.QuerySet["Principal"]):
    """Reads of who is who."""

    def registry(self, *, size: int | None = None) -> Registry:
        """Who answers for whom, who is one person and who holds which role: now, or at a tree of `size` leaves.

        One query. Principals are never removed and keep their sponsor: those who came later are in it, too.
        """
        people = self.order_by().values_list("pk", "sponsor_id", models.Value("principal"))
        held = Q(ends_at=None) if size is None else in_force_at(size)
        links = PersonLink.objects.filter(held).order_by().values_list("one_id", "other_id", models.Value("link"))
        grants = RoleGrant.objects.filter(held).order_by().values_list("principal_id", "principal_id", "role")
        sponsors: dict[int, int | None] = {}
        found: set[tuple[int, int]] = set()
        roles: set[Part] = set()
        for one, other, what in people.union(links, grants, all=True):
            match what:
                case "principal":
                    sponsors[one] = other
                case "link":
                    found.add((one, other))
                case role:
                    roles.add(Part(one, Role(role)))
        return Registry(sponsors, frozenset(found), tuple(sorted(roles, key=lambda part: part.principal_id)))


class Principal(models.Model):
    """A person or a machine that can be answerable for an act. A machine keeps its sponsor for ever."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=7, choices=Kind)
    sponsor = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="sponsored", db_comment="who answers for a machine"
    )
    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    salt = models.BinaryField(
        max_length=32,
        null=True,
        default=secrets.token_bytes,
        db_comment="of the commitments to this principal's names; null: erased",
    )
    is_held = models.BooleanField(default=False, db_comment="legal hold: nothing of this principal is erased")
    hold_entry = named_entry("that a legal hold was set, or ended", null=True)
    erase_entry = named_entry("that what is personal was erased", null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PrincipalQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="principal_machine_has_sponsor",
                condition=Q(kind=Kind.HUMAN, sponsor__isnull=True) | Q(kind=Kind.MACHINE, sponsor__isnull=False),
            ),
            models.CheckConstraint(name="principal_kind_known", condition=Q(kind__in=Kind.values)),
            models.CheckConstraint(name="principal_not_its_own_sponsor", condition=~Q(sponsor=F("id"))),
            models.CheckConstraint(name="principal_hold_is_named", condition=Q(is_held=False) | ~Q(hold_entry=None)),
            models.CheckConstraint(
                name="principal_erasure_is_named",
                condition=Q(salt=None, erase_entry__isnull=False) | Q(salt__isnull=False, erase_entry=None),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def commit(self, value: str) -> str:
        """What the log says of a name of this principal. Raises: ValueError once it is erased."""
        return commitment(bytes(self.salt or b""), value)


class IdentityQuerySet(models.QuerySet["Identity"]):
    """Reads of names."""

    def current(self) -> Self:
        """Names that belong to somebody now."""
        return self.filter(ends_at=None)


class Identity(models.Model):
    """A name under which a principal is seen elsewhere, from when until when. One owner at a time."""

    class Kind(models.TextChoices):
        EMAIL = "email"
        BUILDER_ID = "builder_id"
        OPENPGP = "openpgp"
        GITHUB = "github"
        OIDC = "oidc"
        DATABASE = "database"

    class Proof(models.TextChoices):
        """Why it is believed."""

        SET_UP = "set-up"
        ADMINISTRATORS = "administrators"
        SIGNATURE = "signature"

    principal = models.ForeignKey(Principal, models.PROTECT, related_name="identities")
    kind = models.CharField(max_length=10, choices=Kind)
    value = models.CharField(max_length=300, db_comment="canonical: see audit.identities")
    proof = models.CharField(max_length=14, choices=Proof, default=Proof.SET_UP)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    log_entry = named_entry("that it was linked")
    end_entry = named_entry("that it ended", null=True)

    objects = IdentityQuerySet.as_manager()

    class Meta:
        constraints = [
            never_two("identity_one_owner_at_a_time", "kind", "value"),
            ends_after_start("identity_ends_after_start"),
            end_is_named("identity_end_is_named"),
            models.CheckConstraint(name="identity_kind_known", condition=Q(kind__in=KINDS)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class PersonLinkQuerySet(models.QuerySet["PersonLink"]):
    """Reads of links."""

    def current(self) -> Self:
        """Links that hold now."""
        return self.filter(ends_at=None)


class PersonLink(models.Model):
    """Two people of the registry who are one: registered twice, or under two accounts."""

    one = models.ForeignKey(Principal, models.PROTECT, related_name="+", db_comment="the smaller number of the two")
    other = models.ForeignKey(Principal, models.PROTECT, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    log_entry = named_entry("that they are one person")
    end_entry = named_entry("that they are two", null=True)

    objects = PersonLinkQuerySet.as_manager()

    class Meta:
        db_table = "audit_person_link"
        constraints = [
            never_two("personlink_once_at_a_time", "one", "other"),
            ends_after_start("personlink_ends_after_start"),
            end_is_named("personlink_end_is_named"),
            models.CheckConstraint(name="personlink_ordered", condition=Q(one__lt=F("other"))),
        ]

    def __str__(self) -> str:
        return f"{self.one} is {self.other}"


class RoleGrantQuerySet(models.QuerySet["RoleGrant"]):
    """Reads of grants."""

    def current(self) -> Self:
        """Grants that are in force."""
        return self.filter(ends_at=None)


class RoleGrant(models.Model):
    """Static separation: at every moment a principal holds at most one role, so nobody is granted two lanes."""

    principal = models.ForeignKey(Principal, models.PROTECT, related_name="grants")
    role = models.CharField(max_length=10, choices=ROLE_CHOICES)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    log_entry = named_entry("that it was granted")
    end_entry = named_entry("that it ended", null=True)

    objects = RoleGrantQuerySet.as_manager()

    class Meta:
        constraints = [
            never_two("rolegrant_one_at_a_time", "principal"),
            ends_after_start("rolegrant_ends_after_start"),
            end_is_named("rolegrant_end_is_named"),
            models.CheckConstraint(name="rolegrant_role_known", condition=Q(role__in=[r.value for r in GRANTED])),
        ]

    def __str__(self) -> str:
        return f"{self.principal} is {self.role}"


class ApiToken(models.Model):
    """A bearer token of a machine or a command line. Only its SHA-256 is stored."""

    principal = models.ForeignKey(Principal, models.PROTECT, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.BinaryField(max_length=32, unique=True, db_comment="SHA-256 of the token")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    log_entry = named_entry("that it was issued")
    end_entry = named_entry("that it was revoked", null=True)

    class Meta:
        constraints = [end_is_named("apitoken_end_is_named", "revoked_at")]

    def __str__(self) -> str:
        return f"{self.name} of {self.principal}"


class ParticipationQuerySet(models.QuerySet["Participation"]):
    """Reads of who took part."""

    def parts(self, subject: str) -> list[Part]:
        """The parts of one subject, as values for `audit.separation`."""
        rows = self.filter(subject=subject).values_list("principal_id", "duty").order_by("pk")
        return [Part(principal_id, Role(duty)) for principal_id, duty in rows]


class Participation(models.Model):
    """Dynamic separation: one person, one duty per subject, for ever. A trigger looks at who answers for whom."""

    subject = models.CharField(max_length=200, db_comment="the handoff chain, e.g. acme/payments#H-7")
    principal = models.ForeignKey(Principal, models.PROTECT)
    duty = models.CharField(max_length=10, choices=ROLE_CHOICES)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ParticipationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "principal"], name="participation_one_duty"),
            models.CheckConstraint(name="participation_duty_known", condition=Q(duty__in=[r.value for r in GRANTED])),
        ]

    def __str__(self) -> str:
        return f"{self.principal} as {self.duty} on {self.subject}"


class ProposalKind(models.TextChoices):
    """What one administrator can propose and another approve."""

    ADD = "principal.add", "Add somebody"
    GRANT = "role.grant", "Grant a role"
    END_ROLE = "role.end", "End a role"
    LINK = "identity.link", "Link a name"
    UNLINK = "identity.unlink", "Unlink a name"
    SAME = "person.same", "Two entries are one person"
    NOT_SAME = "person.not_same", "Two entries are two people"
    ERASE = "person.erase", "Erase what is personal"
    HOLD = "hold.set", "Set a legal hold"
    END_HOLD = "hold.end", "End a legal hold"


class ProposalStatus(models.TextChoices):
    """Where a proposal stands."""

    OPEN = "open"
    APPROVED = "approved"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class Proposal(models.Model):
    """A change of the registry that two administrators make together, neither for themselves."""

    kind = models.CharField(max_length=20, choices=ProposalKind)
    principal = models.ForeignKey(
        Principal, models.PROTECT, null=True, related_name="+", db_comment="whom it is about; null: somebody new"
    )
    words = models.ForeignKey("ErasableText", models.PROTECT, related_name="+", db_comment="detail and reason, as JSON")
    status = models.CharField(max_length=9, choices=ProposalStatus, default=ProposalStatus.OPEN)
    proposed_by = models.ForeignKey(Principal, models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(Principal, models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    log_entry = named_entry("that it was proposed")
    end_entry = named_entry("that it was decided", null=True)

    class Meta:
        constraints = [
            end_is_named("proposal_end_is_named", "decided_at"),
            models.CheckConstraint(name="proposal_kind_known", condition=Q(kind__in=ProposalKind.values)),
            models.CheckConstraint(name="proposal_status_known", condition=Q(status__in=ProposalStatus.values)),
            models.CheckConstraint(
                name="proposal_decided_or_open",
                condition=Q(status=ProposalStatus.OPEN, decided_at=None, decided_by=None)
                | (~Q(status=ProposalStatus.OPEN) & Q(decided_at__isnull=False, decided_by__isnull=False)),
            ),
            models.CheckConstraint(
                name="proposal_by_two",
                condition=~Q(status=ProposalStatus.APPROVED)
                | (~Q(decided_by=F("proposed_by")) & Q(decided_at__lte=F("expires_at"))),
            ),
            models.CheckConstraint(
                name="proposal_not_for_oneself",
                condition=Q(principal=None)
                | (
                    ~Q(principal=F("proposed_by"))
                    & (~Q(status=ProposalStatus.APPROVED) | ~Q(principal=F("decided_by")))
                ),
            ),
        ]
        indexes = [models.Index(fields=["-id"], name="proposal_open", condition=Q(status=ProposalStatus.OPEN))]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
