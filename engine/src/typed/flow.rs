//! The builder: typed streams over one [`Pipeline`].

use super::channel::Channel;
use super::key::Key;
use super::out::Out;
use super::row::{Micros, Row};
use super::stage::{AddKey, Filter, FlatMap, KEY, Map, MapBatches, Pass, keyed_schema};
use super::stateful::{Closures, KeyedState};
use super::subscribe::Subscription;
use crate::batch::Batch;
use crate::calls::{self, Call, Calls};
use crate::connect::{SinkFactory, Source};
use crate::operator::{Emit, Operator, Reads, Stage, StageFactory};
use crate::plan::{EventTime, Input, NodeId, Pipeline, Settings, Work};
use crate::runtime::{Job, Resume, Runtime, Watch};
use crate::{Place, Problem, Result};
use arrow::datatypes::SchemaRef;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// How long a partition may have nothing to read before it no longer holds the watermark back.
const IDLE_AFTER: Duration = Duration::from_secs(5);

struct Graph {
    pipeline: Pipeline,
    /// For the next start.
    watches: Vec<Watch>,
}

type Shared = Arc<Mutex<Graph>>;

/// A pipeline being built out of typed streams; an example stands at the [module](crate::typed).
pub struct Flow(Shared);

impl Flow {
    /// An empty pipeline. Its state is kept under its name.
    pub fn new(name: impl Into<String>) -> Flow {
        Flow(Arc::new(Mutex::new(Graph { pipeline: Pipeline::new(name), watches: Vec::new() })))
    }

    /// Changes settings: how often checkpoints are made, how much memory a job may use.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0).pipeline.settings);
    }

    /// Says that the node `name` was called `old` before: it takes over what a checkpoint holds of that. Does
    /// nothing once it has, so it may stay in the code.
    pub fn was(&self, name: &str, old: &str) {
        lock(&self.0).pipeline.was.insert(name.into(), old.into());
    }

    /// Rows from any source whose columns are those of `T`.
    pub fn source<T: Row>(&self, name: &str, source: impl Source) -> Stream<T> {
        let mut graph = lock(&self.0);
        claim(&mut graph.pipeline, name);
        let node = graph.pipeline.source(name, Arc::new(source), T::schema(), None);
        drop(graph);
        Stream::new(&self.0, node)
    }

    /// Rows from code: see [`channel`](super::channel()). At-most-once across a crash of the process.
    pub fn channel<T: Row>(&self, name: &str, channel: Channel<T>) -> Stream<T> {
        self.source(name, channel)
    }

    /// Adds typed nodes to a graph that is being built otherwise: for kinds of node of a program's own, in
    /// pipeline files. `build` begins with [`Flow::stream`] and gives back what it made ([`Stream::node`]).
    pub fn within<R>(pipeline: &mut Pipeline, build: impl FnOnce(&Flow) -> R) -> R {
        let taken = std::mem::replace(pipeline, Pipeline::new(""));
        let flow = Flow(Arc::new(Mutex::new(Graph { pipeline: taken, watches: Vec::new() })));
        let made = build(&flow);
        *pipeline = flow.pipeline();
        made
    }

    /// What a node of the graph puts out on its first port, as rows of `T`.
    pub fn stream<T: Row>(&self, node: NodeId) -> Stream<T> {
        Stream::new(&self.0, node)
    }

    /// The graph so far, for [`Runtime::start`]. Subscriptions are not part of it: see [`Flow::start`].
    pub fn pipeline(&self) -> Pipeline {
        lock(&self.0).pipeline.clone()
    }

    /// Starts the pipeline, and the subscriptions made since the last start.
    ///
    /// # Errors
    /// Every problem found in the graph; or the one that kept it from starting.
    pub fn start(&self, runtime: &Runtime, resume: Resume) -> Result<Job, Vec<Problem>> {
        let mut graph = lock(&self.0);
        let watches = std::mem::take(&mut graph.watches);
        let pipeline = graph.pipeline.clone();
        drop(graph);
        runtime.start_watched(&pipeline, resume, watches)
    }
}

fn lock(graph: &Shared) -> MutexGuard<'_, Graph> {
    graph.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names are identities: each is used once, and can stand in a state's id.
