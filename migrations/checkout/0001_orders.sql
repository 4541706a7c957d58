-- Orders, their keys, their log, their queue, and shared breakers. IF NOT EXISTS: databases of releases before
-- numbered migrations have these tables already.
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    film_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    amount BIGINT NOT NULL,
    retry_later BIGINT NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    charge_sent BIGINT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS saga_log (
    order_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    step TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS idempotency_keys (
    user_id BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    order_id TEXT NOT NULL,
    answer TEXT,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, idempotency_key)
);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_order ON idempotency_keys (order_id);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_end ON idempotency_keys (expires_at);
CREATE TABLE IF NOT EXISTS retry_queue (
    order_id TEXT PRIMARY KEY,
    parked BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    last_error TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS breakers (
    name TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    open_until BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);
