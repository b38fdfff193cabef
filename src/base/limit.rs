//! Every default bound in one place, each with its reason. What a peer or a file controls is bounded here.

use super::time::TimeSpan;

/// Bytes of one record (a line, a message). A line of 16 MiB is a broken producer, not an event.
pub const RECORD_BYTES: usize = 16 << 20;
/// Nesting of a JSON value, as in `serde_json`: deeper input is an attack on the stack.
pub const JSON_DEPTH: usize = 128;
/// Bytes a source hands on at once. Large enough to hide per-batch work, small enough to stay in the L2 cache.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Operations a script may take for one event; a loop over every element of a large list stays below it.
pub const SCRIPT_OPERATIONS: u64 = 1_000_000;
/// Depth of calls in a script; each costs native stack.
pub const SCRIPT_CALL_DEPTH: usize = 32;
/// Bytes of one text that a script makes.
pub const SCRIPT_TEXT_BYTES: usize = 1 << 20;
/// Elements of one list or map that a script makes: the engine measures containers again at each change.
pub const SCRIPT_CONTAINER_ITEMS: usize = 10_000;
/// Events one script call may emit.
pub const SCRIPT_EMITS: usize = 10_000;
/// Nodes of a pipeline file after its aliases are expanded: an anchor bomb ends here.
pub const YAML_NODES: usize = 100_000;
/// Nesting of a pipeline file.
pub const YAML_DEPTH: usize = 64;
/// Bytes of a pipeline file.
pub const YAML_BYTES: u64 = 4 << 20;
/// Bytes of rows that wait for a sink while a checkpoint is made durable: seconds of a fast pipeline's output.
pub const SINK_BYTES: usize = 64 << 20;
/// Rows that wait for whoever looks at a tap; what passes meanwhile is let go.
pub const TAP_ROWS: usize = 1_024;
/// Bytes of such rows.
pub const TAP_BYTES: usize = 4 << 20;
/// Taps that are open in one run: each writes rows out once more.
pub const TAPS: usize = 16;
/// Bytes of dead letters that wait in memory for a checkpoint; beyond, one is made at once.
pub const LETTER_BYTES: usize = 16 << 20;
/// Groups that state is cut into for storing and for sharing among workers; the worker count may change between runs.
pub const KEY_GROUPS: u64 = 256;
/// Keys of a step that are encoded for a checkpoint between two ticks: some milliseconds. In a debug build so few that every
/// test sees keys change while they are handed out.
pub const SLICE_KEYS: usize = if cfg!(debug_assertions) { 8 } else { 4_096 };
/// Bytes of such keys after which there is a tick again.
pub const SLICE_BYTES: usize = 1 << 20;
/// Keys of a step whose windows close, or are forgotten, before somebody else has a turn: some milliseconds. In a debug build
/// so few that every test sees rows leave in slices.
pub const CLOSED_KEYS: usize = if cfg!(debug_assertions) { 6 } else { 4_096 };
/// Fields a pipeline may name; a column number is 16 bits.
pub const FIELDS: usize = 4_096;
/// Samples kept of the errors of one entry for the end of a run.
pub const ERROR_SAMPLES: usize = 3;
/// Open files of a `file` sink with a path template; the least recently used is closed first.
pub const OPEN_FILES: usize = 128;
/// Files that a `file` sink which adds to its files remembers although nothing is written to them.
pub const KNOWN_FILES: usize = 1_024;
/// Bytes of rows that a `file` sink keeps in memory until a checkpoint; more wait in a file.
pub const WAITING_BYTES: usize = 8 << 20;
/// Rows that a `throttle` lets through in its span: the times of so many are kept for each key.
pub const THROTTLE_ROWS: usize = 10_000;
/// Rows of one key that one side of a join keeps: each row of the other side is matched with all of them.
pub const JOIN_ROWS: usize = 10_000;
/// Bytes of a JSON Schema in a file.
pub const SCHEMA_BYTES: u64 = 4 << 20;
/// Places at which an event does not fit a schema that are told; the others are counted.
pub const VIOLATIONS: usize = 5;
/// Elements of a list that `explode` takes apart.
pub const EXPLODED_ITEMS: usize = 100_000;
/// Bytes of the events that `explode` makes of one: a large field beside a long list would be written once for each element.
pub const EXPLODED_BYTES: usize = 32 << 20;
/// Windows that one event may be in: each is worked on for each key when it closes.
pub const WINDOWS_PER_EVENT: i64 = 100_000;
/// Sources, steps and sinks of one pipeline; node numbers are 16 bits and the graph is walked by recursion.
pub const GRAPH_NODES: usize = 1_000;
/// Patterns, and time zones, that a thread keeps made ready; those that come with the rows push others out.
pub const KEPT_PATTERNS: usize = 64;
/// Bytes of one compiled regular expression: repetition within repetition grows beyond measure.
pub const PATTERN_BYTES: usize = 1 << 20;
/// Characters of texts that are compared character by character, where the work grows with their product.
pub const COMPARED_CHARACTERS: usize = 1_000;
/// Numbers of which quantiles are exact: they are kept as they are, in less room than a sketch of them.
pub const QUANTILE_EXACT: usize = 64;
/// Bins of a quantile sketch on each side of zero: at 1 % they span seventeen decades. Smaller numbers count as the least.
pub const QUANTILE_BINS: usize = 2_048;
/// Different values that `distinct` counts in one window: each is kept, for the number is exact.
pub const DISTINCT_VALUES: usize = 100_000;
/// Hashes that `approx_distinct` keeps before it turns to registers, in half their room; up to here it is exact.
pub const APPROX_DISTINCT_EXACT: usize = 256;
/// Values that `top` counts in one window. Beyond, rare ones are forgotten, and counts may be too small by one in
/// 1,024 of the window's values, half of this.
pub const TOP_COUNTERS: usize = 2_048;
/// The largest `n` of `top(x, n)`: a longer list is no top, and must be well below [`TOP_COUNTERS`].
pub const TOP_VALUES: u32 = 500;
/// The largest limit of `collect(x, limit)`: as many elements as a script may make a list of.
pub const COLLECT_VALUES: u32 = 10_000;
/// Bytes of the values that `collect` keeps of one window, as many as a record may have.
pub const COLLECT_BYTES: usize = RECORD_BYTES;
/// Bytes of a CSV file that is held in memory for `lookup`, as the file has them.
pub const TABLE_BYTES: u64 = 256 << 20;
/// Answers of a SQLite table that a worker keeps; those not asked for lately go first.
pub const TABLE_ANSWERS: usize = 20_000;
/// Bytes of a CSV table that `check` reads whole, to say what is broken in it; of a larger one only the header.
pub const TABLE_CHECKED_BYTES: u64 = 16 << 20;
/// Bytes of the dead letters of one pipeline: a day of a hundred broken rows a second. Beyond, the oldest go.
pub const DEAD_LETTER_BYTES: u64 = 1 << 30;
/// How long a dead letter is kept: who has not looked in a month will not.
pub const DEAD_LETTER_AGE: TimeSpan = TimeSpan::seconds(30 * 86_400);
/// Bytes of one file of a journal, after which the next is begun: large enough that the making of files does not show,
/// small enough that what a checkpoint covers soon goes.
pub const JOURNAL_SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of rows that are read from a table at a time: an order that no index has is made anew each time.
pub const READ_AHEAD_BYTES: usize = 8 << 20;
/// Bytes of rows of one place in the order in which a table is read: they are handed on together.
pub const EQUAL_ROWS_BYTES: usize = 64 << 20;
/// Bytes of a journal; sources take nothing more beyond it. At 10 MB/s without a checkpoint it is a minute and a half.
pub const JOURNAL_BYTES: u64 = 1 << 30;
/// Bytes that are written to a journal at once: what waits meanwhile is held in memory twice.
pub const JOURNAL_GROUP_BYTES: usize = 32 << 20;
/// Bytes of a journal's last file that are kept although a checkpoint covers them: a file is not made anew for less.
pub const JOURNAL_COVERED_BYTES: u64 = 1 << 20;
/// Messages that wait for a journal to take them, of one source; producers wait beyond it.
pub const JOURNAL_WAITING: usize = 4_096;
/// Sources that one journal names; of each the name is in every file.
pub const JOURNAL_SOURCES: usize = 4_096;
/// Bytes of a source's name in a journal.
pub const JOURNAL_NAME_BYTES: usize = 4_096;
/// Requests whose keys one source knows again: a day of one a second. Beyond, the oldest go.
pub const ANSWERED_KEYS: usize = 100_000;
/// Bytes of the keys and answers of such requests.
pub const ANSWERED_BYTES: usize = 32 << 20;
/// Notifications that a rate lets through in its time: when each was sent is kept.
pub const NOTIFICATION_RATE: u32 = 1_000;
/// Alerts that one notification has: nobody reads more, and receivers refuse long ones.
pub const NOTIFICATION_ALERTS: usize = 1_000;
/// Bytes of the alerts of one notification, one of them however long it is.
pub const NOTIFICATION_BYTES: usize = 1 << 20;
/// Bytes of a title, of a label or a link, and, four times over, of a body and of the row that was judged, as an alert keeps
/// them for each key; what is longer is cut.
pub const ALERT_TEXT_BYTES: usize = 4 << 10;
/// Bytes of one matcher of a silence or an inhibition.
pub const MATCHER_BYTES: usize = 1 << 10;
/// Silences that hold at once: each new alert is compared with all of them.
pub const SILENCES: usize = 1_000;
/// Matchers of one silence.
pub const SILENCE_MATCHERS: usize = 32;
/// Entries of an alert history; beyond, the oldest go.
pub const ALERT_HISTORY: usize = 10_000;
/// Bytes of an alert history.
pub const ALERT_HISTORY_BYTES: usize = 16 << 20;
/// Rows or windows that an alert looks back at for `N of M`: a bit each, and the times of those in which it held.
pub const ALERT_SLOTS: u32 = 64;
/// Keys of an alert, where its author does not say: each has a state machine of some hundred bytes.
pub const ALERT_KEYS: usize = 1_000_000;
