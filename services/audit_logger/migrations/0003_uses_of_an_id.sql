-- An id of a request names another one once the bus has forgotten the first: which use of the id a row
-- is about says the entry of the inbox that was admitted. What an older version admitted has none.
ALTER TABLE requests DROP CONSTRAINT requests_pkey;
ALTER TABLE requests DROP CONSTRAINT requests_event_id_key;
ALTER TABLE requests ADD COLUMN inbox_entry text NOT NULL DEFAULT '';
ALTER TABLE requests ADD PRIMARY KEY (event_id);
CREATE INDEX requests_by_id ON requests (request_id, seq);

ALTER TABLE attempts DROP CONSTRAINT attempts_pkey;
ALTER TABLE attempts ADD COLUMN inbox_entry text NOT NULL DEFAULT '';
ALTER TABLE attempts ADD PRIMARY KEY (request_id, inbox_entry, attempt);
