-- What the functions share. The names keep clear of the program's tables, so that both can have one database.
CREATE TABLE function_orders (
    id TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL CHECK (version > 0),
    status TEXT NOT NULL CHECK (status IN ('reserved', 'charging', 'queued', 'paid', 'cancelled', 'dead')),
    -- The order as JSON.
    body TEXT NOT NULL
);
CREATE TABLE function_stock (
    title TEXT NOT NULL PRIMARY KEY,
    remaining BIGINT NOT NULL CHECK (remaining >= 0)
);
CREATE TABLE function_breakers (
    name TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL CHECK (version > 0),
    state TEXT NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'HALF_OPEN')),
    -- The breaker's record as JSON.
    body TEXT NOT NULL
);
