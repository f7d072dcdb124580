SELECT * FROM requests WHERE request_id = %(request_id)s