fn claim(pipeline: &mut Pipeline, name: &str) {
    if name.is_empty() || name.contains('/') {
        pipeline.problem(
            Problem::error("FLOW-NAME", "this cannot be the name of a node").found(name).expected("a name without `/`"),
        );
    }
    if pipeline.nodes.iter().any(|n| &*n.name == name) {
        pipeline.problem(
            Problem::error("FLOW-NAME", "two nodes have the same name")
                .at(Place::node(name))
                .help("state and counters hang on the name: give each node its own"),
        );
    }
}

/// Rows of type `T`, in a [`Flow`]. Clones are the same stream: each use gets all rows.
pub struct Stream<T> {
    graph: Shared,
    node: NodeId,
    rows: PhantomData<fn() -> T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Stream { graph: Arc::clone(&self.graph), node: self.node, rows: PhantomData }
    }
}

impl<T: Row> Stream<T> {
    fn new(graph: &Shared, node: NodeId) -> Self {
        Stream { graph: Arc::clone(graph), node, rows: PhantomData }
    }

    fn stage<U: Row, S: Stage>(&self, name: &str, make: impl Fn() -> S + Send + Sync + 'static) -> Stream<U> {
        let mut graph = lock(&self.graph);
        claim(&mut graph.pipeline, name);
        let node = graph.pipeline.stage(name, Input::from(self.node), U::schema(), Reads::All, factory(make));
        drop(graph);
        Stream::new(&self.graph, node)
    }

    /// The node that puts it out.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Declares event time: the column `field`, a [`Micros`](super::Micros), with rows up to
    /// `out_of_order` late. A partition that is silent for five seconds no longer holds it back.
    pub fn event_time(self, field: &str, out_of_order: Duration) -> Stream<T> {
        let out_of_order = i64::try_from(out_of_order.as_micros()).unwrap_or(i64::MAX);
        let event_time = EventTime { field: field.into(), out_of_order, idle_after: IDLE_AFTER };
        lock(&self.graph).pipeline.nodes[self.node.0].event_time = Some(event_time);
        self
    }

