-- What is written here is never changed, except that an attempt learns how it failed where the end
-- of its request came first. Later columns (ciphertexts, hashes, cost) join the rows of `requests`
-- in the order of `seq`.

-- Ids of the events whose effects are in this database. Together with them, or not at all.
CREATE TABLE inbox (
    event_id text PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_by_age ON inbox USING brin (taken_at);

-- One row per final event.
CREATE TABLE requests (
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    request_id text PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    outcome text NOT NULL CHECK (outcome IN ('completed', 'failed', 'rejected', 'cancelled')),
    reason text,
    message text,
    principal text,
    tenant text,
    dataclass text,
    task text,
    priority text,
    operation text,
    asked_model text,
    model text,
    model_digest text,
    engine text,
    node text,
    traceparent text,
    attempts integer NOT NULL,
    received_at timestamptz,
    admitted_at timestamptz,
    dispatched_at timestamptz,
    started_at timestamptz,
    first_byte_at timestamptz,
    finished_at timestamptz NOT NULL,
    queue_ms integer,
    load_ms integer,
    prefill_ms double precision,
    decode_ms double precision,
    total_ms integer,
    input_bytes bigint,
    prompt_tokens integer,
    completion_tokens integer,
    cached_tokens integer,
    fingerprint text,
    output_sha256 text,
    finish_reason text,
    cold boolean NOT NULL,
    degraded boolean NOT NULL,
    noise boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX requests_by_end ON requests (finished_at);
CREATE INDEX requests_by_principal ON requests (principal, seq);
CREATE INDEX requests_by_model ON requests (model, seq);

-- One row per attempt: those that failed, and the one with which the request ended.
CREATE TABLE attempts (
    request_id text NOT NULL,
    attempt integer NOT NULL,
    event_id text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('completed', 'failed', 'cancelled')),
    reason text,
    message text,
    charge integer,
    model text,
    engine text,
    node text,
    route text,
    tokens_needed integer,
    dispatched_at timestamptz,
    started_at timestamptz,
    first_byte_at timestamptz,
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (request_id, attempt)
);
