//! One call as a task: its timeout, its panic, and the answer that always comes.

use super::slots::Permit;
use super::{Call, Calls};
use crate::operator::Emit;
use crate::{Problem, Result};
use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

type Made = Pin<Box<dyn Future<Output = Result<Emit>> + Send>>;

/// The function of a node.
#[derive(Clone)]
pub(super) enum Function {
    Async(Arc<dyn Fn(Call) -> Made + Send + Sync>),
    Blocking(Arc<dyn Fn(Call) -> Result<Emit> + Send + Sync>),
}

/// What became of a call.
pub(super) enum Outcome {
    Done(Emit),
    Failed { code: &'static str, message: String },
}

/// Where the outcome of one call goes. Dropped without one, it says so: no row waits for ever.
pub(super) struct Answer {
    pub call: u64,
    pub to: Sender<(u64, Outcome)>,
    pub wake: Arc<dyn Fn() + Send + Sync>,
    pub given: bool,
}

impl Answer {
    fn give(&mut self, outcome: Outcome) {
        self.given = true;
        // The operator is gone only when the job is over.
        let _ = self.to.send((self.call, outcome));
        (self.wake)();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.give(failed("CALL-PANIC", "the call ended without an answer"));
        }
    }
}

/// A task that is stopped, where it waits, once nobody asks for its answer any more.
pub(super) struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a call. The slot is given back before the answer is: who takes the answer can make the next call.
pub(super) fn start(tokio: &Handle, f: &Function, calls: Calls, call: Call, slot: Permit, mut answer: Answer) -> Task {
    let task = match f.clone() {
        Function::Async(f) => tokio.spawn(async move {
            let outcome = limit(calls, Caught(Box::pin(async move { f(call).await }))).await;
            drop(slot);
            answer.give(outcome);
        }),
        Function::Blocking(f) => tokio.spawn(async move {
            let running = tokio::task::spawn_blocking(move || {
                let _slot = slot;
                catch_unwind(AssertUnwindSafe(|| f(call)))
            });
            let outcome = limit(calls, async move {
                // It is cancelled only together with this task, when the job is over.
                running.await.unwrap_or_else(|e| Err(Box::new(e.to_string())))
            });
            let outcome = outcome.await;
            answer.give(outcome);
        }),
    };
    Task(task.abort_handle())
}

/// Waits for a call for as long as it may take.
async fn limit(calls: Calls, call: impl Future<Output = Caughts>) -> Outcome {
    let made = match calls.timeout {
        None => call.await,
        Some(limit) => match tokio::time::timeout(limit, call).await {
            Ok(made) => made,
            Err(_) => return failed("CALL-TIMEOUT", format!("no answer within {limit:?}")),
        },
    };
    match made {
        Ok(Ok(emit)) => Outcome::Done(emit),
        Ok(Err(problem)) => refused(&problem),
        Err(panic) => failed("CALL-PANIC", format!("the call panicked: {}", text(&*panic))),
    }
}

/// What a call returned, or what it panicked with.
type Caughts = std::thread::Result<Result<Emit>>;

/// A future whose panic is its result.
struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = std::thread::Result<F::Output>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

fn failed(code: &'static str, message: impl Into<String>) -> Outcome {
    Outcome::Failed { code, message: message.into() }
}

fn refused(problem: &Problem) -> Outcome {
    let code = match problem.code {
        Cow::Borrowed(code) => code,
        Cow::Owned(_) => "CALL-FAILED",
    };
    let text = problem.to_string();
    let message = text.strip_prefix(&format!("{}: ", problem.code)).unwrap_or(&text);
    failed(code, message)
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
