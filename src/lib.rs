//! Millstream: a declarative stream processor in one binary. This page is the map.
//!
//! # Data's walk
//! ```text
//! pipelines/x.yaml ── config ──▶ plan::Plan ── engine::lower ──▶ Graph ──▶ engine::run (tasks) or engine::direct
//!     text              parse,      pure data,    stateless flows,            blocks, ticks, shares of keys
//!                       resolve     demand        steps with state
//! ```
//!
//! # Layers
//! No import runs upward; `tests/tidy.rs` holds it.
//!
//! | module | what it is | may name |
//! |---|---|---|
//! | [`base`] | time, places, diagnostics, limits, tasks | nothing |
//! | [`data`] | values, columns, batches, every format, event times, calendars | `base` |
//! | [`alert`] | alerts apart from how they run: when one fires and resolves, what is told of it, to whom and when | `data` |
//! | [`expr`] | expressions and scripts; alone knows Rhai | `data` |
//! | [`plan`] | a checked pipeline as pure data; demand, explanation, drawing | `expr` |
//! | [`store`] | files beside the streams: the state database, the tables that rows are looked up in, the journal; alone knows SQLite | `data` |
//! | [`connector`] | the contracts of sources and sinks | `data` |
//! | [`connectors`] | a file per connector, listed by hand | `connector` |
//! | [`config`] | pipeline files to plans; alone knows YAML | `plan`, `connector`, `store` |
//! | [`engine`] | runs a plan on this machine; names no connector | `plan`, `connector`, `store` |
//! | [`inspect`] | looks at data: its fields, its time and how far it is out of order | `plan` |
//! | [`service`] | pipelines that run: one, and many in one process, with what is known of them | everything but `cli` |
//! | [`cli`] | a file per verb; alone knows the command line | everything |
//!
//! # Invariants
//! * Checking is pure; opening does I/O; running spawns. Nothing does two of them.
//! * The order of events within a partition decides everything: no size of blocks, number of workers or timing shows in
//!   the output ([`engine::gate`]).
//! * A row that nobody changed leaves as the bytes that came ([`data::batch`]).
//! * A field name becomes a column number when the plan is made ([`data::layout`]); nothing looks a name up per event.
//! * Every row that comes in is counted where it ends, and what an entry takes in was counted where it was handed on
//!   ([`engine::ledger`]).
//! * State is rows by key, handed out as changes and given back on restart ([`engine::state`]). What changed is set apart
//!   at a barrier and encoded in slices between ticks; a key that changes before its slice has come is encoded first.
//! * A checkpoint is cut at one point of the stream: a barrier flows with the rows, and what every source, step and sink
//!   hands out at it is one transaction ([`engine::epoch`], [`engine::keeper`]). The flow does not wait for it.
//! * A sink takes what comes to it: one that has no room holds back what feeds it by leave, not by waiting, so that
//!   checkpoints go on ([`connector::Sink::room`]).
//! * What waits has no thread: it is a task ([`base::tasks`]), which may block whenever it has something to do.
//! * A start is a restart: a run that begins makes its first checkpoint before its first row.
//!
//! # Where does it live?
//! | to change | look at |
//! |---|---|
//! | what a key in a pipeline file means | `config`, a file per part of the file |
//! | the wording or place of a mistake | where it is found: `config`, or `expr::analyse` |
//! | what `check` makes of a `schema` | `expr::types` (expressions), `plan::types` (steps) |
//! | `infer`, `suggest` | `inspect` |
//! | a helper function of expressions | `expr::functions` |
//! | what runs without Rhai | `expr::subset` |
//! | a step without state | `plan::Operator`, `config::step`, `engine::action` |
//! | windows and aggregates | `plan::window`, `engine::ops::window` |
//! | joins; what is held back | `plan::join`, `plan::pace`, `engine::ops::join`, `engine::ops::pace` |
//! | how partitions meet, watermarks, idleness | `engine::gate`, `engine::reached`, `engine::silence`; when is looked at the clock: `engine::passing` |
//! | what people say to a run | `engine::said`; how it comes there: `store::control`, `service::interrupts` |
//! | how live inputs meet again as they met | `engine::turns`, `engine::arrivals`, `engine::turn_log` |
//! | threads, which all runs of a process share | `base::tasks` |
//! | tasks of a run, back-pressure, its end | `engine::run`, workers: `engine::worker`; rows on their way to sinks: `engine::outgoing` |
//! | what is seen of a run from outside, how it is stopped and drained | `engine::handle`, `engine::observed`; what is counted for it: `engine::meters` |
//! | rows seen as they pass | `engine::tap` |
//! | how much steps may keep | `engine::budget`; what they keep: `engine::ops`, each step's `load` |
//! | how much leaves at once; slices of ticks | `engine::ops::window` (its `closing` modules), `engine::gather` |
//! | how a step's keys are found and ordered | `engine::ops::window::keys`, `engine::ops::window::ordered` |
//! | when checkpoints are made, what is in them | `engine::checkpoint`, `engine::epoch`, `engine::epochs` |
//! | how keys are encoded while they go on changing | `engine::ops::window::keys`, `engine::ops::window::frozen` |
//! | how state is read back | `engine::restore` |
//! | whose state a changed pipeline may use | `plan::meaning`, `engine::kept` |
//! | how dead letters are sent again | `engine::retry`; what is kept for it: `store::rows`, `Origin` |
//! | what is kept between runs, its tables, their damage | `store::state`, `store::rows` |
//! | reading and writing JSON | `data::json` |
//! | a connector | `connectors`, one file and a line in its list |
//! | how files are followed and unpacked | `connectors::follow`, `connectors::input_file`, `connectors::unpack` |
//! | what is durable before its sender is told so | `store::journal`, `connectors::journalled` |
//! | what is taken by HTTP, and from whom | `connectors::http_server`, `connectors::http_listen` (addresses, TLS), `connectors::http_port` (who shares one; which stay open while a pipeline pauses), `connectors::http_auth`, `connectors::http_body` |
//! | what is asked for by HTTP | `connectors::http_client`, `connectors::http_ask` (requests, pages), `connectors::http_poll`, `connectors::http_stream`, `connectors::http_standing` (the cursor) |
//! | how HTTP servers are called | `connectors::http_call`, `connectors::http_login`; certificates: `connectors::tls` |
//! | how rows are sent until they are taken | `connectors::sent`: the outbox, what of it waits on the disk (`spool`), batches and lanes (`pump`), the breaker; `connectors::http_sink`, `connectors::http_answer` (what a status means), `connectors::http_reach` (which addresses) |
//! | whom people are told by | `connectors::{webhook, slack, teams, pagerduty, email, alertmanager}`, a file each; what they tell is found in a row by `connectors::notification`, sent by `connectors::http_post` or `connectors::smtp`; texts: `connectors::told`, over `connector::row_template` |
//! | what a row that is sent is told apart by | `engine::actions::encode`, `connectors::sent` |
//! | what becomes of rows that are refused | `engine::refused`; how they come out of `.errors`: `engine::returned`, `store::state` (its `returned`) |
//! | when an alert fires and resolves | `alert::machine`; the rows it is fed with, and the order: `engine::ops::alert` |
//! | who is told of alerts, when and how often | `alert::policy`; what time it is for it: `engine::ops::notify`, `engine::silence` |
//! | what an author writes for an alert; how receivers become sinks | `config::alert` (its `receivers`) |
//! | silences, acknowledgements, why and why not | `service::alerts`, shown by `cli::alerts` and `cli::why`; in the policy: its `why`, `silence` and `history` |
//! | verbs that are the same beside a run and as one of `ctl` | `cli::alerts`, `cli::why`, `cli::dead_letters`, `cli::state`: words, and a trait that says what is asked for; `beside` has it of the state, `cli::ctl` of the API |
//! | why a window is open | `service::why`; what is in it: `engine::peek` |
//! | what connectors promise, `explain --guarantees` | `base::promise`, `plan::guarantees` |
//! | whether a connector is connected | `connector::link`; `service::links` tells it, `cli::links` shows it |
//! | how one pipeline is opened and run, and pauses for who wants its state | `service::open`, `service::run`, `service::interrupts` |
//! | many pipelines: back-off, changed files, what a trial is | `service::supervised`, `service::pipelines`; the process: `service::daemon` |
//! | what can be asked of `serve`, who may | `service::api` (a line an endpoint), `service::api::guard`, `service::access`, `service::audit` |
//! | what pipelines reach that came over the API | `connector::Allowed`, `Reach` (each connector says its own), `service::arrived` |
//! | metrics, the log, alerts about Millstream itself | `service::metrics`, `service::levels`, `service::own` with `connectors::own` |
//! | requests that are sent again | `connectors::answered` |
//! | whether peers are there; what `doctor` finds | `connectors::reach`, `cli::doctor` |
//! | copies of states | `store::state` (its `backup`), `cli::backup` |
//! | what of an alert that is gone is told | `alert::policy` (its `removed`) |
//! | which keys of an alert make room for others | `engine::ops::alert` (its `room`) |
//! | what is taken from an MQTT broker, and published | `connectors::mqtt_source`, `connectors::mqtt_sink`, `connectors::mqtt_session` (the connection), `connectors::mqtt_known` (what comes again), `connectors::mqtt_link` (over the clients `mqtt_v5` and `mqtt_v4`), `connectors::mqtt_sieve` (what is too large) |
//! | what is taken and sent by WebSocket | `connectors::websocket_source`, `connectors::websocket_sink`, `connectors::websocket_link` |
//! | how long is waited until something is tried again | `connectors::back_off`; between connections: `connectors::reconnect` |
//! | threads that bring to live sources | `connectors::live` |
//! | what a source says of a record: `meta.topic` | `connector::Metadata`; it is read in `engine::map` |
//! | what sources are told of checkpoints | `engine::commits` |
//! | how new rows of a database are found | `store::growing`, `connectors::sqlite_source` |
//! | how a run that goes on finds its files again | `connectors::file_stream`, `connectors::find_again` |
//! | how files are packed, named and rotated | `connectors::output_files`, `connectors::pack` |
//! | what a crash leaves of an output file | `connectors::output_file` (written as rows come), `connectors::appended_file` (at checkpoints), `connectors::undo_log` |
//! | what the reference says | where the thing is declared; `cli::reference` gathers it, `plan::about` and `expr::effects` have what no declaration says |
//! | drawings | `plan::graph`, `plan::svg` |
//! | the page that `serve` shows | `src/service/page`, scripts and styles as they are sent; `service::api::page` sends them |
//! | templates of `new` | `cli/new`, a file each |
//!
//! # Glossary
//! *partition*: what has an order of its own, a file of a glob; *block*: whole records of one partition; *chunk*: bytes
//! as a source brings them; *tick*: a piece of the one order of all input; *slice*: a part of what leaves, or is encoded, at
//! once; *ordinal*: a row's place in its block or tick;
//! *share*: the part of a step's keys that one worker has; *flow*: stateless steps between two exchanges; *place*: where
//! something stands in a file or a row's text; *delivery*: rows that are sent together; *outbox*: rows that are not taken yet;
//! *link*: a connector's connection; *turn*: something that decided how live inputs met; *hold*: how long a condition must
//! hold; *run*: how far it has come; *returned* rows: those that a sink was
//! refused, on their way out of its `.errors`; *transition*: a change of an alert; *notification*: what a receiver is told of some.

pub mod alert;
pub mod base;
pub mod cli;
pub mod config;
pub mod connector;
pub mod connectors;
pub mod data;
pub mod engine;
pub mod expr;
pub mod inspect;
pub mod plan;
pub mod service;
pub mod store;
