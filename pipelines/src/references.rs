//! References: `{ env: NAME, default: … }`, `{ secret: name }`, `"${name}"`.

use crate::tree::Node;

/// True for a map that is a reference: `env` (with `default`) or `secret` alone.
pub(crate) fn is_reference(node: &Node) -> bool {
    let Some(map) = node.as_map() else {
        return false;
    };
    let keys: Vec<&str> = map.iter().map(|e| e.key.as_str()).collect();
    matches!(
        keys.as_slice(),
        ["env"] | ["env", "default"] | ["default", "env"] | ["secret"]
    )
}
