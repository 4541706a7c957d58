-- The payment gateway's books. IF NOT EXISTS: databases of releases before numbered migrations have these tables.
CREATE TABLE IF NOT EXISTS charge_keys (
    idempotency_key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    charge_id TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY,
    idempotency_key TEXT NOT NULL,
    user_id BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL
);
