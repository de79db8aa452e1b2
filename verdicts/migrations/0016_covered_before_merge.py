from django.db import migrations

# As before, and the reason has to be in a signed checkpoint of the log: nothing lands before its cause is covered.
REPLACE = """
CREATE OR REPLACE FUNCTION leo_may_update_ref(repository_path text, ref text, old_id text, new_id text,
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
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("verdicts", "0015_policy_signed_and_attested"), ("audit", "0008_log_guards")]

    operations = [migrations.RunSQL(REPLACE, migrations.RunSQL.noop)]
