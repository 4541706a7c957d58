-- The rules that no row may break, deadlines, lanes and places of the queue, and the outbox.
-- SQLite adds no constraint to a table that exists: each is made anew and filled.
CREATE TABLE orders_2 (
    id TEXT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    film_id BIGINT NOT NULL,
    -- Unchecked: a newer release may sell more kinds while this one still runs.
    kind TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    retry_later BIGINT NOT NULL CHECK (retry_later IN (0, 1)),
    state TEXT NOT NULL
        CHECK (state IN ('pending', 'charging', 'queued', 'cancelling', 'paid', 'cancelled', 'dead')),
    version BIGINT NOT NULL CHECK (version > 0),
    charge_sent BIGINT NOT NULL CHECK (charge_sent IN (0, 1)),
    reason TEXT NOT NULL,
    -- When what it buys is over, Unix milliseconds; 0 when it never is.
    deadline BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (state <> 'paid' OR charge_sent = 1)
);
INSERT INTO orders_2 (id, user_id, film_id, kind, amount, retry_later, state, version, charge_sent, reason, created_at,
    updated_at)
    SELECT id, user_id, film_id, kind, amount, retry_later, state, version,
        CASE WHEN state = 'paid' THEN 1 ELSE charge_sent END, reason, created_at, updated_at FROM orders;
DROP TABLE orders;
ALTER TABLE orders_2 RENAME TO orders;
CREATE INDEX orders_by_end ON orders (updated_at) WHERE state IN ('paid', 'cancelled');
CREATE INDEX orders_by_viewer ON orders (user_id, created_at);

CREATE TABLE saga_log_2 (
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    step TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL
);
INSERT INTO saga_log_2 (order_id, version, step, outcome, detail, at)
    SELECT order_id, version, step, outcome, detail, at FROM saga_log WHERE order_id IN (SELECT id FROM orders);
DROP TABLE saga_log;
ALTER TABLE saga_log_2 RENAME TO saga_log;
CREATE INDEX saga_log_of_order ON saga_log (order_id, version);

CREATE TABLE retry_queue_2 (
    order_id TEXT PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    -- 0: crash recovery and what is given back; 1: orders that wait to be charged.
    lane BIGINT NOT NULL CHECK (lane IN (0, 1)),
    parked BIGINT NOT NULL CHECK (parked IN (0, 1)),
    dead BIGINT NOT NULL CHECK (dead IN (0, 1)),
    blocked BIGINT NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1)),
    attempts BIGINT NOT NULL CHECK (attempts >= 0),
    -- Times it was taken since something last came of it.
    claims BIGINT NOT NULL DEFAULT 0 CHECK (claims >= 0),
    -- The shard of queue_places that it has a place of; -1 when none.
    place BIGINT NOT NULL DEFAULT -1,
    due_at BIGINT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    last_error TEXT NOT NULL
);
INSERT INTO retry_queue_2 (order_id, lane, parked, dead, attempts, due_at, enqueued_at, last_error)
    SELECT q.order_id, CASE WHEN q.parked = 1 AND o.state <> 'cancelling' THEN 1 ELSE 0 END, q.parked, q.dead,
        q.attempts, q.due_at, q.enqueued_at, q.last_error FROM retry_queue q JOIN orders o ON o.id = q.order_id;
DROP TABLE retry_queue;
ALTER TABLE retry_queue_2 RENAME TO retry_queue;
CREATE INDEX retry_queue_due ON retry_queue (dead, lane, due_at);
CREATE INDEX retry_queue_blocked ON retry_queue (order_id) WHERE blocked = 1;

-- Places of the queue that are taken, by shard, so that orders don't wait for each other at one row.
CREATE TABLE queue_places (
    shard BIGINT PRIMARY KEY,
    taken BIGINT NOT NULL CHECK (taken >= 0)
);

-- What viewers are to learn: written with the change that it is about, sent afterwards, at least once.
CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    text TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    due_at BIGINT NOT NULL,
    sent BIGINT NOT NULL DEFAULT 0 CHECK (sent IN (0, 1))
);
CREATE INDEX outbox_due ON outbox (due_at) WHERE sent = 0;
CREATE INDEX outbox_of_order ON outbox (order_id);

CREATE TABLE breakers_2 (
    name TEXT PRIMARY KEY,
    version BIGINT NOT NULL CHECK (version > 0),
    state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'forced_open')),
    open_until BIGINT NOT NULL,
    failures BIGINT NOT NULL CHECK (failures >= 0),
    changed_by TEXT NOT NULL
);
INSERT INTO breakers_2 (name, version, state, open_until, failures, changed_by)
    SELECT name, version, state, open_until, failures, changed_by FROM breakers;
DROP TABLE breakers;
ALTER TABLE breakers_2 RENAME TO breakers;
