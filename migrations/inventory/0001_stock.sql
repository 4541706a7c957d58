-- Stock and who holds it. IF NOT EXISTS: databases of releases before numbered migrations have these tables.
CREATE TABLE IF NOT EXISTS stock (
    film_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    showing BIGINT NOT NULL,
    capacity BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    PRIMARY KEY (film_id, kind, showing)
);
CREATE TABLE IF NOT EXISTS reservations (
    order_id TEXT PRIMARY KEY,
    film_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    showing BIGINT NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL
);
