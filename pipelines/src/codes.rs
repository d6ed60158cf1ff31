//! The codes of all problems that a pipeline file can have: one list, for code, docs and search.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal: $text:literal;)*) => {
        $(#[doc = $text] pub const $name: &str = $code;)*
        /// Every code with one line that says what it means.
        pub const ALL: &[(&str, &str)] = &[$(($code, $text)),*];
    };
}

codes! {
    SYNTAX = "PIPE-SYNTAX": "The text is not valid: YAML, TOML or JSON cannot be read, or uses what is not allowed here (anchors, aliases, merge keys, tags, two documents).";
    LIMIT = "PIPE-LIMIT": "The file is larger, deeper or richer than the limits allow (1 MiB, depth 64, 50,000 values, 1,000 nodes).";
    DUPLICATE = "PIPE-DUPLICATE": "The same key or node stands twice; both places are given.";
    UNKNOWN_KEY = "PIPE-UNKNOWN-KEY": "A key that nobody reads; never ignored.";
    UNKNOWN_KIND = "PIPE-UNKNOWN-KIND": "No node kind has this name.";
    MISSING_KEY = "PIPE-MISSING-KEY": "A required key is not there.";
    KEY_NOT_ALLOWED = "PIPE-KEY-NOT-ALLOWED": "A key common to nodes that makes no sense for this kind.";
    TYPE = "PIPE-TYPE": "A value of the wrong type, or a field type that cannot be read.";
    VALUE = "PIPE-VALUE": "A value of the right type that is not one of those allowed.";
    RANGE = "PIPE-RANGE": "A number, duration or length outside its range.";
    UNIT = "PIPE-UNIT": "A duration or size without a unit, with an unknown one, negative, or too large.";
    NAME = "PIPE-NAME": "A name with letters that are not allowed, or too long.";
    VERSION = "PIPE-VERSION": "The version of the file format is missing or not known here.";
    DANGLING = "PIPE-DANGLING": "Names a node, port, connection or parameter that does not exist.";
    INPUTS = "PIPE-INPUTS": "The inputs do not fit the kind: a source with `from`, a transform without, a map where one stream goes in.";
    CYCLE = "PIPE-CYCLE": "Nodes feed themselves; the path is given.";
    UNUSED = "PIPE-UNUSED": "Nobody reads the output of a node, or nothing is written at all.";
    EVENT_TIME = "PIPE-EVENT-TIME": "No event time reaches a window; arrival counts.";
    GUARANTEE = "PIPE-GUARANTEE": "Something on the way to a sink promises less than what is asked.";
    REFERENCE = "PIPE-REFERENCE": "A parameter, environment variable or secret has no value; named, never shown.";
    TEMPLATE = "PIPE-TEMPLATE": "A `${…}` that is neither a parameter nor a field of the row.";
    SECRET = "PIPE-SECRET": "A secret where none may stand, or a credential written into the file.";
    TEST = "PIPE-TEST": "A test that cannot be run as written.";
    MORE = "PIPE-MORE": "There are more problems than are shown.";
}
