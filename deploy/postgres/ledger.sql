-- The payment gateway is an outside party: its books are not in our database.
CREATE DATABASE ledger;
