-- What is searched for among many that do not match. Completed requests are not rare.
CREATE INDEX requests_by_task ON requests (task, seq);
CREATE INDEX requests_by_node ON requests (node, seq);
CREATE INDEX requests_that_did_not_complete ON requests (outcome, seq) WHERE outcome <> 'completed';
