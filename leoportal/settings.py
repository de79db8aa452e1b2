"""Settings: environment variables only. A secret may also come from a file named by NAME_FILE."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

from handoffs.signatures.key_rules import Algorithm, KeyRuleError, refuse_weak_password
from leoportal.lanes.pooling import forget_role

env = environ.FileAwareEnv()
BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(env.str("LEOPORTAL_VAR", default=str(BASE_DIR / "var")))
DEBUG = env.bool("DEBUG", default=False)
EMBEDDED = env.bool("LEOPORTAL_EMBEDDED", default=False)
TESTING = "pytest" in sys.modules


def _secret(name: str, *, made_for_embedded: int) -> str:
    """A secret from NAME or NAME_FILE. Only the embedded stack makes its own, once, in a 0600 file."""
    value = env.str(name, default="")
    if value:
        return str(value)
    if not (EMBEDDED or TESTING):
        raise ImproperlyConfigured(f"{name} is not set: give it a random text, or name a file in {name}_FILE")
    VAR.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = VAR / name.lower()
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(os.urandom(made_for_embedded).hex())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


SECRET_KEY = _secret("SECRET_KEY", made_for_embedded=32)
SIGNING_KEY_PASSWORD = _secret("SIGNING_KEY_PASSWORD", made_for_embedded=32)
if not (DEBUG or TESTING):
    try:
        refuse_weak_password(SIGNING_KEY_PASSWORD)
    except KeyRuleError as weak:
        raise ImproperlyConfigured(weak.detail) from None
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PORTAL_URL = env.str("LEO_URL", default="http://127.0.0.1:8000").rstrip("/")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "allauth",
    "allauth.account",
    "ninja",
    "audit",
    "handoffs",
    "verdicts",
    "leoportal",
]
MIDDLEWARE = [
    "handoffs.views_github.WebhookMiddleware",
    "leoportal.web.VisitorMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "leoportal.web.DenyByDefaultMiddleware",
]
ROOT_URLCONF = "leoportal.urls"
WSGI_APPLICATION = "leoportal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "leoportal.frame.page_frame",
            ],
        },
    }
]

DATABASES = {"default": env.db_url("DATABASE_URL", default="postgresql:///leoportal")}
if not DATABASES["default"]["ENGINE"].endswith("postgresql"):
    raise ImproperlyConfigured("DATABASE_URL names another engine; leoportal runs on PostgreSQL only")
# Only what is sent with its values apart is ever prepared (audit/appending.py); Django's own cursors send them within.
DATABASES["default"].setdefault("OPTIONS", {})["prepare_threshold"] = 2
if env.bool("DB_POOL", default=False):
    pool = {"min_size": 1, "max_size": 8, "timeout": 10, "reset": forget_role}
    DATABASES["default"]["OPTIONS"]["pool"] = pool
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASE_HOOK_URL = env.str("DATABASE_HOOK_URL", default="")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://")}

AUTHENTICATION_BACKENDS = [
    "leoportal.roles.RoleBackend",
    "leoportal.roles.SignInBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "leoportal.roles.ClosedSignup"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = False
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "/static/"
STATIC_ROOT = VAR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
    "object-src": [CSP.NONE],
}
IS_HTTPS = PORTAL_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 << 20

CELERY_BROKER_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 8.0
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    # Of a message that is sent: a request must not wait for a broker that is away, and the sweep finds the row. Workers
    # have their own patience (`broker_connection_retry`).
    "max_retries": 1,
    "interval_start": 0,
}
CELERY_TASK_PUBLISH_RETRY = False
# Whether there is a worker of leo-gate: without one nothing is put into its queue, where nobody would take it out.
HAS_PUBLISHER = env.bool("LEO_PUBLISHER", default=bool(env.int("GITHUB_GATE_APP_ID", default=0)))
PUBLISHING = ("verdicts.tasks_publishing.", "verdicts.tasks_protection.")
# A queue for each lane that has work, named like the lane; the first pattern that fits counts.
CELERY_TASK_ROUTES = (
    [
        ("verdicts.tasks.sweep_verification", {"queue": "enforcer"}),
        ("handoffs.tasks.*", {"queue": "enforcer"}),
        ("handoffs.tasks_github.*", {"queue": "enforcer"}),
        ("verdicts.tasks_projecting.*", {"queue": "enforcer"}),
        ("verdicts.tasks_composing.*", {"queue": "verifier"}),
        ("verdicts.tasks_publishing.*", {"queue": "publisher"}),
        ("verdicts.tasks_protection.*", {"queue": "publisher"}),
        ("verdicts.tasks.*", {"queue": "verifier"}),
        ("verdicts.tasks_landing.*", {"queue": "verifier"}),
        ("audit.tasks.*", {"queue": "verifier"}),
        ("leoportal.tasks.*", {"queue": "verifier"}),
    ],
)
CELERY_TASK_TIME_LIMIT, CELERY_TASK_SOFT_TIME_LIMIT = 600, 570
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR / "beat-schedule")
SWEEP_SECONDS = env.float("SWEEP_SECONDS", default=5.0)
# How often each process looks whether its database is the one it was, and guarded as this release guards it.
GUARD_SECONDS = env.float("GUARD_SECONDS", default=60.0)
# Roles that this installation answers for itself: backups, monitoring.
DATABASE_OTHER_ROLES = env.list("DATABASE_OTHER_ROLES", default=[])
LEASE_SECONDS = env.float("LEASE_SECONDS", default=120.0)
CELERY_BEAT_SCHEDULE = {
    name: {"task": task, "schedule": seconds, "options": {"expires": seconds}}
    for name, task, seconds in (
        ("sweep-staging", "handoffs.tasks.sweep_staging", SWEEP_SECONDS),
        ("sweep-handoffs", "handoffs.tasks.sweep_handoffs", SWEEP_SECONDS),
        ("sweep-signing", "handoffs.tasks.sweep_signing", max(SWEEP_SECONDS, 30.0)),
        ("sweep-verification", "verdicts.tasks.sweep_verification", SWEEP_SECONDS),
        ("sweep-work", "verdicts.tasks.sweep_work", SWEEP_SECONDS),
        ("compose-projections", "verdicts.tasks_composing.compose_projections", SWEEP_SECONDS),
        ("sweep-commands", "verdicts.tasks_composing.sweep_commands", SWEEP_SECONDS),
        ("sweep-projections", "verdicts.tasks_projecting.sweep_projections", SWEEP_SECONDS),
        ("sweep-requests", "verdicts.tasks_projecting.sweep_requests", max(SWEEP_SECONDS / 5, 1.0)),
        ("sweep-deadlines", "verdicts.tasks.sweep_deadlines", SWEEP_SECONDS),
        ("sweep-github", "handoffs.tasks_github.sweep_github", SWEEP_SECONDS),
        ("sweep-publishing", "verdicts.tasks_publishing.sweep_publishing", SWEEP_SECONDS),
        ("sweep-gate-deliveries", "verdicts.tasks_publishing.sweep_gate_deliveries", 300.0),
        ("sweep-failed-deliveries", "handoffs.tasks_github.sweep_failed_deliveries", 300.0),
        ("erase-deliveries", "handoffs.tasks_github.erase_deliveries", 86400.0),
        ("sweep-clocks", "handoffs.tasks.sweep_clocks", max(SWEEP_SECONDS, 60.0)),
        ("sweep-keys", "handoffs.tasks.sweep_keys", SWEEP_SECONDS),
        ("sweep-statements", "verdicts.tasks.sweep_statements", SWEEP_SECONDS),
        ("sweep-protection", "verdicts.tasks_protection.sweep_protection", max(SWEEP_SECONDS, 10.0)),
        ("sweep-landed", "verdicts.tasks_landing.sweep_landed", SWEEP_SECONDS),
        ("sweep-workflows", "verdicts.tasks_landing.sweep_workflows", SWEEP_SECONDS),
        ("sweep-exports", "verdicts.tasks.sweep_exports", SWEEP_SECONDS),
        ("guard-log", "audit.tasks.guard_log", GUARD_SECONDS),
        ("guard-catalogue", "leoportal.tasks.guard_catalogue", GUARD_SECONDS),
        ("check-log", "verdicts.tasks.check_log", 86400.0),
        ("apply-retention", "audit.tasks.apply_retention", 86400.0),
        ("expire-bundles", "handoffs.tasks.expire_bundles", 86400.0),
    )
    if HAS_PUBLISHER or not task.startswith(PUBLISHING)
}

# How long what is personal is kept, in days; the log's hashes and pseudonyms are kept for ever.
RETENTION_TEXT_DAYS = {
    "decision": env.int("RETENTION_DECISION_DAYS", default=2557),
    "break-glass": env.int("RETENTION_DECISION_DAYS", default=2557),
    "proposal": env.int("RETENTION_PROPOSAL_DAYS", default=2557),
    "operation": env.int("RETENTION_DECISION_DAYS", default=2557),
}
RETENTION_BUNDLE_DAYS = env.int("RETENTION_BUNDLE_DAYS", default=400)

SIGSTORE_TRUST_CONFIG = env.str("SIGSTORE_TRUST_CONFIG", default="")
SIGSTORE_IDENTITY_TOKEN_FILE = env.str("SIGSTORE_IDENTITY_TOKEN_FILE", default="")
SIGSTORE_SIGNING_ROOT_SHA256 = env.list("SIGSTORE_SIGNING_ROOT_SHA256", default=[])
SIGSTORE_SECONDS = env.float("SIGSTORE_SECONDS", default=60.0)

# The log's key and the signer's memory lie beside each other, on the signer's machine only.
LOG_KEY_FILE = Path(env.str("LOG_KEY_FILE", default=str(VAR / "log-key" / "log.key")))
LOG_ANCHOR = Path(env.str("LOG_ANCHOR", default=str(VAR / "log-anchor.git")))
# The second copy of leaves and tiles, as files: somewhere else than the database's disk.
LOG_COPY = Path(env.str("LOG_COPY", default=str(VAR / "log-copy")))
# "IDENTITY ISSUER" of the signer's own Sigstore token: anchor checkpoints in Rekor, too. Empty: not.
LOG_REKOR = env.str("LOG_REKOR", default="")
# Each "URL vkey", separated by commas: who else signs the log's checkpoints.
LOG_WITNESSES = env.list("LOG_WITNESSES", default=[])
LOG_WAIT_SECONDS = env.float("LOG_WAIT_SECONDS", default=5.0)

SCANNERS = Path(env.str("SCANNERS", default=str(BASE_DIR / ".venv" / "scanners" / "bin")))
BUNDLE_STORE = Path(env.str("BUNDLE_STORE", default=str(VAR / "bundles")))
EXPORTS = Path(env.str("EXPORTS", default=str(VAR / "exports")))
FORGE_ROOT = Path(env.str("FORGE_ROOT", default=str(VAR / "forge")))
# GitHub, or a GitHub Enterprise Server (GITHUB_API_URL=https://HOST/api/v3). Each App's key is known to the worker of
# its own lane only: the enforcer's never to the publisher, the gate's never to anybody else.
GITHUB_URL = env.str("GITHUB_URL", default="https://github.com").rstrip("/")
GITHUB_API_URL = env.str("GITHUB_API_URL", default="https://api.github.com").rstrip("/")
GITHUB_ENFORCER_APP_ID = env.int("GITHUB_ENFORCER_APP_ID", default=0)
GITHUB_ENFORCER_KEY = env.str("GITHUB_ENFORCER_KEY", default="")
GITHUB_GATE_APP_ID = env.int("GITHUB_GATE_APP_ID", default=0)
GITHUB_GATE_KEY = env.str("GITHUB_GATE_KEY", default="")
# A token in place of both Apps, for `leo repo govern --trial`: it separates nothing, and every page says so.
GITHUB_TOKEN = env.str("GITHUB_TOKEN", default="")
# The newest first, at most two of each, so that a new one can be put in before the old one is taken out.
GITHUB_ENFORCER_WEBHOOK_SECRETS = [one.strip() for one in env.list("GITHUB_ENFORCER_WEBHOOK_SECRETS", default=[])]
GITHUB_GATE_WEBHOOK_SECRETS = [one.strip() for one in env.list("GITHUB_GATE_WEBHOOK_SECRETS", default=[])]
if not all((*GITHUB_ENFORCER_WEBHOOK_SECRETS, *GITHUB_GATE_WEBHOOK_SECRETS)):
    raise ImproperlyConfigured("a webhook secret is empty")
if max(len(GITHUB_ENFORCER_WEBHOOK_SECRETS), len(GITHUB_GATE_WEBHOOK_SECRETS)) > 2:
    raise ImproperlyConfigured("an App has at most two webhook secrets: the new one and the one it replaces")
# Who issues identity tokens to workflow runs; on a GitHub Enterprise Server https://HOST/_services/token.
GITHUB_OIDC_ISSUER = env.str("GITHUB_OIDC_ISSUER", default="https://token.actions.githubusercontent.com")
# How long the numbers of deliveries are kept; GitHub redelivers what is at most three days old.
RETENTION_DELIVERY_DAYS = env.int("RETENTION_DELIVERY_DAYS", default=30)
GITHUB_SECONDS = env.float("GITHUB_SECONDS", default=10.0)
# How often a repository is looked at without an event: GitHub redelivers nothing by itself.
GITHUB_POLL_SECONDS = env.float("GITHUB_POLL_SECONDS", default=60.0)

SIGNING_ALGORITHMS = {"enforcer": Algorithm.RSA_4096, "gate": Algorithm.ED25519}
VERIFY_CPU_SECONDS = env.int("VERIFY_CPU_SECONDS", default=20)
VERIFY_MEMORY_MIB = env.int("VERIFY_MEMORY_MIB", default=768)
# The trusted root of your own Sigstore; empty: the public one as it is pinned in the release.
# Digests, if there are any, are the only roots that are taken, also an older one.
SIGSTORE_TRUSTED_ROOT = env.str("SIGSTORE_TRUSTED_ROOT", default="")
# Where an operator refreshes it from (empty: offline), and the TUF root trust starts from (empty: the public one).
SIGSTORE_TUF_MIRROR = env.str("SIGSTORE_TUF_MIRROR", default="")
SIGSTORE_TUF_ROOT = env.str("SIGSTORE_TUF_ROOT", default="")
SIGSTORE_TRUSTED_ROOT_SHA256 = env.list("SIGSTORE_TRUSTED_ROOT_SHA256", default=[])

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "leoportal.logs.OneLineFormatter"}},
    "filters": {"counted": {"()": "leoportal.logs.CountedElsewhere"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "celery": {"level": env.str("CELERY_LOG_LEVEL", default="WARNING")},
        "django.request": {"filters": ["counted"]},
    },
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
}
