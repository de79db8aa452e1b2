"""Goals 10 and 11: webhooks taken by the portal, by the bare work, and by the two ways that are usual."""
