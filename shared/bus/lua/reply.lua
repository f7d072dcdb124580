-- Answers a question on the reply stream that it named. Repeated, the asker hears the first.
--! keys reply:any
--! args id outcome data
reply_final(key_reply, id, 0, outcome, data)
return { 'ok' }