    /// Keeps the rows of which `keep` says true; the others are counted.
    pub fn filter(&self, name: &str, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Stream<T> {
        let keep = Arc::new(keep);
        self.stage(name, move || Filter(Arc::clone(&keep), PhantomData))
    }

    /// One row for each row.
    pub fn map<U: Row>(&self, name: &str, map: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U> {
        let map = Arc::new(map);
        self.stage(name, move || Map(Arc::clone(&map), PhantomData))
    }

    /// Any number of rows for each row, in order.
    pub fn flat_map<U, I>(&self, name: &str, map: impl Fn(T) -> I + Send + Sync + 'static) -> Stream<U>
    where
        U: Row,
        I: IntoIterator<Item = U> + 'static,
    {
        let map = Arc::new(map);
        self.stage(name, move || FlatMap(Arc::clone(&map), PhantomData))
    }

    /// Columns to columns, for what a closure per row is too slow for. The batch that is returned must
    /// have the columns of `U` (`FLOW-SCHEMA`) and take weights and origins over from the one that came:
    /// [`Batch::filter`] and [`Batch::with_rows`] do. An error fails the job.
    ///
    /// ```
    /// use millstream::arrow::array::{AsArray, BooleanArray};
    /// use millstream::arrow::datatypes::Int64Type;
    /// use millstream::typed::{Flow, Stream, channel};
    ///
    /// millstream::row! { struct Number { n: i64 } }
    ///
    /// let (_feed, numbers) = channel::<Number>(16);
    /// let even: Stream<Number> = Flow::new("even").channel("numbers", numbers).map_batches("even", |batch| {
    ///     let n = batch.rows.column(0).as_primitive::<Int64Type>();
    ///     let even: BooleanArray = n.values().iter().map(|n| Some(n % 2 == 0)).collect();
    ///     Ok(batch.filter(&even))
    /// });
    /// ```
    pub fn map_batches<U: Row>(
        &self,
        name: &str,
        map: impl Fn(Batch) -> Result<Batch> + Send + Sync + 'static,
    ) -> Stream<U> {
        let map = Arc::new(map);
        self.stage(name, move || MapBatches { map: Arc::clone(&map), schema: U::schema() })
    }

    /// One row for each row, from an asynchronous function: a look-up, a request.
    ///
    /// `calls` says how many are in flight at once, in the whole job; rows leave in the order in which they
    /// came, unless it is [`unordered`](Calls::unordered). A slow call holds up no checkpoint and no other
    /// row: see [`crate::calls`]. An error (anything that can be shown), a panic and a
    /// [`timeout`](Calls::timeout) make a dead letter of the row. After a restart, rows that were in flight
    /// are called again, and the function is told so: it may have done its work before.
    ///
    /// ```
    /// use millstream::calls::Calls;
    /// use millstream::runtime::{JobState, Resume, Runtime};
    /// use millstream::typed::{Attempt, Flow, channel, collect};
    /// use std::time::Duration;
    ///
    /// millstream::row! { struct City { name: String } }
    /// millstream::row! { struct Weather { name: String, celsius: f64 } }
    ///
    /// async fn look_up(city: City, _attempt: Attempt) -> Result<Weather, String> {
    ///     match city.name.as_str() {
    ///         "Oslo" => Ok(Weather { name: city.name, celsius: -4.0 }), // asks a service, in truth
    ///         other => Err(format!("no such city: {other}")),
    ///     }
    /// }
    ///
    /// let (feed, cities) = channel::<City>(16);
    /// let (sink, weather) = collect::<Weather>();
    /// let flow = Flow::new("weather");
    /// let cities = flow.channel("cities", cities);
    /// cities.map_async("look-up", Calls::new(32).timeout(Duration::from_secs(5)), look_up).to("weather", sink);
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let state = dir.path();
    /// let runtime = Runtime::builder().state_dir(state).build().unwrap();
    /// let job = flow.start(&runtime, Resume::OrFresh).unwrap();
    /// for name in ["Oslo", "Atlantis"] {
    ///     feed.send(City { name: name.into() }).unwrap();
    /// }
    /// drop(feed);
    /// assert_eq!(job.wait_blocking(), JobState::Stopped);
    /// assert_eq!(weather.take().len(), 1); // the other one is a dead letter
    /// ```
    pub fn map_async<U, E, R>(
        &self,
        name: &str,
        calls: impl Into<Calls>,
        call: impl Fn(T, Attempt) -> R + Send + Sync + 'static,
    ) -> Stream<U>
    where
        U: Row,
        E: Display,
        R: Future<Output = Result<U, E>> + Send + 'static,
    {
        let call = Arc::new(call);
        let run = move |made: Call| {
            let call = Arc::clone(&call);
            async move {
                let (row, attempt) = only_row(&made)?;
                Ok(answer(&made, call(row, attempt).await))
            }
        };
        self.calls(name, calls::asynchronous(calls.into(), 1, &T::schema(), run))
    }

    /// One row for each row, from a function that computes for long or waits for a disk: [`Stream::map_async`]
    /// for functions that are not asynchronous. Each call has a thread of its own while it runs, never one of
    /// the dataflow's. A call cannot be stopped: after its timeout the row is a dead letter, but it goes on
    /// counting as in flight until it returns.
    ///
    /// ```
    /// use millstream::typed::{Flow, Stream, channel};
    ///
    /// millstream::row! { struct Number { n: i64 } }
    ///
    /// fn least_divisor(n: i64) -> Result<i64, &'static str> {
    ///     (2..=n).find(|d| n % d == 0).ok_or("only numbers above 1 have one")
    /// }
    ///
    /// let (_feed, numbers) = channel::<Number>(16);
    /// let numbers = Flow::new("factors").channel("numbers", numbers);
    /// let divisors: Stream<Number> =
    ///     numbers.map_blocking("least-divisor", 2, |row, _| least_divisor(row.n).map(|n| Number { n }));
    /// ```
    pub fn map_blocking<U: Row, E: Display>(
        &self,
        name: &str,
        calls: impl Into<Calls>,
        call: impl Fn(T, Attempt) -> Result<U, E> + Send + Sync + 'static,
    ) -> Stream<U> {
        let run = move |made: Call| {
            let (row, attempt) = only_row(&made)?;
            Ok(answer(&made, call(row, attempt)))
        };
        self.calls(name, calls::blocking(calls.into(), 1, &T::schema(), run))
    }

    fn calls<U: Row>(&self, name: &str, work: Work) -> Stream<U> {
        let mut graph = lock(&self.graph);
        claim(&mut graph.pipeline, name);
        let node = graph.pipeline.operator(name, "calls", vec![Input::from(self.node)], vec![U::schema()], work);
        drop(graph);
        Stream::new(&self.graph, node)
    }

    /// Groups rows by a key, for [`Keyed::stateful`]: rows of one key go to one worker, in order where
    /// they come from one partition.
    pub fn key_by<K: Key + 'static>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Keyed<T, K> {
        let key = Arc::new(key);
        let make = factory(move || AddKey(Arc::clone(&key), PhantomData));
        Keyed { stream: self.clone(), make, key: PhantomData }
    }

    /// Puts the rows into a sink.
    pub fn to(&self, name: &str, sink: impl SinkFactory) {
        let mut graph = lock(&self.graph);
        claim(&mut graph.pipeline, name);
        graph.pipeline.sink(name, Input::from(self.node), Arc::new(sink));
    }

    /// Subscribes to the rows of the next [`Flow::start`], from its first epoch on.
    pub fn subscribe(&self) -> Subscription<T> {
        let mut graph = lock(&self.graph);
        let name = Arc::clone(&graph.pipeline.node(self.node).name);
        let node = graph.pipeline.stage(&name, Input::from(self.node), T::schema(), Reads::All, factory(|| Pass));
        let (sender, receiver) = mpsc::channel();
        graph.watches.push((node, 0, sender));
        Subscription::new(receiver)
    }
}

/// What a function of [`Stream::map_async`] or [`Stream::map_blocking`] is told beside the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// True if the row was here at the checkpoint from which the job went on: the call may have been made
    /// before. False says less: what a source reads a second time after a crash comes as new.
    pub again: bool,
}

fn only_row<T: Row>(call: &Call) -> Result<(T, Attempt)> {
    let row = T::from_batch(&call.batch.rows)?.pop();
    Ok((row.ok_or_else(|| Problem::internal("a call has no row"))?, Attempt { again: call.again }))
}

fn answer<U: Row, E: Display>(call: &Call, made: Result<U, E>) -> Emit {
    let mut out = Emit::default();
    match made {
        Ok(row) => out.send(Batch::new(U::to_batch(&[row]))),
        Err(error) => out.reject(&call.batch, 0, "CALL-FAILED", error.to_string()),
    }
    out
}

fn factory<S: Stage>(make: impl Fn() -> S + Send + Sync + 'static) -> StageFactory {
    Arc::new(move |_: &SchemaRef| Ok(Box::new(make()) as Box<dyn Stage>))
}

/// Rows with a key; made by [`Stream::key_by`].
pub struct Keyed<T, K> {
    stream: Stream<T>,
    /// Adds the key's column.
    make: StageFactory,
    key: PhantomData<fn() -> K>,
}

impl<T: Row, K: Key + 'static> Keyed<T, K> {
    /// Calls `run` for each row with the state of its key, which begins as `S::default()`; and the closures of
    /// [`Stateful::on_timer`] and [`Stateful::on_clock_timer`] for the timers that are set on the way.
    ///
    /// State and timers are part of every checkpoint, the state as JSON, and are found again under `name`,
    /// on any number of workers. They are kept, in memory, until a closure says [`Out::forget`]. Rows with a
    /// weight other than 1 (those of a changelog) become dead letters.
    pub fn stateful<S, U>(
        &self,
        name: &str,
        run: impl Fn(&mut S, T, &mut Out<U>) + Send + Sync + 'static,
    ) -> Stateful<K, T, U, S>
    where
        S: Serialize + DeserializeOwned + Default + 'static,
        U: Row,
    {
        let calls = Closures { row: Arc::new(run), timer: None, clock_timer: None };
        let work = keyed_work(&calls);
        let graph = &self.stream.graph;
        let mut locked = lock(graph);
        let pipeline = &mut locked.pipeline;
        claim(pipeline, name);
        if T::schema().index_of(KEY).is_ok() {
            pipeline.problem(
                Problem::error("FLOW-KEY", format!("rows with a field `{KEY}` cannot be keyed")).at(Place::node(name)),
            );
        }
        let keyed = pipeline.stage(
            name,
            Input::from(self.stream.node),
            keyed_schema::<T>(),
            Reads::All,
            Arc::clone(&self.make),
        );
        let input = Input::from(keyed).by(vec![KEY.into()]);
        let node = pipeline.operator(name, "stateful", vec![input], vec![U::schema()], work);
        drop(locked);
        Stateful { stream: Stream::new(graph, node), calls }
    }
}

