-- What readiness writes to, to find out whether there is room again.
CREATE TABLE ledger_room (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    filler TEXT NOT NULL
);
