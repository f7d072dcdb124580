-- The latest requests that match, newest first.
SELECT *
FROM requests
WHERE (%(since)s::timestamptz IS NULL OR finished_at >= %(since)s)
  AND (%(task)s::text IS NULL OR task = %(task)s)
  AND (%(model)s::text IS NULL OR model = %(model)s OR asked_model = %(model)s)
  AND (%(node)s::text IS NULL OR node = %(node)s)
  AND (%(principal)s::text IS NULL OR principal = %(principal)s)
  AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
  AND (%(before)s::bigint IS NULL OR seq < %(before)s)
ORDER BY seq DESC
LIMIT %(limit)s
