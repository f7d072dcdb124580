SELECT *
FROM attempts
WHERE request_id = %(request_id)s AND inbox_entry = ANY(%(inbox_entries)s)
ORDER BY attempt
