-- What processes share: jobs, the order in which they wait, who is there, and how long work takes.
-- The queue itself is apalis.jobs, of the crate apalis-postgres: a job stands there under the same name.
-- Times are seconds since 1970 by the clock of this database alone.

CREATE TABLE studio.jobs (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    user_name text NOT NULL,
    model text NOT NULL,
    loras text NOT NULL,
    -- Version of the form in which the drawing is written; a worker that is older leaves the job to others.
    form integer NOT NULL,
    drawing text NOT NULL,
    picture_key text NOT NULL,
    is_attached boolean NOT NULL,
    -- The front end that an attached job ends with.
    front text NOT NULL,
    idempotency_key text,
    request_digest text,
    tag bigint NOT NULL,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    status text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    is_cancelled boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    worker text,
    cached boolean NOT NULL DEFAULT false,
    queued_at float8 NOT NULL,
    -- When it became its user's first of the model.
    turn_at float8,
    started_at float8,
    finished_at float8,
    images text NOT NULL DEFAULT '[]',
    warnings text NOT NULL DEFAULT '[]',
    error text
);

CREATE INDEX jobs_in_order ON studio.jobs (model, tag, sequence) WHERE status = 'queued';
CREATE INDEX jobs_in_order_by_loras ON studio.jobs (model, loras, tag, sequence) WHERE status = 'queued';
CREATE INDEX jobs_in_order_of_user ON studio.jobs (model, user_name, tag, sequence) WHERE status = 'queued';
CREATE INDEX jobs_running ON studio.jobs (worker) WHERE status = 'running';
CREATE INDEX jobs_by_owner ON studio.jobs (owner, finished_at DESC) WHERE status = 'completed';
CREATE INDEX jobs_by_picture ON studio.jobs (picture_key, finished_at DESC) WHERE status = 'completed';
CREATE UNIQUE INDEX jobs_by_idempotency_key ON studio.jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Virtual time of each model's order.
CREATE TABLE studio.models (
    model text PRIMARY KEY,
    now bigint NOT NULL
);

-- The tag after that of the job of a user that was started last.
CREATE TABLE studio.users (
    model text NOT NULL,
    user_name text NOT NULL,
    next bigint NOT NULL,
    PRIMARY KEY (model, user_name)
);

-- Front ends and workers that are there.
CREATE TABLE studio.processes (
    id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('front', 'worker')),
    name text NOT NULL,
    device text NOT NULL,
    -- Memory, models and what is loaded, of workers.
    state text NOT NULL,
    started_at float8 NOT NULL,
    seen float8 NOT NULL,
    -- One may be both.
    PRIMARY KEY (id, kind)
);

-- Seconds that work takes on a worker.
CREATE TABLE studio.speeds (
    worker text NOT NULL,
    work text NOT NULL,
    seconds float8 NOT NULL,
    PRIMARY KEY (worker, work)
);

-- What all front ends have to know, as the secret of cookies.
CREATE TABLE studio.settings (
    name text PRIMARY KEY,
    value bytea NOT NULL
);
