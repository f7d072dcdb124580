-- Writes what a batch of events tells, each event once. %(told)s is a JSON array of objects with
-- `event_id` and, where there is one, the rows `request` and `attempt`. Those that an older version
-- spilled name no `inbox_entry`.
WITH told AS (
    SELECT DISTINCT ON (value ->> 'event_id')
        value ->> 'event_id' AS event_id,
        value -> 'request' AS request,
        value -> 'attempt' AS attempt
    FROM jsonb_array_elements(%(told)s::jsonb)
), fresh AS (
    INSERT INTO inbox (event_id) SELECT event_id FROM told
    ON CONFLICT DO NOTHING
    RETURNING event_id
), ended AS (
    INSERT INTO requests (
        request_id, inbox_entry, event_id, outcome, reason, message, principal, tenant,
        dataclass, task, priority, operation, asked_model, model, model_digest, engine, node, traceparent,
        attempts, received_at, admitted_at, dispatched_at, started_at, first_byte_at,
        finished_at, queue_ms, load_ms, prefill_ms, decode_ms, total_ms, input_bytes,
        prompt_tokens, completion_tokens, cached_tokens, fingerprint, output_sha256,
        finish_reason, cold, degraded, noise
    )
    SELECT
        row.request_id, coalesce(row.inbox_entry, ''), told.event_id, row.outcome, row.reason,
        row.message, row.principal, row.tenant, row.dataclass, row.task, row.priority,
        row.operation, row.asked_model, row.model,
        row.model_digest, row.engine, row.node, row.traceparent, row.attempts, row.received_at,
        row.admitted_at, row.dispatched_at, row.started_at, row.first_byte_at, row.finished_at,
        row.queue_ms, row.load_ms, row.prefill_ms, row.decode_ms, row.total_ms, row.input_bytes,
        row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.fingerprint,
        row.output_sha256, row.finish_reason, row.cold, row.degraded, row.noise
    FROM told
    JOIN fresh ON fresh.event_id = told.event_id
    CROSS JOIN LATERAL jsonb_populate_record(NULL::requests, told.request) AS row
    WHERE jsonb_typeof(told.request) = 'object'
    ORDER BY row.finished_at
    ON CONFLICT (event_id) DO NOTHING
)
INSERT INTO attempts (
    request_id, inbox_entry, attempt, event_id, outcome, reason, message, charge, model, engine, node,
    route, tokens_needed, dispatched_at, started_at, first_byte_at, ended_at
)
SELECT DISTINCT ON (row.request_id, use.inbox_entry, row.attempt)
    row.request_id, use.inbox_entry, row.attempt, told.event_id, row.outcome, row.reason,
    row.message, row.charge, row.model, row.engine, row.node, row.route, row.tokens_needed, row.dispatched_at,
    row.started_at, row.first_byte_at, row.ended_at
FROM told
JOIN fresh ON fresh.event_id = told.event_id
CROSS JOIN LATERAL jsonb_populate_record(NULL::attempts, told.attempt) AS row
CROSS JOIN LATERAL (SELECT coalesce(row.inbox_entry, '')) AS use (inbox_entry)
WHERE jsonb_typeof(told.attempt) = 'object'
-- The report of a failed attempt, which alone has a charge, knows more of it than the request's end.
ORDER BY row.request_id, use.inbox_entry, row.attempt, row.charge NULLS LAST
ON CONFLICT (request_id, inbox_entry, attempt) DO UPDATE SET
    event_id = EXCLUDED.event_id,
    outcome = EXCLUDED.outcome,
    reason = EXCLUDED.reason,
    message = EXCLUDED.message,
    charge = EXCLUDED.charge,
    model = EXCLUDED.model,
    node = EXCLUDED.node,
    tokens_needed = EXCLUDED.tokens_needed,
    ended_at = EXCLUDED.ended_at
WHERE EXCLUDED.charge IS NOT NULL AND attempts.charge IS NULL
