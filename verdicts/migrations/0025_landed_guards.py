from django.db import migrations

from audit.appendonly import append_only, names_entry

# The enforcer sees no verdicts. It is told why a pull request may not merge, and nothing more; empty: it may.
MAY_MERGE = """
CREATE FUNCTION leo_may_merge(pull_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    pull handoffs_pullrequest%ROWTYPE;
    live leo_verification_results%ROWTYPE;
    decided pr_approval_audit%ROWTYPE;
BEGIN
    SELECT p.* INTO pull FROM handoffs_pullrequest p JOIN handoffs_handoff h ON h.id = p.handoff_id
     WHERE p.id = pull_id AND p.status = 'ready-to-merge' AND h.status = 'triggered'
       AND h.applied_commit = p.head_sha;
    IF NOT FOUND THEN RETURN 'merge.no_pass'; END IF;
    SELECT * INTO live FROM leo_verification_results WHERE pull_request_id = pull.id ORDER BY id DESC LIMIT 1;
    SELECT * INTO decided FROM pr_approval_audit WHERE pull_request_id = pull.id ORDER BY id DESC LIMIT 1;
    IF live.verdict = 'PASS' AND live.head_sha = pull.head_sha AND live.base_sha = pull.base_sha
       AND live.merge_tree = pull.merge_tree THEN
        IF leo_log_covers(live.log_entry_id) THEN RETURN ''; END IF;
        RETURN 'merge.not_covered';
    END IF;
    IF decided.decision = 'approve' AND decided.head_sha = pull.head_sha AND decided.merge_tree = pull.merge_tree
       AND (decided.expires_at IS NULL OR decided.expires_at > now()) THEN
        IF leo_log_covers(decided.log_entry_id) THEN RETURN ''; END IF;
        RETURN 'merge.not_covered';
    END IF;
    RETURN 'merge.no_pass';
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0024_landed"), ("audit", "0017_acts_name_true_entries")]

    operations = [
        append_only("leo_landed_commit"),
        names_entry("leo_landed_commit", "log_entry_id", "commit.landed", "bypass.detected", when="AFTER"),
        migrations.RunSQL(MAY_MERGE, "DROP FUNCTION leo_may_merge(bigint)"),
        migrations.RunSQL("REVOKE ALL ON FUNCTION leo_may_merge(bigint) FROM PUBLIC", migrations.RunSQL.noop),
    ]
