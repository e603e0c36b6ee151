-- Times are whole milliseconds since the epoch, UTC.  Ids of submissions sort by time of arrival, so that rows are
-- appended.  There are few indices, and foreign keys are not enforced: each costs something for every message.

-- What there is one of: generation, lease, paused, keys.
CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

INSERT INTO setting (name, value) VALUES ('generation', 0), ('lease', 0), ('paused', 0);

CREATE TABLE account (
    number        INTEGER PRIMARY KEY,
    email         TEXT NOT NULL,
    folded        TEXT NOT NULL UNIQUE,      -- the address without case
    name          TEXT NOT NULL,
    admin         INTEGER NOT NULL,
    state         TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created       INTEGER NOT NULL
);

CREATE TABLE credential (
    number      INTEGER PRIMARY KEY,
    kind        TEXT NOT NULL,
    account     INTEGER NOT NULL REFERENCES account (number),
    public      TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    key_id      TEXT NOT NULL,
    name        TEXT NOT NULL,
    options     TEXT NOT NULL,               -- JSON: a list of [name, value]
    created     INTEGER NOT NULL,
    used        INTEGER,
    revoked     INTEGER,
    UNIQUE (kind, public)
);

-- Small content.  The rows have tables of their own so that listings need not read past them.
CREATE TABLE content (
    number INTEGER PRIMARY KEY,
    data   BLOB NOT NULL
);

CREATE TABLE submission (
    id           TEXT PRIMARY KEY,
    account      INTEGER,                    -- NULL: our own notification
    login        TEXT NOT NULL,
    channel      TEXT NOT NULL,
    reverse_path TEXT NOT NULL,
    body         TEXT NOT NULL,
    smtputf8     INTEGER NOT NULL,
    ret          TEXT,
    envid        TEXT,
    size         INTEGER NOT NULL,
    digest       BLOB NOT NULL,
    content      INTEGER,                    -- of small content, else NULL
    file         TEXT,                       -- of large content, else NULL; both are NULL when retention is over
    time         INTEGER NOT NULL,
    due          INTEGER,                    -- NULL: the same as time
    expires      INTEGER NOT NULL,
    subject      TEXT NOT NULL,
    message_id   TEXT NOT NULL,
    tags         TEXT NOT NULL,              -- joined by semicolons
    options      TEXT NOT NULL,              -- JSON: a list of [name, value], or empty
    recipients   INTEGER NOT NULL,           -- how many there are
    unfinished   INTEGER NOT NULL,           -- how many of them are not final
    first_event  INTEGER NOT NULL,           -- the cursor of the first of as many attempt events, one after the other
    done         INTEGER,                    -- when the last one became final
    captured     INTEGER NOT NULL DEFAULT 0, -- 1: kept instead of sent, for at least one recipient
    purged       INTEGER NOT NULL DEFAULT 0  -- 1: the content is gone
) WITHOUT ROWID;

CREATE INDEX submission_done ON submission (purged, captured, done) WHERE done IS NOT NULL;
CREATE UNIQUE INDEX submission_file ON submission (file) WHERE file IS NOT NULL;

-- state: 1 due, 2 leased, 3 held, and final: 4 delivered, 5 failed, 6 expired, 7 cancelled.
CREATE TABLE recipient (
    submission TEXT NOT NULL REFERENCES submission (id),
    number     INTEGER NOT NULL,
    address    TEXT NOT NULL,
    domain     TEXT NOT NULL,
    notify     TEXT,
    orcpt      TEXT,
    state      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    due        INTEGER NOT NULL,
    lease      INTEGER,                      -- the fencing token of the claim that holds it
    lease_until INTEGER,
    duplicate  INTEGER NOT NULL DEFAULT 0,   -- 1: an earlier attempt may have got through
    in_doubt   INTEGER NOT NULL DEFAULT 0,   -- 1: a final dot is about to be sent
    PRIMARY KEY (submission, number)
) WITHOUT ROWID;

CREATE INDEX recipient_open ON recipient (state, domain, due) WHERE state < 4;

-- What the scheduler looks at: each domain with due recipients, and when the first of them falls due.
CREATE TABLE destination (
    domain   TEXT PRIMARY KEY,
    next_due INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX destination_due ON destination (next_due);

-- The journal.  The newest row is never deleted, so that no cursor is used twice: purging empties its submission and
-- makes its kind 'purged'.  Attempt events are found by the submission's first_event: an index would cost each message.
CREATE TABLE event (
    cursor     INTEGER PRIMARY KEY,
    time       INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    submission TEXT NOT NULL,
    number     INTEGER NOT NULL,
    data       TEXT                          -- JSON object; NULL: empty
);

CREATE INDEX event_submission ON event (submission, number) WHERE kind <> 'attempt';