/// The operator behind the exchange.
fn keyed_work<K, T, U, S>(calls: &Closures<K, T, U, S>) -> Work
where
    K: Key + 'static,
    T: Row,
    U: Row,
    S: Serialize + DeserializeOwned + Default + 'static,
{
    let calls = calls.clone();
    Work::Operator {
        factory: Arc::new(move |_: &[SchemaRef]| Ok(Box::new(KeyedState::new(calls.clone())) as Box<dyn Operator>)),
        reads: vec![Reads::All],
        fingerprint: format!("typed-1 key {}", K::name()),
    }
}

/// What [`Keyed::stateful`] makes: the [`Stream`] of its rows, and a place to say what its timers do.
///
/// ```
/// use millstream::typed::{Flow, Micros, channel, collect};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// millstream::row! { struct Reading { device: String, celsius: f64, at: Micros } }
/// millstream::row! { struct Silent { device: String, celsius: f64, since: Micros } }
/// const QUIET: Duration = Duration::from_secs(300);
///
/// let (_feed, readings) = channel::<Reading>(1024);
/// let flow = Flow::new("sensors");
/// flow.channel("readings", readings)
///     .event_time("at", Duration::from_secs(5))
///     .key_by(|r| r.device.clone())
///     .stateful("silent", |celsius: &mut f64, r, out| {
///         *celsius = r.celsius;
///         out.timer(r.at + QUIET); // in place of the one that the reading before has set
///     })
///     .on_timer(|device, celsius, at, out| {
///         out.push(Silent { device: device.clone(), celsius: *celsius, since: at - QUIET });
///         out.forget();
///     })
///     .to("alarms", collect::<Silent>().0);
/// ```
pub struct Stateful<K, T, U, S> {
    stream: Stream<U>,
    calls: Closures<K, T, U, S>,
}

