-- The uses of a request's id, newest first.
SELECT *
FROM requests
WHERE request_id = %(request_id)s
  AND (%(before)s::bigint IS NULL OR seq < %(before)s)
ORDER BY seq DESC
LIMIT %(limit)s
