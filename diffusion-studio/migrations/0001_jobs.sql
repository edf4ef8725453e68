-- What must last: jobs, and how long work takes.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    drawing TEXT NOT NULL,
    picture_key TEXT NOT NULL,
    is_attached INTEGER NOT NULL,
    idempotency_key TEXT,
    request_digest TEXT,
    tag INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cached INTEGER NOT NULL DEFAULT 0,
    queued_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    images TEXT NOT NULL DEFAULT '[]',
    warnings TEXT NOT NULL DEFAULT '[]',
    error TEXT
) STRICT;

CREATE INDEX jobs_by_status ON jobs (status) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_by_owner ON jobs (owner, finished_at DESC);
CREATE INDEX jobs_by_picture ON jobs (picture_key) WHERE status = 'completed';
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE speeds (
    work TEXT PRIMARY KEY,
    seconds REAL NOT NULL
) STRICT;
