-- No showing sells more places than it has, or fewer than none.
CREATE TABLE stock_2 (
    film_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    showing BIGINT NOT NULL,
    capacity BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    PRIMARY KEY (film_id, kind, showing),
    CHECK (0 <= taken AND taken <= capacity)
);
INSERT INTO stock_2 (film_id, kind, showing, capacity, taken)
    SELECT film_id, kind, showing, capacity, taken FROM stock;
DROP TABLE stock;
ALTER TABLE stock_2 RENAME TO stock;

CREATE TABLE reservations_2 (
    order_id TEXT PRIMARY KEY,
    film_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    showing BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'released')),
    at BIGINT NOT NULL
);
INSERT INTO reservations_2 (order_id, film_id, kind, showing, state, at)
    SELECT order_id, film_id, kind, showing, state, at FROM reservations;
DROP TABLE reservations;
ALTER TABLE reservations_2 RENAME TO reservations;
CREATE INDEX reservations_by_time ON reservations (at);
