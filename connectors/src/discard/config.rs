//! What a user writes behind `kind: discard`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes rows and lets them go; only the node's counters show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscardConfig {}
