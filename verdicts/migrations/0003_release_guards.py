"""Nothing is released, merged or shown as a success but by a PASS or an approval that holds and that the log covers."""

from __future__ import annotations

from django.db import migrations

from audit.appendonly import names_entry, on_rows, refuse_truncate

# What the forge's update hook asks. An empty code means yes; `tree` is what the new commit must hold, if anything.
# The reason has to be in a signed checkpoint of the log: nothing lands before its cause is covered.
# The hook's login may call this and read nothing: hence SECURITY DEFINER with a pinned search_path.
MAY_UPDATE_REF = """
CREATE FUNCTION leo_may_update_ref(repository_path text, ref text, old_id text, new_id text,
                                   OUT code text, OUT tree text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    repository handoffs_repository%ROWTYPE;
    pull handoffs_pullrequest%ROWTYPE;
    live leo_verification_results%ROWTYPE;
    decided pr_approval_audit%ROWTYPE;
BEGIN
    code := ''; tree := '';
    SELECT * INTO repository FROM handoffs_repository WHERE path = repository_path;
    IF NOT FOUND THEN code := 'repository.unknown'; RETURN; END IF;
    IF ref LIKE 'refs/heads/staging/codex-%' THEN RETURN; END IF;
    IF ref <> 'refs/heads/' || repository.protected_branch THEN
        IF NOT EXISTS (SELECT 1 FROM leo_ref_intent i WHERE i.repository_id = repository.id
                       AND i.ref = leo_may_update_ref.ref AND i.old = old_id AND i.new = new_id) THEN
            code := 'ref.not_allowed';
        END IF;
        RETURN;
    END IF;
    SELECT p.* INTO pull FROM handoffs_pullrequest p JOIN handoffs_handoff h ON h.id = p.handoff_id
     WHERE p.repository_id = repository.id AND p.merge_sha = new_id AND p.base_sha = old_id
       AND p.status = 'ready-to-merge' AND h.status = 'triggered' AND h.applied_commit = p.head_sha;
    IF NOT FOUND THEN code := 'merge.no_pass'; RETURN; END IF;
    SELECT * INTO live FROM leo_verification_results WHERE pull_request_id = pull.id ORDER BY id DESC LIMIT 1;
    SELECT * INTO decided FROM pr_approval_audit WHERE pull_request_id = pull.id ORDER BY id DESC LIMIT 1;
    IF (live.verdict = 'PASS' AND live.head_sha = pull.head_sha AND live.base_sha = pull.base_sha
        AND live.merge_tree = pull.merge_tree AND leo_log_covers(live.log_entry_id))
       OR (decided.decision = 'approve' AND decided.head_sha = pull.head_sha AND decided.merge_tree = pull.merge_tree
           AND (decided.expires_at IS NULL OR decided.expires_at > now())
           AND leo_log_covers(decided.log_entry_id)
           AND (live.id IS NULL OR live.log_entry_id > decided.log_entry_id OR leo_log_covers(live.log_entry_id))) THEN
        tree := pull.merge_tree;
        RETURN;
    END IF;
    code := 'merge.no_pass';
END $$;
REVOKE ALL ON FUNCTION leo_may_update_ref(text, text, text, text) FROM PUBLIC
"""
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
END $$;
REVOKE ALL ON FUNCTION leo_may_merge(bigint) FROM PUBLIC
"""
# A success of Gate 3 rests on a PASS or an approval that holds now and that a signed checkpoint covers, whoever writes it.
GUARD_PUBLICATION = """
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
REVOKE ALL ON FUNCTION leo_guard_publication() FROM PUBLIC
"""


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0002_record_guards"), ("audit", "0002_log_guards")]

    operations = [
        migrations.RunSQL(MAY_UPDATE_REF),
        migrations.RunSQL(MAY_MERGE),
        migrations.RunSQL(GUARD_PUBLICATION),
        on_rows(
            "leo_check_publication", "guard_publication", "BEFORE INSERT OR UPDATE OR DELETE", "leo_guard_publication()"
        ),
        refuse_truncate("leo_check_publication"),
        names_entry("leo_check_publication", "log_entry_id", "check.intended"),
    ]
