CREATE TABLE run (
  -- How far the pipeline is. One row. Times are microseconds since 1970-01-01T00:00:00Z.
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  pipeline TEXT NOT NULL,      -- the pipeline's file, as it was last named
  program TEXT NOT NULL,       -- the version of Millstream that wrote last
  run INTEGER NOT NULL,        -- number of the run; 0 before the first
  epoch INTEGER NOT NULL,      -- checkpoints that the run has made
  status TEXT NOT NULL,        -- running, stopped, finishing, complete or failed
  started INTEGER NOT NULL,    -- when the run began
  committed INTEGER NOT NULL,  -- when the last checkpoint was made
  digest BLOB NOT NULL         -- sum of the hashes of all rows, chunks by their checksum; 16 bytes, the lowest first
) STRICT;

CREATE TABLE partition (
  -- Where each partition of each source stands.
  -- The row without a source says up to where the checkpoint holds what is written of how live inputs met, beside the state
  -- (`.turns`): the position is a record's number.
  source TEXT NOT NULL,        -- the source
  name TEXT NOT NULL,          -- the partition: a file; empty if the source is one partition
  stream TEXT NOT NULL,        -- what the position counts in, as the source names it
  position INTEGER NOT NULL,   -- position of the next record: bytes or records, as the source counts
  greatest INTEGER NOT NULL,   -- greatest event time seen, microseconds
  ended INTEGER NOT NULL,      -- 1 if its end was taken
  PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
  -- Steps that keep something.
  name TEXT PRIMARY KEY NOT NULL,
  meaning TEXT NOT NULL,       -- what its state means, JSON: only a step of the same meaning takes it
  watermark INTEGER NOT NULL   -- its watermark, microseconds
) STRICT, WITHOUT ROWID;

CREATE TABLE chunk (
  -- What steps keep by key, packed; `millstream state` shows it as rows. Within a slice the one with the greatest id counts
  -- where several have a key.
  id INTEGER PRIMARY KEY,
  step TEXT NOT NULL,          -- the step
  slice INTEGER NOT NULL,      -- 0 to 15: the highest four bits of the keys' hashes
  epoch INTEGER NOT NULL,      -- the checkpoint that wrote it, of a base the last one in it
  base INTEGER NOT NULL,       -- 1 if it holds everything up to its epoch, 0 if it holds what changed since the ones before
  rows INTEGER NOT NULL,       -- keys in it
  checksum INTEGER NOT NULL,   -- of data: XXH3, 64 bits
  data BLOB NOT NULL           -- byte 0: version 1; byte 1: 0 plain, 1 zstd; 8 bytes: size unpacked; then rows by hash and
                               -- key: hash (8 bytes), size of key, key, size of value + 1 or 0 for a key that is gone, value.
                               -- Integers of fixed size have the lowest byte first; sizes are LEB128. Keys and values are
                               -- MessagePack.
) STRICT;

CREATE TABLE mark (
  -- What sinks remember: how many bytes of a file are committed.
  sink TEXT NOT NULL,
  key TEXT NOT NULL,           -- what it is about
  value TEXT NOT NULL,         -- JSON
  PRIMARY KEY (sink, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
  -- What became of the rows of each entry since the run began:
  -- taken + made = passed + filtered + dropped + duplicate + failed + late + absorbed + held.
  entry TEXT PRIMARY KEY NOT NULL,
  taken INTEGER NOT NULL,      -- came in
  made INTEGER NOT NULL,       -- were made here beyond those that came in
  passed INTEGER NOT NULL,     -- went on to readers
  filtered INTEGER NOT NULL,   -- a condition was false for them
  dropped INTEGER NOT NULL,    -- a script dropped them
  duplicate INTEGER NOT NULL,  -- repeat one before them
  failed INTEGER NOT NULL,     -- could not be processed
  late INTEGER NOT NULL,       -- came too late
  dead INTEGER NOT NULL,       -- of the failed and late ones: became dead letters
  absorbed INTEGER NOT NULL,   -- their last window is gone
  held INTEGER NOT NULL        -- open windows hold them
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
  -- Rows that nobody could take. They outlive runs; the oldest go when there are too many or they are too old.
  id INTEGER PRIMARY KEY,      -- in order of arrival
  entry TEXT NOT NULL,         -- where it came to
  cause TEXT NOT NULL,         -- error or late
  reason TEXT NOT NULL,        -- what is wrong
  place TEXT NOT NULL,         -- where: in the pipeline file or the record; empty if not known
  time INTEGER,                -- its event time, microseconds
  at INTEGER NOT NULL,         -- when it was kept, microseconds
  run INTEGER NOT NULL,        -- number of the run
  epoch INTEGER NOT NULL,      -- the checkpoint that kept it
  checksum INTEGER NOT NULL,   -- of all other columns: XXH3, 64 bits
  original BLOB NOT NULL       -- the row as it came
) STRICT;

CREATE TABLE dead_letter_total (
  -- What there is in dead_letter. One row.
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  next INTEGER NOT NULL,       -- id of the next one
  letters INTEGER NOT NULL,    -- how many there are
  bytes INTEGER NOT NULL,      -- their originals, reasons and places together
  checksum INTEGER NOT NULL,   -- their checksums together
  let_go INTEGER NOT NULL      -- how many went since the file was made because there were too many or they were too old
) STRICT;

INSERT INTO dead_letter_total VALUES (1, 1, 0, 0, 0, 0);
INSERT INTO run VALUES (1, '', '', 0, 0, 'complete', 0, 0, zeroblob(16));
ALTER TABLE dead_letter ADD COLUMN origin /* what original is: a row as it came, of a join's left or right side; a record of a
  source that could not be read; part of one that is too long; a row that the entry made; empty if an older version kept it */
  TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letter ADD COLUMN header /* of a record of CSV: the names of its fields, JSON */ TEXT;

CREATE TABLE handed (
  -- Rows that each input of each entry has handed to it since the run began; they add up to what the ledger says it has taken.
  entry TEXT NOT NULL,         -- the entry
  input TEXT NOT NULL,         -- an entry, with its port if that is not the main one; what is in parentheses is none
  rows INTEGER NOT NULL,
  PRIMARY KEY (entry, input)
) STRICT, WITHOUT ROWID;
CREATE TABLE returned (
  -- Rows that whoever a sink sends to has refused, where somebody reads the sink's `.errors`. They go with the checkpoint that
  -- holds that they were taken in there, which is where the partition of the source `SINK.errors` stands.
  sink TEXT NOT NULL,          -- the sink
  number INTEGER NOT NULL,     -- among those of the sink, in the order that they were refused
  time INTEGER,                -- its event time, microseconds
  reason TEXT NOT NULL,        -- what was answered
  json INTEGER NOT NULL,       -- 1 if it was written as JSON
  checksum INTEGER NOT NULL,   -- of all other columns: XXH3, 64 bits
  original BLOB NOT NULL,      -- the row as it was written
  PRIMARY KEY (sink, number)
) STRICT;
