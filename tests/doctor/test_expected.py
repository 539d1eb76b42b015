from sqla_oban.doctor.expected import expected
from sqla_oban.models import metadata


def test_all_parts_are_read_off_the_models_and_the_migrations() -> None:
    found = expected('odd "schema" (1)')
    assert {table.name for table in found.tables} == set(metadata.tables)
    assert found.functions.keys() == {
        "oban_wake_key",
        "oban_hush_key",
        "oban_ring",
        "oban_signal",
        "oban_jobs_wake",
        "oban_jobs_unique_insert",
        "oban_jobs_unique_update",
        "oban_partition",
        "oban_sort",
        "oban_jobs_unsort",
        "oban_jobs_freed",
        "oban_limit_lock",
        "oban_rate",
        "oban_rate_of",
        "oban_rate_spend",
        "oban_consume",
        "oban_claim_within",
        "oban_workflow_note",
        "oban_workflow_verdict",
        "oban_workflow_move",
        "oban_workflow_settle",
        "oban_workflow_commit",
        "oban_tell_end",
        "oban_jobs_ended",
        "oban_jobs_deleted",
        "oban_jobs_park",
        "oban_chain_release",
        "oban_jobs_chain_enter",
        "oban_jobs_chain_leave",
        "oban_batch_call",
        "oban_batch_settle",
        "oban_jobs_batch_note",
        "oban_jobs_batch_settle",
    }
    assert '"odd ""schema"" (1)".oban_jobs' in found.functions["oban_wake_key"]
    assert found.triggers == {
        "oban_jobs_wake": "oban_jobs",
        "oban_jobs_unique_insert": "oban_jobs",
        "oban_jobs_unique_update": "oban_jobs",
        "oban_jobs_unsort": "oban_jobs",
        "oban_jobs_freed": "oban_jobs",
        "oban_jobs_freed_by_delete": "oban_jobs",
        "oban_jobs_workflow_update": "oban_jobs",
        "oban_jobs_workflow_delete": "oban_jobs",
        "oban_workflow_commit": "oban_workflow_notes",
        "oban_jobs_ended": "oban_jobs",
        "oban_jobs_deleted": "oban_jobs",
        "oban_jobs_park": "oban_jobs",
        "oban_jobs_chain_insert": "oban_jobs",
        "oban_jobs_chain_update": "oban_jobs",
        "oban_jobs_chain_leave": "oban_jobs",
        "oban_jobs_chain_delete": "oban_jobs",
        "oban_jobs_batch_note": "oban_jobs",
        "oban_jobs_batch_delete": "oban_jobs",
        "oban_jobs_batch_settle": "oban_jobs",
    }
    assert found.statements.keys() == {index.name for table in found.tables for index in table.indexes}
