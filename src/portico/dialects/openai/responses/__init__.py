"""`POST /v1/responses` without a store: every request brings its whole conversation, and nothing is kept of it."""
