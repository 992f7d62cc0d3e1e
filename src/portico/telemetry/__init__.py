"""Metrics and logs: observers of requests that know no dialect and no engine."""
