"""The project: settings, addresses, roles, the Celery app, the `leo` command and the embedded stack."""
