-- A key has one amount and, where keys are honoured, one charge that was not given back.
CREATE TABLE charge_keys_2 (
    idempotency_key TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('charged', 'declined', 'refunded', 'voided')),
    charge_id TEXT NOT NULL,
    -- In won; 0 when unknown: the key was voided before any charge, or is older than this column.
    amount BIGINT NOT NULL CHECK (amount >= 0),
    at BIGINT NOT NULL
);
INSERT INTO charge_keys_2 (idempotency_key, state, charge_id, amount, at)
    SELECT k.idempotency_key, k.state, k.charge_id,
        COALESCE((SELECT c.amount FROM charges c WHERE c.id = k.charge_id), 0), k.at FROM charge_keys k;

CREATE TABLE charges_2 (
    id TEXT PRIMARY KEY,
    idempotency_key TEXT NOT NULL REFERENCES charge_keys_2 (idempotency_key),
    user_id BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    state TEXT NOT NULL CHECK (state IN ('charged', 'refunded')),
    -- 0 for charges made while the gateway ignored keys.
    key_honoured BIGINT NOT NULL CHECK (key_honoured IN (0, 1)),
    at BIGINT NOT NULL
);
INSERT INTO charges_2 (id, idempotency_key, user_id, amount, state, key_honoured, at)
    SELECT id, idempotency_key, user_id, amount, state,
        CASE WHEN id IN (SELECT charge_id FROM charge_keys) THEN 1 ELSE 0 END, at FROM charges;
DROP TABLE charges;
DROP TABLE charge_keys;
ALTER TABLE charge_keys_2 RENAME TO charge_keys;
ALTER TABLE charges_2 RENAME TO charges;
CREATE UNIQUE INDEX charges_live ON charges (idempotency_key) WHERE state = 'charged' AND key_honoured = 1;
CREATE INDEX charges_of_key ON charges (idempotency_key);
