//! Every code that a [`Problem`](crate::Problem) can have: what it means and what to do. One list, for the
//! reference page, for `millstream` and for search; a test compares it with the sources.
//!
//! A code is `AREA-WHAT` and never changes its meaning. The problem itself says more: where, what was found,
//! what was expected.

/// A code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `AREA-WHAT`.
    pub code: &'static str,
    /// What has happened.
    pub means: &'static str,
    /// What to do about it.
    pub help: &'static str,
}

/// Codes that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// What they are about, as a heading.
    pub title: &'static str,
    /// The codes, in alphabetical order.
    pub codes: &'static [Code],
}

macro_rules! areas {
    ($($title:literal { $($code:literal: $means:literal, $help:literal;)* })*) => {
        /// Every code, by area.
        pub const AREAS: &[Area] =
            &[$(Area { title: $title, codes: &[$(Code { code: $code, means: $means, help: $help }),*] }),*];
    };
}

/// Every code.
pub fn all() -> impl Iterator<Item = &'static Code> {
    AREAS.iter().flat_map(|area| area.codes)
}

/// The entry of a code.
///
/// ```
/// assert!(millstream_problem::codes::find("PIPE-CYCLE").is_some());
/// ```
pub fn find(code: &str) -> Option<&'static Code> {
    all().find(|c| c.code == code)
}

