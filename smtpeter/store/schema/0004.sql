-- Lanes: what waits for its turn side by side, one account's mail to one domain.  What is known of sites outlasts a
-- restart.  Domains that accounts send from, and the keys that sign for them.

-- The submission's, or 0.  What was finished before there were lanes has 0.
ALTER TABLE recipient ADD COLUMN account INTEGER NOT NULL DEFAULT 0;
-- 1: the sender was told that it takes long.
ALTER TABLE recipient ADD COLUMN delay_told INTEGER NOT NULL DEFAULT 0;

UPDATE recipient SET account = (SELECT account FROM submission WHERE id = submission)
WHERE (submission, number) IN (SELECT submission, number FROM recipient WHERE state < 4)
    AND (SELECT account FROM submission WHERE id = submission) IS NOT NULL;

DROP INDEX recipient_open;
CREATE INDEX recipient_open ON recipient (state, domain, account, due) WHERE state < 4;

-- What the scheduler looks at: each lane with due recipients, and when the first of them falls due.
DROP TABLE destination;
CREATE TABLE destination (
    domain   TEXT NOT NULL,
    account  INTEGER NOT NULL,
    next_due INTEGER NOT NULL,
    parked   INTEGER NOT NULL DEFAULT 0,     -- until when nobody looks at it; a time that has come means nothing
    site     TEXT,                           -- where it was parked for
    PRIMARY KEY (domain, account)
) WITHOUT ROWID;

INSERT INTO destination (domain, account, next_due)
SELECT domain, account, min(due) FROM recipient WHERE state < 4 AND state = 1 GROUP BY domain, account;

CREATE INDEX destination_ready ON destination (max(next_due, parked));

-- Sites that are slowed or paused.
CREATE TABLE site (
    site      TEXT NOT NULL,
    source    TEXT NOT NULL,                 -- the source address that it holds for, empty: for all
    condition TEXT NOT NULL,                 -- slowed or paused
    reason    TEXT NOT NULL,
    since     INTEGER NOT NULL,
    until     INTEGER NOT NULL,
    resumed   INTEGER NOT NULL DEFAULT 0,    -- how often operators wanted it to be over, and the server did not know yet
    PRIMARY KEY (site, source, condition)
) WITHOUT ROWID;

-- A domain has one owner.
CREATE TABLE sender_domain (
    domain  TEXT PRIMARY KEY,                -- A-labels, lower case
    account INTEGER NOT NULL REFERENCES account (number),
    created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE domain_key (
    domain    TEXT NOT NULL REFERENCES sender_domain (domain),
    selector  TEXT NOT NULL,
    algorithm TEXT NOT NULL,                 -- rsa or ed25519
    public    TEXT NOT NULL,                 -- p= of its record
    sealed    BLOB NOT NULL,                 -- the private key, encrypted under the master key key_id
    key_id    TEXT NOT NULL,
    PRIMARY KEY (domain, selector)
) WITHOUT ROWID;
