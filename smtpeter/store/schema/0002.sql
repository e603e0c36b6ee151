-- Messages that features prepare.  Other mail costs nothing more: it has no rows in what is added here.
-- Recipients have a state more, 0: waits to be prepared; the world is told that it is due.

-- 1: something of it is in preparation or prepared, until its content is purged.
ALTER TABLE submission ADD COLUMN prepare INTEGER NOT NULL DEFAULT 0;

-- What waits to be prepared, and nothing else.
CREATE TABLE preparation (
    submission TEXT PRIMARY KEY REFERENCES submission (id),
    time       INTEGER NOT NULL,             -- when it came in
    due        INTEGER NOT NULL,             -- not before; while somebody has it, until when
    attempts   INTEGER NOT NULL,             -- the last of them is the fencing token
    postponed  INTEGER NOT NULL DEFAULT 0    -- 1: due was set by a feature that could not, and may be brought forward
) WITHOUT ROWID;

CREATE INDEX preparation_due ON preparation (due, submission, attempts);

-- What was made of it, if it is not what came in.
CREATE TABLE prepared (
    submission TEXT PRIMARY KEY REFERENCES submission (id),
    size       INTEGER NOT NULL,
    digest     BLOB NOT NULL,
    content    INTEGER,                      -- of small content, else NULL
    file       TEXT,                         -- of large content, else NULL
    slots      TEXT NOT NULL                 -- JSON: a list of [offset, feature, key, length], or empty
) WITHOUT ROWID;

CREATE UNIQUE INDEX prepared_file ON prepared (file) WHERE file IS NOT NULL;

-- Links that must not work any more.  They outlive the mail that they are in.
CREATE TABLE blocked (
    kind  TEXT NOT NULL,                     -- account, submission or domain
    value TEXT NOT NULL,                     -- without case
    time  INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;
