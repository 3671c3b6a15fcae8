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
  `
  ALTER TABLE sandboxes ADD COLUMN machine_id TEXT;
  ALTER TABLE sandboxes ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE sandboxes ADD COLUMN depth TEXT;
  ALTER TABLE sandboxes ADD COLUMN saved TEXT;
  ALTER TABLE sandboxes ADD COLUMN paused_at_ms INTEGER;
  ALTER TABLE sandboxes ADD COLUMN parent TEXT;
  UPDATE sandboxes SET machine_id = id;

  CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    digest TEXT NOT NULL,
    kind TEXT NOT NULL,
    sandbox TEXT,
    image_digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    detail TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX snapshots_digest ON snapshots (digest);

  CREATE TABLE pool (
    machine_id TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    key TEXT NOT NULL,
    runtime TEXT NOT NULL,
    slot INTEGER NOT NULL UNIQUE,
    machine TEXT,
    boot_id TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
  ) STRICT;

  CREATE TRIGGER sandboxes_claim_inserted AFTER INSERT ON sandboxes WHEN NEW.machine_id IS NOT NULL
  BEGIN DELETE FROM pool WHERE machine_id = NEW.machine_id; END;
  CREATE TRIGGER sandboxes_claim_updated AFTER UPDATE OF machine_id ON sandboxes
  WHEN NEW.machine_id IS NOT NULL AND NEW.machine_id IS NOT OLD.machine_id
  BEGIN DELETE FROM pool WHERE machine_id = NEW.machine_id; END;
  `,
]