areas! {
    "Pipeline files" {
        "PIPE-CYCLE": "Nodes feed themselves; the path is given.", "Take one of the edges of the path away.";
        "PIPE-DANGLING": "Names a node, port, connection or parameter that does not exist.", "Use one of the names that are listed.";
        "PIPE-DUPLICATE": "The same key or node stands twice, or two nodes claim one old name; both places are given.", "Keep one of them.";
        "PIPE-EVENT-TIME": "No event time reaches a window; arrival counts.", "Declare `event_time` at the source or at a transform before the window.";
        "PIPE-GUARANTEE": "Something on the way to a sink promises less than what is asked.", "Choose another connector, or let that sink say `guarantee: at_least_once`.";
        "PIPE-INPUTS": "The inputs do not fit the kind: a source with `from`, a transform without, a map where one stream goes in.", "Give the node the inputs that its page in the reference shows.";
        "PIPE-KEY-NOT-ALLOWED": "A key common to nodes that makes no sense for this kind.", "Take it away, or put it at another node.";
        "PIPE-LIMIT": "The file is larger, deeper or richer than the limits allow (1 MiB, depth 64, 50,000 values, 1,000 nodes).", "Split the pipeline.";
        "PIPE-METADATA": "No column of the transport has this name.", "Use one of those that are listed.";
        "PIPE-MISSING-KEY": "A required key is not there.", "Add it.";
        "PIPE-MORE": "There are more problems than are shown.", "Mend the first ones and check again.";
        "PIPE-NAME": "A name with letters that are not allowed, or too long.", "Node names are small letters, digits and `_`, at most 64.";
        "PIPE-RANGE": "A number, duration or length outside its range.", "Choose a value within the range that is given.";
        "PIPE-REFERENCE": "A parameter, environment variable or secret has no value; named, never shown.", "Set it: `-p NAME=VALUE`, the environment variable, or `MILLSTREAM_SECRET_<NAME>`.";
        "PIPE-SCHEMA": "The format needs its columns declared.", "Add `schema: { name: type, … }`; `millstream new` writes one from the data.";
        "PIPE-SECRET": "A secret where none may stand, or a credential written into the file.", "Write `{ secret: name }` or `{ env: NAME }`.";
        "PIPE-SYNTAX": "The text is not valid: YAML, TOML or JSON cannot be read, or uses what is not allowed here (anchors, aliases, merge keys, tags, two documents).", "Mend the place that is shown.";
        "PIPE-TEMPLATE": "A `${…}` that is neither a parameter nor a field of the row.", "Declare the parameter, or write `${row.field}`.";
        "PIPE-TEST": "A test that cannot be run as written.", "Feed sources; expect nodes, ports or sinks.";
        "PIPE-TYPE": "A value of the wrong type, or a field type that cannot be read.", "Write what is expected; types stand in the reference.";
        "PIPE-UNIT": "A duration or size without a unit, with an unknown one, negative, or too large.", "Write `500ms`, `30s`, `5m`, `256MiB`.";
        "PIPE-UNKNOWN-KEY": "A key that nobody reads; never ignored.", "Use the nearest right name, which is given.";
        "PIPE-UNKNOWN-KIND": "No node kind has this name.", "`millstream components` lists them.";
        "PIPE-UNUSED": "Nobody reads the output of a node, or nothing is written at all.", "Connect it, end it with `discard`, or take it away.";
        "PIPE-VALUE": "A value of the right type that is not one of those allowed.", "Use one of those that are listed.";
        "PIPE-VERSION": "The version of the file format is missing or not known here.", "Begin the file with `version: 1`.";
    }
    "Plans" {
        "PLAN-EMPTY": "The pipeline has no nodes.", "Add a source and a sink.";
        "PLAN-EVENT-TIME": "The column that `event_time` names is no timestamp, or the node keeps state or stands behind one that does.", "Name a timestamp; declare event time at the source or at a stateless node right behind it.";
        "PLAN-UNION-SCHEMA": "The inputs of a union have different columns.", "Bring them to the same columns with `select` or `sql`.";
        "PLAN-WAS": "The old name of a node is that of another node, or claimed by two.", "Only one node can keep the state of an old name.";
        "RUNTIME-WORKERS": "A job cannot have that many workers.", "Choose 1 to 256.";
        "UNION-SCHEMA": "The nodes under one `from` have different columns.", "Bring them to the same columns with `select` or `sql`.";
    }
    "SQL and expressions" {
        "EXPR-CAST": "A value of this row cannot be converted to the type.", "Filter such rows out before, or use `try_cast`.";
        "EXPR-DIVIDE-BY-ZERO": "A division by zero in this row.", "Use `nullif(divisor, 0)`.";
        "EXPR-FAILED": "The expression fails over this row.", "The message says why; filter such rows out before.";
        "EXPR-OVERFLOW": "A result of this row does not fit its type.", "Cast to a wider type before.";
        "EXPR-TOO-LARGE": "A result of this row is larger than the limit.", "Shorten the text, or choose another function.";
        "SQL-AMBIGUOUS-COLUMN": "A column is in more than one input.", "Write the input's name before it: `a.column`.";
        "SQL-COMPUTED-KEY": "A join or session by a computed key needs one worker.", "Compute the key in a subquery and name it there.";
        "SQL-DUPLICATE-COLUMN": "Two columns have the same name.", "Rename one with AS.";
        "SQL-EMPTY": "No column is selected.", "Select at least one.";
        "SQL-EVENT-TIME": "The window goes by another column than the input's event time, so it may never close.", "Use the event-time column, or declare this one as `event_time`.";
        "SQL-PLAN": "The query cannot be planned.", "The message says why.";
        "SQL-SYNTAX": "The SQL cannot be read.", "Mend the place that is shown.";
        "SQL-THREAD": "No thread could be started to plan SQL.", "Look at the limits of this machine.";
        "SQL-TOO-LARGE": "The SQL is longer or deeper than the limits allow, or a constant in it is.", "Split the query into several nodes.";
        "SQL-TYPE": "Types do not fit each other.", "Cast one side.";
        "SQL-UNKNOWN-COLUMN": "No input has this column.", "Use one of the columns that are listed.";
        "SQL-UNKNOWN-FUNCTION": "No function has this name.", "Use the nearest right name, which is given.";
        "SQL-UNKNOWN-INPUT": "The query names an input that is not under `from`.", "Name it there: `from: { name: node }`.";
        "SQL-UNSUPPORTED": "Something that SQL has and that is not offered here; it is named.", "The message says what to write in its place.";
        "SQL-VALUE": "A constant in the SQL cannot be evaluated.", "Mend the constant.";
        "SQL-WINDOW": "A window function is not written as it must be.", "`tumble(input, time, INTERVAL '1 minute')`; likewise `hop` and `session`.";
    }
    "Windows and dedupe" {
        "DEDUPE-BOUND": "The bound on what is remembered is not positive.", "Set `within` or `max_keys` to more than nothing.";
        "DEDUPE-CHANGELOG": "Dedupe takes rows, not changes of rows.", "Put it before what makes the changes.";
        "DEDUPE-CONFIG": "The node does not say what to compare or how long to remember.", "Set `by`, and one of `within` and `max_keys`.";
        "DEDUPE-NULL-TIME": "The event time of this row is NULL.", "Fill it in before, or filter such rows out.";
        "DEDUPE-TIME-TYPE": "The event-time column is no timestamp.", "Declare it as `timestamp`.";
        "KEY-TYPE": "A column of this type cannot be a key.", "Use numbers, text, dates, or cast it to text.";
        "WINDOW-CHANGELOG": "A window takes rows, not changes of rows.", "Put the window before what makes the changes.";
        "WINDOW-LATE": "The row came after its window had closed.", "Raise `out_of_order` or `allowed_lateness`, or read the port `late`.";
        "WINDOW-NO-TIME": "The event time of this row is NULL, so it belongs to no window.", "Fill it in before, or filter such rows out.";
        "WINDOW-NULL-TIME": "The event time of this row is NULL, so it belongs to no window.", "Fill it in before, or filter such rows out.";
        "WINDOW-SIZE": "The size, slide or gap of a window is not positive.", "Set it to more than nothing.";
        "WINDOW-TIME-TYPE": "The event-time column is no timestamp.", "Declare it as `timestamp`.";
    }
    "Transforms" {
        "COLUMN-TYPE": "The column holds no text.", "Choose another column, or cast it to text before.";
        "COLUMN-UNKNOWN": "The input has no such column.", "Use one of the columns that are listed.";
        "GROK-INVALID": "The grok pattern cannot be read.", "Close each `%{`, and let no pattern use itself.";
        "GROK-UNKNOWN": "No grok pattern has this name.", "Use the nearest right name, or define it under `patterns`.";
        "PARSE-CONFIG": "The node does not say how to parse, or says what has no effect.", "Set exactly one of `regex`, `grok` and `format`.";
        "PARSE-NO-MATCH": "The text of this row does not match.", "Look at it with `millstream dead show`; widen the pattern.";
        "PARSE-TYPE": "A field of this row is not of its type.", "Declare another type, or `string`.";
        "REDACT-CONFIG": "There is nothing to redact, or a redaction is not written as it must be.", "Turn on `email`, `ip` or `card`, or add `custom`.";
        "REDACT-TOO-LARGE": "The replacements make a column larger than a batch can hold.", "Choose a shorter replacement.";
        "REGEX-INVALID": "This is no regular expression, or it uses look-around or back-references.", "Mend it; matching time is linear, which these would not be.";
        "REGEX-TOO-LARGE": "The expression is too long, or becomes too large.", "Bound the repetitions, or use ASCII classes `(?-u)`.";
        "ROUTE-CONFIG": "A route has no condition, or its name cannot be a port's.", "Name each port in small letters and give it a condition.";
        "TIME-FORMAT": "The time format cannot be read, or does not say a whole date.", "Write it in the way of strftime: `%Y-%m-%d %H:%M:%S`.";
        "TYPE-UNKNOWN": "No type has this name, or it is not offered here.", "Use the nearest right name, which is given.";
    }
    "Formats" {
        "CSV-COLUMNS": "The line has another number of fields than there are columns.", "Mend the line, or the columns.";
        "CSV-HEADER": "The first line of the file does not name the columns of the schema.", "List them in the file's order, or set `header: false`.";
        "CSV-MISSING": "A column that must have a value has none in this line.", "Mend the line, or take the `!` away.";
        "CSV-QUOTE": "A quote stands where none may, or does not end in this line.", "Line breaks within quotes are not read from files.";
        "CSV-TYPE": "A field of this line is not of its type.", "Mend the line, or declare `string`.";
        "FORMAT-ABSENT": "The program was built without this format.", "Build it with the feature that is named.";
        "FORMAT-CHANGELOG": "The format has no place for rows that are taken back.", "Write NDJSON, which adds `_diff`, or emit on close.";
        "FORMAT-COLUMN": "The file has no such column.", "Use one of the columns that are listed.";
        "FORMAT-DELIMITER": "This character cannot separate fields.", "Use one ASCII character that is no quote and no line end.";
        "FORMAT-METADATA": "The transport has no such column, or it has another type.", "Use one of those that are listed.";
        "FORMAT-NO-ROWS": "The format is one of whole files, not of rows.", "Use text, NDJSON or CSV here.";
        "FORMAT-TYPE": "The format cannot hold a column of this type, or a value does not fit.", "Cast it before.";
        "INFER-NOTHING": "No record could be read from the sample.", "Say the format: `--format`.";
        "IPC-DATA": "The Arrow IPC file is damaged, or compressed inside.", "Write it anew, without compression.";
        "IPC-LIMIT": "The Arrow IPC file asks for more than is allowed.", "Split it.";
        "IPC-SCHEMA": "This is no complete Arrow IPC file.", "Check the format, and that the file is complete.";
        "IPC-START": "The file has fewer rows than have been read of it.", "It was replaced: give the new one a new name.";
        "IPC-WRITE": "The Arrow IPC file cannot be written.", "The message says why.";
        "JSON-DEPTH": "Objects and lists lie too deep in one another.", "Flatten the record.";
        "JSON-DUPLICATE": "A field comes twice in one record.", "Keep one of them.";
        "JSON-MISSING": "A field that must have a value has none in this record.", "Mend the record, or take the `!` away.";
        "JSON-RANGE": "A number does not fit its type.", "Declare a wider type.";
        "JSON-SYNTAX": "The record is no JSON.", "Look at it with `millstream dead show`.";
        "JSON-TYPE": "A field of this record is not of its type.", "Declare another type, or `json`.";
        "JSON-UNSUPPORTED": "A column of this type cannot be written as JSON.", "Cast it to text before.";
        "LINE-TOO-LONG": "The line is longer than the limit.", "Raise `max_line`, or look for a missing line end.";
        "PARQUET-DATA": "The Parquet file is damaged.", "Write it anew.";
        "PARQUET-FOOTER": "This is no complete Parquet file.", "Check the format, and that the file is complete.";
        "PARQUET-LIMIT": "The Parquet file asks for more than is allowed.", "Write it with smaller row groups.";
        "PARQUET-START": "The file has fewer rows than have been read of it.", "It was replaced: give the new one a new name.";
        "PARQUET-WRITE": "The Parquet file cannot be written.", "The message says why.";
        "TEXT-UTF8": "The text is not UTF-8.", "Convert it, or look at the record with `millstream dead show`.";
    }
    "Files and streams" {
        "FILE-AHEAD": "Files have been published that the state knows nothing of: it is older than the output.", "Put the newest state back, or move the later files away.";
        "FILE-COMPRESSED-CUT": "The compressed file ends in the middle.", "Bring the rest, or the file whole.";
        "FILE-COMPRESSED-DAMAGED": "The compressed file is damaged.", "Bring it anew.";
        "FILE-COMPRESSION": "This format is compressed inside.", "Leave `compression` out.";
        "FILE-ENCODING": "The file is UTF-16.", "Convert it: `iconv -f UTF-16 -t UTF-8`.";
        "FILE-EXISTS": "Another file has the name that this one must get.", "Move it away; nothing is ever overwritten.";
        "FILE-FORMAT": "Files are not written in this format.", "Use NDJSON, CSV, Parquet or text.";
        "FILE-HANDLE": "What the checkpoint holds is not of a file sink.", "Undo the change of the node, or say `--drop-state NODE`.";
        "FILE-IS-DIRECTORY": "The path is a directory.", "Name its files: `directory/*`.";
        "FILE-NO-MATCH": "No file matches the pattern.", "Mend the pattern, or set `read: watch` to wait for files.";
        "FILE-NOT-DIRECTORY": "The path of the sink is a file.", "Name a directory.";
        "FILE-NOT-REGULAR": "The path is a FIFO, socket or device.", "Pipe it into `stdin`.";
        "FILE-OUTSIDE-ROOT": "The path leads out of the directory that pipelines may use.", "Name a file beneath it.";
        "FILE-PARQUET": "The file of a sink cannot be made a Parquet file.", "The message says why.";
        "FILE-PART-DAMAGED": "A file of the last checkpoint does not have its checksum any more.", "Restore it, or say `--drop-state NODE` and do without its rows.";
        "FILE-PART-LOST": "A file of the last checkpoint is gone or was changed.", "Restore it, or say `--drop-state NODE` and do without its rows.";
        "FILE-PATTERN": "The pattern cannot be read.", "Use `*`, `?`, `[a-z]` and `**`.";
        "FILE-POSITION": "What the checkpoint holds is not of a file source.", "Undo the change of the node, or say `--drop-state NODE`.";
        "FILE-POSITION-LOST": "The file that was being read is gone, or is another one now.", "Bring it back, or set `on_lost: restart`.";
        "FILE-PREFIX": "The prefix cannot begin a file's name.", "At most 100 of A-Z a-z 0-9 . _ - and no dot first.";
        "FILE-SCHEMA": "The rows cannot be written as columns.", "The message says which type.";
        "FILE-TEMPLATE": "The path of the sink cannot be read.", "Write a directory: `out/` or `out/${row.country}`.";
        "FILE-TEMPLATE-FIELD": "The path names a field that the rows do not have, or that is no text.", "Use one of the columns.";
        "FILE-TRUNCATED": "The file was cut while it was read, or written anew.", "Append to files, or replace them under a new name.";
        "GENERATOR-PARTITION": "The generator has no such partition.", "Undo the change of `partitions`, or say `--drop-state NODE`.";
        "GENERATOR-POSITION": "What the checkpoint holds is not of a generator.", "Undo the change of the node, or say `--drop-state NODE`.";
        "IO": "The system refused to read or write; the reason is given.", "Mend the cause; the job tries again where that can help.";
        "IO-DISK-FULL": "The disk is full.", "Free space; a job that runs goes on by itself.";
        "IO-NOT-FOUND": "The file or folder is not there.", "Relative paths begin at the pipeline file's folder.";
        "IO-PERMISSION": "This user may not do that with the file.", "Change its rights, or the user.";
        "IO-READ-ONLY": "The file system is read-only.", "Choose another folder.";
        "IO-SYNC": "The disk did not make a file durable.", "Check the disk; a restart goes on from the last checkpoint.";
        "STDIN-FORMAT": "Standard input is read line by line.", "Use text, NDJSON or CSV.";
        "STDOUT-CLOSED": "Nobody reads standard output any more.", "Nothing: the run ends.";
        "STDOUT-FORMAT": "Standard output is written line by line.", "Use NDJSON, CSV or text.";
    }
    "State and checkpoints" {
        "CHECKPOINT-TIMEOUT": "A checkpoint did not finish in time.", "Look for a slow disk or sink; raise `checkpoint: { timeout }`.";
        "STATE-BLOCK-SIZE": "The state of one node has grown beyond what a checkpoint can hold in one piece.", "Bound it: smaller windows, fewer keys.";
        "STATE-CHAIN": "Records of two different times are mixed in the state directory.", "Restore the directory as a whole.";
        "STATE-CHANGED": "The node now means something else than its state.", "Undo the change, or say `--drop-state NODE`; `millstream plan` shows what is kept.";
        "STATE-CORRUPT-FILE": "A state file is damaged.", "`millstream state verify` shows what else is; restore the directory from a backup.";
        "STATE-CORRUPT-RECORD": "A record of the commit log is damaged.", "`millstream state verify` shows what else is; restore the directory from a backup.";
        "STATE-DIR": "The state directory cannot be used.", "It must be a directory of this user, mode 0700, and writable.";
        "STATE-DISK-FULL": "The disk with the state is full.", "Free space; a job that runs goes on by itself.";
        "STATE-EXISTS": "There is state already.", "Resume from it, or say `--fresh`.";
        "STATE-FELL-BACK": "The newest checkpoint is damaged; the one before it counts.", "Look at the disk.";
        "STATE-FENCED": "Another process has taken over this pipeline.", "Nothing: this one stops, the other goes on.";
        "STATE-FOREIGN": "The state belongs to another pipeline, or was written with another key hash.", "Give each pipeline a state directory of its own.";
        "STATE-IN-USE": "Another process runs on this state directory.", "Stop it first; a pipeline runs once.";
        "STATE-IO": "The state directory cannot be read or written.", "The message says why.";
        "STATE-MISSING-FILE": "A file that the commit log names is missing.", "Restore the directory from a backup.";
        "STATE-NAME": "This is no name of a state file.", "A defect: please report it.";
        "STATE-NEWER-FORMAT": "The state was written by a newer Millstream.", "Start that version, or a newer one.";
        "STATE-NO-SUCH-NODE": "`--drop-state` names a node of which the checkpoint holds nothing.", "Use one of the names that are listed.";
        "STATE-NONE": "There is no checkpoint to go on from.", "Start afresh, or name the right state directory.";
        "STATE-ORPHAN": "The checkpoint holds something of a node that is gone, or no longer has it.", "Say `was: old_name` at the node that took its place, or `--drop-state NODE`.";
        "STATE-POSITION": "The checkpoint holds a position that cannot be read.", "`millstream state verify`; restore the directory from a backup.";
        "STATE-SCHEMA": "A block of state has other columns than its node hands over.", "Undo the change, or say `--drop-state NODE`.";
        "STATE-SYNC": "The disk refused to make the state durable.", "Check the disk; a restart goes on from the last checkpoint.";
        "STATE-WAS": "The checkpoint holds state under the old name of a node and under its new one.", "Take `was` away, or give one up with `--drop-state`.";
    }
    "Dead letters" {
        "DEAD-GUARD": "Too many records become dead letters: the sources wait, or the run ends.", "Look at them with `millstream dead list`, mend the pipeline, start it again and run `millstream dead replay`; if they are meant to be, say `dead_letters: { guard: off }`.";
        "DEAD-NONE": "There is no checkpoint, so there are no dead letters to replay.", "Run the pipeline first, or name its state with `--state`.";
        "DEAD-NUMBER": "No dead letter has this number.", "`millstream dead list` shows them.";
        "DEAD-SEGMENT": "A segment of dead letters cannot be read.", "`millstream state verify`; restore the directory from a backup.";
        "DEAD-STORE": "The dead-letter store is nearly full, or full.", "Mend what makes the letters; raise `dead_letters: { max }`, or set `when_full: drop_oldest`.";
        "NODE-PANIC": "A node panics on this row each time, or for no row that could be set aside.", "Mend the node; then `millstream dead replay` feeds the row again.";
    }
    "The command line" {
        "CLI-BOUND": "An end of a range of dead letters is neither a number nor a time.", "Write a number as `millstream dead list` prints it, `2026-01-31` or `2026-01-31T12:00:00Z`.";
        "CLI-FRESH": "The directory that `--fresh` would remove holds no state of Millstream.", "Name the right one with `--state`.";
        "CLI-METRICS": "Metrics cannot be answered at this address.", "Use a free port of 127.0.0.1.";
        "CLI-NO-TESTS": "There is no test to run.", "Write some under `tests:` in the file, or in NAME.test.yaml beside it; look at `--filter`.";
        "CLI-PARAMETER": "A parameter has no value.", "Write `-p NAME=VALUE`.";
        "CLI-WATCH": "The name of a pipeline was changed while it ran under `--watch`.", "Undo it, or stop the run and start anew: the name says whose state it is.";
        "NEW-COLUMNS": "A column of the CSV file cannot be declared.", "Rename it in the file.";
        "NEW-EMPTY": "There is nothing in the file to guess from.", "Name a file with some data.";
        "NEW-EXISTS": "There is a file of this name already.", "Choose another name, or say `--force`.";
        "NEW-FORMAT": "No format has this name.", "Use the nearest right name, which is given.";
        "NEW-MIXED": "The lines of the file have several forms.", "Keep them apart, or say which one counts with `--format`.";
        "NEW-SOURCE": "The data is no file, or its path cannot stand in a pipeline file.", "Name a file or a pattern.";
        "NEW-UNKNOWN": "The content is no text and no format known here.", "Unpack or convert it, or say the format with `--format`.";
    }
    "The library" {
        "CALL-DIFF": "A call takes rows that come once, not changes of rows.", "Put it before what makes the changes.";
        "CALL-FAILED": "The closure of a call returned an error for this row.", "The message is the closure's own.";
        "CALL-PANIC": "The closure of a call panicked, or ended without an answer.", "Return an error in its place.";
        "CALL-TIMEOUT": "A call gave no answer in time.", "Raise the limit, or look at what is called.";
        "CHANNEL-POSITION": "What the checkpoint holds is not of a channel.", "Undo the change of the node, or say `drop_state`.";
        "FLOW-KEY": "Rows with this field cannot be keyed.", "Rename the field.";
        "FLOW-NAME": "The name is taken, or cannot be a node's.", "Give each node a name of its own, without `/`.";
        "FLOW-SCHEMA": "The closure returned other columns than its row type has.", "Return the columns that are expected.";
        "ROW-COLUMN": "The rows have no column of this field's name.", "Rename the field, or select the column.";
        "ROW-NULL": "A column holds a NULL where the field takes none.", "Make the field an `Option`.";
        "ROW-TYPE": "A column has another type than the field.", "Change the field's type, or cast the column.";
        "STATEFUL-DIFF": "A closure with state takes rows that come once, not changes of rows.", "Put it before what makes the changes.";
        "STATEFUL-ENDLESS": "Timers set others for ever after the input has ended.", "Set none where `out.has_ended()`.";
        "STATEFUL-STATE": "The state of a key cannot be read or written as JSON.", "Give new fields `#[serde(default)]`; maps need text as keys.";
        "STATEFUL-TIMER": "A timer is set, and the node does not say what happens then.", "Add `.on_timer(..)` or `.on_clock_timer(..)`.";
        "TEST-NAME": "A test run names a node that the pipeline does not have.", "Use the nearest right name, which is given.";
        "TEST-RESTLESS": "The pipeline of a test run does not come to rest.", "Look for a timer that sets itself again to a time that has passed.";
        "TEST-RETRACTION": "A row was taken back more often than it came.", "Look at what makes the changes.";
        "TEST-ROW": "A row that a test feeds does not fit the columns of the source.", "Give every column that is never null, in its type.";
        "TEST-STUCK": "A step of a test run takes too long.", "Look for a closure that waits; give the run a longer limit.";
    }
    "Millstream itself" {
        "INTERNAL": "A defect of Millstream.", "Please report it, with the lines that are printed.";
    }
}
