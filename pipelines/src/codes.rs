//! The codes of the problems that a pipeline file can have. What they mean stands in
//! [`millstream_problem::codes`], with all others.

macro_rules! codes {
    ($($name:ident = $code:literal;)*) => {
        $(#[doc = concat!("`", $code, "`")] pub const $name: &str = $code;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($code),*];
    };
}

codes! {
    SYNTAX = "PIPE-SYNTAX";
    LIMIT = "PIPE-LIMIT";
    DUPLICATE = "PIPE-DUPLICATE";
    UNKNOWN_KEY = "PIPE-UNKNOWN-KEY";
    UNKNOWN_KIND = "PIPE-UNKNOWN-KIND";
    MISSING_KEY = "PIPE-MISSING-KEY";
    KEY_NOT_ALLOWED = "PIPE-KEY-NOT-ALLOWED";
    TYPE = "PIPE-TYPE";
    VALUE = "PIPE-VALUE";
    RANGE = "PIPE-RANGE";
    UNIT = "PIPE-UNIT";
    NAME = "PIPE-NAME";
    VERSION = "PIPE-VERSION";
    DANGLING = "PIPE-DANGLING";
    INPUTS = "PIPE-INPUTS";
    CYCLE = "PIPE-CYCLE";
    UNUSED = "PIPE-UNUSED";
    EVENT_TIME = "PIPE-EVENT-TIME";
    GUARANTEE = "PIPE-GUARANTEE";
    REFERENCE = "PIPE-REFERENCE";
    TEMPLATE = "PIPE-TEMPLATE";
    SECRET = "PIPE-SECRET";
    TEST = "PIPE-TEST";
    MORE = "PIPE-MORE";
}
