SELECT * FROM attempts WHERE request_id = %(request_id)s ORDER BY attempt
