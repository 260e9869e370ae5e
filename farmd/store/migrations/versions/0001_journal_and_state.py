"""The journal, the state tables, and the triggers that make the journal append-only.

There is no way down: going back to an older farmd means restoring its back-up.
"""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, null: bool = False, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=null, primary_key=key)


def _json(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null)


def _float(name: str, *, null: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=null)


def _whole(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, WHOLE, nullable=False, primary_key=key, autoincrement=False)


def _bool(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def upgrade() -> None:
    _journal()
    _demand()
    _work()
    _shop()
    _beside()
    if op.get_bind().dialect.name == "sqlite":
        _append_only_sqlite()
    else:
        _append_only_postgresql()
    op.bulk_insert(
        sa.table("meta", sa.column("key"), sa.column("value")), [{"key": "node", "value": uuid4().hex}]
    )


def _index_open(table: str) -> None:
    op.create_index(
        f"ix_{table}_open",
        table,
        ["id"],
        sqlite_where=sa.text("is_closed = 0"),
        postgresql_where=sa.text("NOT is_closed"),
    )


def _journal() -> None:
    op.create_table(
        "journal",
        _whole("seq", key=True),
        _float("at"),
        _text("actor"),
        _text("kind"),
        _text("build_id", null=True),
        _text("run_id", null=True),
        _text("machine", null=True),
        _bytes("body"),
        _bytes("prev_hash"),
        _bytes("hash"),
    )
    op.create_index("ix_journal_machine", "journal", ["machine", "seq"])
    op.create_index("ix_journal_run", "journal", ["run_id", "seq"])
    op.create_table("journal_job", _text("job_id", key=True), _whole("seq", key=True))
    op.create_index("ix_journal_job_seq", "journal_job", ["seq"])
    op.create_table(
        "part_count",
        _whole("seq", key=True),
        _text("job_id", key=True),
        _float("at"),
        _text("machine"),
        _text("build_id"),
        _text("operation"),
        _text("design"),
        _whole("good"),
        _whole("passed"),
        _whole("scrap"),
    )
    op.create_index("ix_part_count_at", "part_count", ["at"])


def _demand() -> None:
    op.create_table(
        "job",
        _text("id", key=True),
        _text("design"),
        _text("file_sha256"),
        _text("file_name"),
        _text("process"),
        _whole("quantity"),
        _float("submitted_at"),
        _whole("parts_per_plate"),
        _float("duration_s"),
        _float("mass_g"),
        _text("material", null=True),
        _float("nozzle_mm", null=True),
        _text("group", null=True),
        _float("due_at", null=True),
        _float("priority"),
        _text("owner"),
        _json("shape", null=True),
        _json("route"),
        _text("state"),
        _whole("in_work"),
        _whole("open_builds"),
        _whole("made"),
        _whole("good"),
        _whole("scrap"),
        _whole("surplus"),
        _float("closed_at", null=True),
        _bool("is_closed"),
    )
    _index_open("job")
    for column in ("design", "state", "submitted_at"):
        op.create_index(f"ix_job_{column}", "job", [column])
    op.create_table(
        "file",
        _text("sha256", key=True),
        _text("name"),
        _whole("size_bytes"),
        _text("kind"),
        _json("summary"),
    )


def _work() -> None:
    op.create_table(
        "build",
        _text("id", key=True),
        _text("operation"),
        _json("items"),
        _float("created_at"),
        _float("duration_s"),
        _text("material", null=True),
        _float("nozzle_mm", null=True),
        _text("file_sha256", null=True),
        _float("mass_g"),
        _text("follows", null=True),
        _text("machine", null=True),
        _text("state"),
        _bool("cleared"),
        _whole("parts"),
        _bool("is_closed"),
    )
    _index_open("build")
    op.create_table("build_item", _text("build_id", key=True), _text("job_id", key=True), _whole("parts"))
    op.create_index("ix_build_item_job_id", "build_item", ["job_id"])
    op.create_table(
        "run",
        _text("id", key=True),
        _text("build_id"),
        _text("machine"),
        _text("permit_id"),
        _whole("fence"),
        _float("intent_at"),
        _text("file_sha256", null=True),
        _text("state"),
        _float("sent_at", null=True),
        _float("started_at", null=True),
        _float("ended_at", null=True),
        _text("evidence"),
        _text("outcome", null=True),
        _text("reason"),
        _json("place", null=True),
        _float("used_g"),
        _bool("cleared"),
        _bool("is_closed"),
    )
    _index_open("run")
    op.create_index("ix_run_machine", "run", ["machine", "intent_at"])
    for column in ("build_id", "intent_at", "ended_at"):
        op.create_index(f"ix_run_{column}", "run", [column])


def _shop() -> None:
    op.create_table(
        "machine",
        _text("name", key=True),
        _text("state"),
        _float("since"),
        _json("permit", null=True),
        _text("held", null=True),
        _json("fault", null=True),
        _text("foreign", null=True),
        _text("run_id", null=True),
        _text("uncleared_run_id", null=True),
        _text("material", null=True),
        _float("nozzle_mm", null=True),
        _text("lot_id", null=True),
        _float("ready_at"),
    )
    op.create_table(
        "lot", _text("id", key=True), _text("material"), _float("grams_left"), _float("grams_used")
    )
    op.create_table("counter", _text("name", key=True), _whole("value"))


def _beside() -> None:
    op.create_table(
        "idempotency",
        _text("key", key=True),
        _text("request_sha256"),
        _whole("status"),
        _text("response"),
        _float("at"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])
    op.create_table("meta", _text("key", key=True), _text("value"))


def _append_only_sqlite() -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    op.execute(f"CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal {refuse}")
    op.execute(f"CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal {refuse}")
    # INSERT OR REPLACE deletes without firing the trigger above.
    op.execute(
        "CREATE TRIGGER journal_no_replace BEFORE INSERT ON journal "
        f"WHEN EXISTS (SELECT 1 FROM journal WHERE seq = NEW.seq) {refuse}"
    )


def _append_only_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION journal_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER journal_no_change BEFORE UPDATE OR DELETE ON journal "
        "FOR EACH ROW EXECUTE FUNCTION journal_append_only()"
    )
    op.execute(
        "CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal "
        "FOR EACH STATEMENT EXECUTE FUNCTION journal_append_only()"
    )
