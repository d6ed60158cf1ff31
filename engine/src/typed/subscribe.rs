//! Typed subscriptions: what passes a stream, in whole epochs.

use super::collect::{Update, updates};
use super::row::Row;
use crate::Result;
use crate::runtime::Watched;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// The rows of one stream while a job runs; made by [`Stream::subscribe`](super::Stream::subscribe).
///
/// Each worker hands over its rows of an epoch once the epoch is closed: nobody sees half of one. With
/// several workers an epoch comes in as many parts as workers had rows. A subscription is not part of a
/// checkpoint: rows come as they are made, and again if they are made again after a crash.
pub struct Subscription<T> {
    closed: Receiver<Watched>,
    rows: PhantomData<fn() -> T>,
}

/// What [`Subscription::next`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The rows of one closed epoch from one worker, in order, at least one.
    Rows(Vec<Update<T>>),
    /// Nothing has come for as long as was waited.
    Quiet,
    /// The job has ended.
    Ended,
}

impl<T: Row> Subscription<T> {
    pub(super) fn new(closed: Receiver<Watched>) -> Self {
        Subscription { closed, rows: PhantomData }
    }

    /// The next rows; waits for at most `limit`.
    ///
    /// Rows not taken count against the memory of the job, whose sources stop at its limit: a
    /// subscription that is no longer read must be dropped.
    ///
    /// # Errors
    /// As [`Row::from_batch`].
    pub fn next(&self, limit: Duration) -> Result<Next<T>> {
        match self.closed.recv_timeout(limit) {
            Ok(Watched { epoch, rows, .. }) => {
                let mut all = Vec::new();
                for batch in &rows {
                    all.extend(updates(epoch, batch)?);
                }
                Ok(Next::Rows(all))
            }
            Err(RecvTimeoutError::Timeout) => Ok(Next::Quiet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::Ended),
        }
    }
}
