"""A success of Gate 3 rests on a PASS or an approval that holds now and that a signed checkpoint covers, whoever writes it."""

from django.db import migrations

from audit.appendonly import names_entry, refuse_truncate

GUARD = """
CREATE FUNCTION leo_guard_publication() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    answer text[] := ARRAY['run_number', 'published_at', 'withdrawn_at', 'settled_at'];
BEGIN
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND (to_jsonb(OLD) - answer) IS DISTINCT FROM (to_jsonb(NEW) - answer) THEN
        RAISE EXCEPTION 'history: % of a row of leo_check_publication is refused', TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'INSERT' AND NEW.is_own AND NEW.conclusion IN ('success', 'neutral', 'skipped') AND (
        NOT NEW.is_group AND cardinality(NEW.causes) <> 1 OR EXISTS (
            SELECT FROM unnest(NEW.causes) AS cause
            WHERE NOT leo_log_covers(cause) OR NOT EXISTS (
                SELECT FROM handoffs_pullrequest p JOIN handoffs_handoff h ON h.id = p.handoff_id
                LEFT JOIN LATERAL (SELECT v.* FROM leo_verification_results v WHERE v.pull_request_id = p.id
                                   ORDER BY v.id DESC LIMIT 1) live ON true
                LEFT JOIN LATERAL (SELECT d.* FROM pr_approval_audit d WHERE d.pull_request_id = p.id
                                   ORDER BY d.id DESC LIMIT 1) decided ON true
                WHERE p.repository_id = NEW.repository_id AND p.status = 'ready-to-merge' AND h.status = 'triggered'
                  AND h.applied_commit = p.head_sha
                  AND (NEW.is_group OR p.number = NEW.pull_number AND p.head_sha = NEW.head_sha)
                  AND (live.log_entry_id = cause AND live.verdict = 'PASS' AND live.head_sha = p.head_sha
                       AND live.base_sha = p.base_sha AND live.merge_tree = p.merge_tree
                       OR decided.log_entry_id = cause AND decided.decision = 'approve'
                       AND decided.head_sha = p.head_sha AND decided.merge_tree = p.merge_tree
                       AND (decided.expires_at IS NULL OR decided.expires_at > now()))))) THEN
        RAISE EXCEPTION 'publication.not_released: no PASS and no approval that holds and is covered releases %',
            NEW.head_sha USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION leo_guard_publication() FROM PUBLIC;
CREATE TRIGGER guard_publication BEFORE INSERT OR UPDATE OR DELETE ON leo_check_publication
    FOR EACH ROW EXECUTE FUNCTION leo_guard_publication();
ALTER TABLE leo_check_publication ENABLE ALWAYS TRIGGER guard_publication;
"""
UNDO = "DROP TRIGGER guard_publication ON leo_check_publication; DROP FUNCTION leo_guard_publication()"


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0026_check_publications"), ("audit", "0008_log_guards")]

    operations = [
        names_entry("leo_check_publication", "log_entry_id", "check.intended"),
        migrations.RunSQL(GUARD, UNDO),
        refuse_truncate("leo_check_publication"),
    ]
