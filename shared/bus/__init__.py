"""The only code that knows Redis: delivery, and the record of each request."""
