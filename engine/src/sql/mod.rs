//! Expressions and queries: DataFusion plans, Millstream runs.
