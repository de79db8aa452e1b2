"""Credentials that nobody was ever given: drawn at random in the forms of many vendors, never written down."""

from __future__ import annotations

import random
import string

RANDOM = random.Random(3)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(count))


UPPER = string.ascii_uppercase + "234567"
HEX = "0123456789abcdef"
SEEDED = {
    "private key": ["-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----"],
    "AWS access key": [f"AKIA{letters(16, UPPER)}", f"ASIA{letters(16, UPPER)}"],
    "GitHub token": [f"gh{kind}_{letters(36)}" for kind in "pousr"] + [f"github_pat_{letters(22)}_{letters(59)}"],
    "GitLab token": [f"glpat-{letters(20)}"],
    "Slack token": [f"xoxb-{letters(12, string.digits)}-{letters(24)}"],
    "Slack webhook": [f"https://hooks.slack.com/services/T{letters(8, UPPER)}/B{letters(8, UPPER)}/{letters(24)}"],
    "Google API key": [f"AIza{letters(35)}"],
    "Google OAuth secret": [f"GOCSPX-{letters(28)}"],
    "Stripe key": [f"sk_live_{letters(24)}"],
    "npm token": [f"npm_{letters(36)}"],
    "PyPI token": [f"pypi-AgE{letters(80)}"],
    "OpenAI key": [f"sk-{letters(20)}T3BlbkFJ{letters(20)}"],
    "Anthropic key": [f"sk-ant-api03-{letters(93)}"],
    "JSON web token": [f"eyJ{letters(20)}.eyJ{letters(40)}.{letters(43)}"],
    "password in a URL": [f"postgres://ann:{letters(12)}@db.acme.example/x"],
    "SendGrid key": [f"SG.{letters(22)}.{letters(43)}", f"SG.{letters(22)}.{letters(43)}"],
    "DigitalOcean token": [f"do{kind}_v1_{letters(64, HEX)}" for kind in "por"],
    "Hugging Face token": [f"hf_{letters(34, string.ascii_letters)}"],
    "Shopify token": [f"shp{kind}_{letters(32, HEX)}" for kind in ("at", "ca", "pa", "ss")],
    "Docker token": [f"dckr_pat_{letters(27)}"],
    "Vault token": [f"hvs.{letters(90)}", f"hvb.{letters(90)}"],
    "Databricks token": [f"dapi{letters(32, HEX)}"],
    "Telegram bot token": [f"{letters(9, string.digits)}:AA{letters(33)}"],
    "Mailgun key": [f"key-{letters(32, HEX)}"],
    "Twilio key": [f"SK{letters(32, HEX)}"],
    "Azure storage key": [f"AccountKey={letters(86)}=="],
    "Grafana token": [f"glsa_{letters(32)}_{letters(8, HEX)}"],
    "age secret key": [f"AGE-SECRET-KEY-1{letters(58, '023456789ACDEFGHJKLMNPQRSTUVWXYZ')}"],
    "Supabase token": [f"sbp_{letters(40, HEX)}"],
    "Linear key": [f"lin_api_{letters(40)}"],
    "Discord webhook": [f"https://discord.com/api/webhooks/{letters(18, string.digits)}/{letters(68)}"],
    "random value of a secret's name": [f'api_key = "{letters(32)}7"', f"'client_secret': '{letters(40)}7'", f'TOKEN="{letters(24)}7"'],
}  # fmt: skip

# What is one whatever stands around it: the form alone says so.
SURE = [(kind, text) for kind, texts in SEEDED.items() for text in texts if not kind.startswith("random")]
