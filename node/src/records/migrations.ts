/** Numbered, append-only: entry N brings node.db from version N to N + 1. Never edited after a release. */
export const migrations: readonly string[] = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

  CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    spec TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    runtime TEXT NOT NULL,
    isolation TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    lease TEXT NOT NULL,
    machine TEXT,
    boot_id TEXT NOT NULL,
    slot INTEGER,
    created_at_ms INTEGER NOT NULL,
    state_deadline_ms INTEGER,
    idle_since_ms INTEGER,
    ending TEXT,
    ended TEXT,
    ended_at_ms INTEGER,
    timings TEXT NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX sandboxes_slot ON sandboxes (slot) WHERE slot IS NOT NULL;
  CREATE INDEX sandboxes_state ON sandboxes (state);
  CREATE INDEX sandboxes_ended ON sandboxes (ended_at_ms) WHERE ended_at_ms IS NOT NULL;

  CREATE TABLE leases (
    sandbox TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (sandbox, name)
  ) STRICT;

  CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    sandbox TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL
  ) STRICT;
  `,
]
