"""Measurements that need more than this package: other servers."""
