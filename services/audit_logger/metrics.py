"""What the audit-logger counts."""

from prometheus_client import Counter

RECORDED = Counter("roundhouse_audit_events_recorded_total", "Events whose rows are in Postgres")
SPILLED = Counter("roundhouse_audit_events_spilled_total", "Events whose rows went to a file")