impl<K, T, U, S> Stateful<K, T, U, S>
where
    K: Key + 'static,
    T: Row,
    U: Row,
    S: Serialize + DeserializeOwned + Default + 'static,
{
    /// What happens when the watermark has reached what [`Out::timer`] has set: `run` gets the key, its
    /// state and the time that was set. Rows older than that time have all come, except those that are later
    /// than the source's `out_of_order` allows.
    ///
    /// Timers fire at the close of an epoch, in the order of their times, then of the bytes of their keys.
    /// One whose time has passed when it is set fires at the close of the same epoch; one that is restored,
    /// at the first close. A job that ends because its sources have ended fires all of them, and those that
    /// they set again: a timer that is to go on for ever must look at [`Out::has_ended`], or the job fails
    /// (`STATEFUL-ENDLESS`). So it does where a timer is set and this is missing (`STATEFUL-TIMER`).
    #[must_use]
    pub fn on_timer(mut self, run: impl Fn(&K, &mut S, Micros, &mut Out<U>) + Send + Sync + 'static) -> Self {
        self.calls.timer = Some(Arc::new(run));
        self.install()
    }

    /// What happens when the wall clock has reached what [`Out::clock_timer`] has set, as for
    /// [`Stateful::on_timer`].
    ///
    /// An epoch is ended for it where none ends by itself. The clock may be set: a timer fires when the clock
    /// shows its time, however it came to do so. A job whose sources have ended does not wait for these timers:
    /// they stay in its state, and fire when it is started again.
    #[must_use]
    pub fn on_clock_timer(mut self, run: impl Fn(&K, &mut S, Micros, &mut Out<U>) + Send + Sync + 'static) -> Self {
        self.calls.clock_timer = Some(Arc::new(run));
        self.install()
    }

    fn install(self) -> Self {
        lock(&self.stream.graph).pipeline.nodes[self.stream.node.0].work = keyed_work(&self.calls);
        self
    }

    /// The rows that the closures put out. All that a [`Stream`] can do can be done without this too.
    pub fn stream(&self) -> Stream<U> {
        self.stream.clone()
    }
}

impl<K, T, U, S> std::ops::Deref for Stateful<K, T, U, S> {
    type Target = Stream<U>;
    fn deref(&self) -> &Stream<U> {
        &self.stream
    }
}
