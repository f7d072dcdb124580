-- No stream keeps an entry for so long, and requests and attempts are unique for ever.
DELETE FROM inbox WHERE event_id IN (
    SELECT event_id FROM inbox WHERE taken_at < now() - interval '48 hours' LIMIT %(limit)s
)
