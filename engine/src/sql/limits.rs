//! How large an expression may be, and where it is planned.
//!
//! Text from outside is read by recursive code of others. So its length is bounded, its tree is bounded
//! in depth and size, and reading happens on a thread of its own whose stack holds the deepest tree that
//! the length allows. A panic in there becomes a [`Problem`].

use crate::{Problem, Result};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion, TreeNodeVisitor};
use datafusion_expr::{BinaryExpr, Expr, Operator};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest source of one expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;
/// Longest source of one query, in bytes.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting; a row of equal operators (`a OR b OR c`) is one level.
pub const DEPTH_MAX: usize = 64;
/// Longest row of operators, nesting included.
const CHAIN_MAX: usize = 256;
/// Most nodes in one expression.
pub const NODES_MAX: usize = 10_000;
/// Largest string that a function may make, in bytes.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;

/// Holds the recursion of parser and planner over any source of [`QUERY_BYTES_MAX`]; pages are
/// used only as far as the recursion goes.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Refuses a source that is too long or empty.
pub(super) fn check_source(sql: &str, bytes_max: usize) -> Result<()> {
    if sql.len() > bytes_max {
        let found = format!("{} bytes", sql.len());
        return Err(too_large("the SQL text is too long", found, format!("at most {bytes_max} bytes")));
    }
    if sql.trim().is_empty() {
        return Err(Problem::error("SQL-SYNTAX", "the SQL text is empty").expected("an expression or a query"));
    }
    Ok(())
}

/// Runs `work` on a thread with a deep stack; a panic becomes an internal [`Problem`].
pub(super) fn deep<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let guarded = || {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Problem::internal("the SQL planner panicked").found(text.unwrap_or("no message")))
        })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sql-planner".into()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, guarded) {
            Ok(handle) => handle.join().expect("the closure catches panics"),
            Err(e) => Err(Problem::outside("SQL-THREAD", "cannot start a thread to plan SQL").found(e.to_string())),
        }
    })
}

/// Refuses an expression with too many levels or nodes.
pub(super) fn check_tree(expr: &Expr) -> Result<()> {
    let mut measure = Measure::default();
    expr.visit(&mut measure).map_err(|e| Problem::internal(e.to_string()))?;
    if measure.nodes > NODES_MAX {
        let what = "the expression has too many parts";
        return Err(too_large(what, format!("more than {NODES_MAX}"), format!("at most {NODES_MAX}")));
    }
    if measure.deepest > DEPTH_MAX || measure.longest > CHAIN_MAX {
        let found = format!("{} levels, {} operators below each other", measure.deepest, measure.longest);
        let expected = format!("at most {DEPTH_MAX} levels and {CHAIN_MAX} operators");
        return Err(too_large("the expression is nested too deeply", found, expected));
    }
    Ok(())
}

fn too_large(what: &str, found: String, expected: String) -> Problem {
    let help = "split it over several nodes, or use IN (…) in place of a long row of OR";
    Problem::error("SQL-TOO-LARGE", what).found(found).expected(expected).help(help)
}

/// Counts nodes and levels; a level begins where the operator changes.
#[derive(Default)]
struct Measure {
    path: Vec<(Option<Operator>, usize)>,
    nodes: usize,
    deepest: usize,
    longest: usize,
}

impl<'n> TreeNodeVisitor<'n> for Measure {
    type Node = Expr;
    fn f_down(&mut self, node: &'n Expr) -> datafusion_common::Result<TreeNodeRecursion> {
        let op = match node {
            Expr::BinaryExpr(BinaryExpr { op, .. }) => Some(*op),
            _ => None,
        };
        let (parent, depth) = self.path.last().copied().unwrap_or((None, 0));
        let depth = if op.is_some() && op == parent { depth } else { depth + 1 };
        self.path.push((op, depth));
        self.nodes += 1;
        self.deepest = self.deepest.max(depth);
        self.longest = self.longest.max(self.path.len());
        Ok(if self.nodes > NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    }
    fn f_up(&mut self, _node: &'n Expr) -> datafusion_common::Result<TreeNodeRecursion> {
        self.path.pop();
        Ok(TreeNodeRecursion::Continue)
    }
}
