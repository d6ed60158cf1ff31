//! Joins within windows.

use super::super::error::unsupported;
use super::piece::{Piece, Role, Tree, WindowColumn, column_expr};
use super::{Lowering, index_of};
use crate::window::spec::{JoinKind, JoinSpec, WindowEnd};
use crate::{Problem, Result};
use datafusion_common::{JoinType, NullEquality};
use datafusion_expr::logical_plan::Join;
use datafusion_expr::{Expr, LogicalPlan};
use std::sync::Arc;

const HELP: &str = "both sides need a window (tumble or hop in FROM, or a column kept from a GROUP BY over one), and ON must say a.window_end = b.window_end AND the keys";

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Piece> {
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            other => {
                return Err(unsupported(
                    format!("{other} JOIN"),
                    "INNER JOIN and LEFT JOIN are offered, with equal window columns in ON",
                ));
            }
        };
        if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty() {
            return Err(unsupported(
                "IS NOT DISTINCT FROM in a join",
                "compare with =, after coalesce(…) where NULL shall match",
            ));
        }
        let left = self.side(&join.left)?;
        let right = self.side(&join.right)?;
        let pairs: Vec<Pair> = join.on.iter().map(|(l, r)| pair(l, r, join, &left, &right)).collect();
        let chosen = choose(&pairs).ok_or_else(|| unsupported("a join without equal window columns in ON", HELP))?;
        let (left_keys, right_keys) = self.keys(join, &pairs, chosen, &left, &right)?;
        let Some((left_window, right_window)) = pairs[chosen].windows else {
            return Err(Problem::internal("a join lost its window"));
        };
        let end = |(index, w): (usize, WindowColumn)| WindowEnd {
            column: index,
            plus_us: if w.role == Role::End { 0 } else { w.size_us.unwrap_or(0) },
        };
        let residual =
            join.filter.as_ref().map(|f| super::super::expr::physical(f, &join.schema).map_err(super::wrong));
        let mut windows = left.windows.clone();
        // Right columns of a LEFT JOIN may be NULL, so they no longer say when a row's window ends.
        windows.extend(right.windows.iter().map(|w| w.filter(|_| kind == JoinKind::Inner)));
        let width = windows.len();
        let spec = JoinSpec {
            left: left.tree.output(),
            right: right.tree.output(),
            left_keys,
            right_keys,
            left_end: end(left_window),
            right_end: end(right_window),
            window_us: left_window.1.size_us,
            kind,
            residual: residual.transpose()?,
            output: Arc::clone(join.schema.inner()),
            allowed_lateness_us: 0,
        };
        let mut piece =
            Piece::over(Tree::Join { left: Box::new(left.tree), right: Box::new(right.tree), spec }, windows);
        piece.times = vec![false; width];
        Ok(piece)
    }

    /// One side, its columns in logical order.
    fn side(&mut self, plan: &LogicalPlan) -> Result<Piece> {
        let mut piece = self.plan(plan)?;
        piece.materialise()?;
        let columns = (0..piece.slots.len()).map(|i| piece.real(i)).collect();
        piece.project_physical(columns, Arc::clone(plan.schema().inner()));
        Ok(piece)
    }

    fn keys(
        &mut self,
        join: &Join,
        pairs: &[Pair],
        chosen: usize,
        left: &Piece,
        right: &Piece,
    ) -> Result<(Keys, Keys)> {
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (i, (l, r)) in join.on.iter().enumerate() {
            if i == chosen || pairs[i].follows(&pairs[chosen]) {
                continue;
            }
            let (l, r) = (left.compile(l, join.left.schema())?, right.compile(r, join.right.schema())?);
            let types = (l.data_type(&left.tree.output()), r.data_type(&right.tree.output()));
            match types {
                (Ok(a), Ok(b)) if a == b => {}
                _ => {
                    return Err(Problem::error("SQL-TYPE", format!("`{l}` and `{r}` have different types"))
                        .help("cast one of them"));
                }
            }
            left_keys.push(l);
            right_keys.push(r);
        }
        Ok((left_keys, right_keys))
    }
}

type Keys = Vec<Arc<dyn datafusion_physical_expr::PhysicalExpr>>;

/// An equality of ON; `windows` where both sides are window columns that close together.
struct Pair {
    windows: Option<((usize, WindowColumn), (usize, WindowColumn))>,
}

impl Pair {
    /// True if the equality is already said by that of `other`: the other end of the same windows.
    fn follows(&self, other: &Pair) -> bool {
        match (self.windows, other.windows) {
            (Some(((_, l), (_, r))), Some(((_, other_l), (_, other_r)))) => {
                (l.id, r.id) == (other_l.id, other_r.id) && l.size_us.is_some() && l.size_us == r.size_us
            }
            _ => false,
        }
    }
}

fn pair(l: &Expr, r: &Expr, join: &Join, left: &Piece, right: &Piece) -> Pair {
    let window = |e: &Expr, side: &LogicalPlan, piece: &Piece| {
        let index = index_of(column_expr(e)?, side.schema())?;
        Some((index, piece.windows[index]?))
    };
    let both = window(l, &join.left, left).zip(window(r, &join.right, right));
    let closes = |((_, l), (_, r)): &((usize, WindowColumn), (usize, WindowColumn))| match (l.role, r.role) {
        (Role::End, Role::End) => true,
        (Role::Start, Role::Start) => l.size_us.is_some() && l.size_us == r.size_us,
        _ => false,
    };
    Pair { windows: both.filter(closes) }
}

/// The equality that closes the join: one of ends if there is one.
fn choose(pairs: &[Pair]) -> Option<usize> {
    let by = |role| pairs.iter().position(|p| p.windows.is_some_and(|((_, l), _)| l.role == role));
    by(Role::End).or_else(|| by(Role::Start))
}
