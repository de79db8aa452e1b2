"""PLAN and LEAD: gates, sub-agents, policy, verdicts and escalations."""
