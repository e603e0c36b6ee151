-- Keys under which clients hand mail over, so that to hand it over again does no harm.  A message without a key has no
-- row here, and is not asked about.
CREATE TABLE idempotency (
    account    INTEGER NOT NULL,
    key        BLOB NOT NULL,                -- SHA-256 of it: a client may make it long
    address    TEXT NOT NULL,                -- of one recipient, with the domain as mail goes by it; empty: the whole request
    digest     BLOB,                         -- of the whole request, else NULL
    submission TEXT NOT NULL,                -- what was taken
    number     INTEGER NOT NULL,             -- the recipient's; of a whole request 0
    recipients INTEGER NOT NULL,             -- how many the submission has
    time       INTEGER NOT NULL,
    PRIMARY KEY (account, key, address)
) WITHOUT ROWID;

CREATE INDEX idempotency_time ON idempotency (time);

-- What a token may be used for, joined by spaces.
ALTER TABLE credential ADD COLUMN scopes TEXT NOT NULL DEFAULT 'send read';
