//! Opening a log: the newest record, the chain behind it, the generation record, the files.

use super::*;
use crate::state::record::DAMAGE_HELP;

/// How often an opener that is overtaken by others tries again.
const RACES: usize = 100;

/// The records that must be there, checked.
pub(crate) struct Chain {
    /// The newest record's number and hash; 0 and empty in an empty log.
    pub number: u64,
    pub hash: String,
    /// The highest generation that may have been used.
    pub generation: u64,
    pub oldest: u64,
    pub abandoned: Vec<u64>,
    /// Checkpoint records to go on from, the newest first.
    pub checkpoints: Vec<(Record, String)>,
    pub warnings: Vec<Problem>,
}

impl CommitLog {
    /// Opens the log of a pipeline and fences whoever had it open.
    ///
    /// # Errors
    /// `STATE-CORRUPT-RECORD`, `STATE-CORRUPT-FILE`, `STATE-MISSING-FILE`, `STATE-CHAIN` for damage;
    /// `STATE-FOREIGN` for another pipeline's log; `STATE-NEWER-FORMAT`.
    pub fn open(store: Arc<dyn Store>, options: &OpenOptions) -> Result<Opened> {
        failpoint!("state.open.begin");
        for _ in 0..RACES {
            let seen = newest(&*store)?;
            match try_open(&store, options) {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) => {}
                // Someone else went on, and may have deleted what we were reading.
                Err(_) if newest(&*store)? > seen + 1 => {}
                Err(problem) => return Err(problem),
            }
        }
        Err(Problem::outside("STATE-IN-USE", "other processes keep opening this state")
            .at(store.place("log"))
            .help("start a pipeline once"))
    }
}

fn newest(store: &dyn Store) -> Result<u64> {
    Ok(store.list("log/")?.iter().filter_map(|e| record::number(&e.name)).max().unwrap_or(0))
}

/// `None` = lost a race.
fn try_open(store: &Arc<dyn Store>, options: &OpenOptions) -> Result<Option<Opened>> {
    let mut chain = read_chain(&**store, Some(&options.pipeline), options.allow_fallback)?;
    failpoint!("state.open.tail_read");
    if sabotage::planted("resume_old") && chain.checkpoints.len() > 1 {
        chain.checkpoints.remove(0);
    }
    chain.generation += 1;
    loop {
        let Some((bytes, number)) = put_generation(&**store, options, &chain)? else { return Ok(None) };
        failpoint!("state.open.generation_put");
        (chain.number, chain.hash) = (number, record::hash(&bytes));
        let Some((newest, hash)) = chain.checkpoints.first() else {
            return Ok(Some(opened(store, options, chain, None)));
        };
        let body = newest.checkpoint.clone().expect("checkpoint records only");
        match committed::load(&**store, &body) {
            Ok(live) => {
                failpoint!("state.open.verified");
                let committed = Committed {
                    number: newest.number,
                    generation: newest.generation,
                    hash: hash.clone(),
                    body: Arc::new(body),
                    live: Arc::new(live),
                    store: store.clone(),
                };
                return Ok(Some(opened(store, options, chain, Some(committed))));
            }
            Err(problem) if options.allow_fallback && chain.checkpoints.len() > 1 && is_damage(&problem) => {
                give_up_newest(&mut chain, problem);
            }
            Err(problem) => return Err(problem),
        }
    }
}

fn is_damage(problem: &Problem) -> bool {
    ["STATE-CORRUPT-FILE", "STATE-MISSING-FILE"].contains(&&*problem.code)
}

fn give_up_newest(chain: &mut Chain, problem: Problem) {
    let (gone, _) = chain.checkpoints.remove(0);
    chain.abandoned.push(gone.number);
    let (left, lost) = (checkpoint_of(&chain.checkpoints[0].0), checkpoint_of(&gone));
    chain.warnings.push(fallen_back(problem, lost, left));
}

fn checkpoint_of(record: &Record) -> u64 {
    record.checkpoint.as_ref().map_or(0, |c| c.checkpoint)
}

fn fallen_back(problem: Problem, lost: u64, left: u64) -> Problem {
    let mut warning =
        Problem::warning("STATE-FELL-BACK", format!("checkpoint {lost} is damaged; going on from checkpoint {left}"))
            .found(problem.to_string());
    warning.place = problem.place.clone();
    warning
}

/// Puts the next generation record; `None` = lost the race for it.
fn put_generation(store: &dyn Store, options: &OpenOptions, chain: &Chain) -> Result<Option<(Vec<u8>, u64)>> {
    let number = chain.number + 1;
    let record = Record {
        millstream_log: record::VERSION,
        pipeline: options.pipeline.clone(),
        number,
        generation: chain.generation,
        previous: chain.hash.clone(),
        oldest: chain.oldest,
        abandoned: chain.abandoned.clone(),
        data: chain.checkpoints.first().map_or(0, |(r, _)| r.number),
        wall: options.wall,
        holder: options.holder.clone(),
        checkpoint: None,
    };
    let bytes = record::encode(&record)?;
    Ok(match put_record(store, number, &bytes)? {
        None => Some((bytes, number)),
        Some(_) => None,
    })
}

fn opened(store: &Arc<dyn Store>, options: &OpenOptions, chain: Chain, tail: Option<Committed>) -> Opened {
    let before = chain.checkpoints.get(1).and_then(|(r, _)| r.checkpoint.as_ref()).map(names).unwrap_or_default();
    let log = CommitLog {
        store: store.clone(),
        pipeline: options.pipeline.clone(),
        holder: options.holder.clone(),
        generation: chain.generation,
        number: chain.number,
        hash: chain.hash,
        oldest: chain.oldest,
        abandoned: chain.abandoned,
        data: tail.as_ref().map_or(0, |t| t.number),
        checkpoint: tail.as_ref().map_or(0, |t| t.body.checkpoint),
        live: tail.as_ref().map_or_else(Default::default, |t| t.live.clone()),
        tail: tail.clone(),
        before,
        running: BTreeMap::new(),
        pins: Vec::new(),
        failures: 0,
        dead: None,
    };
    Opened { log, tail, generation: chain.generation, warnings: chain.warnings }
}

pub(super) fn names(body: &Checkpoint) -> BTreeSet<String> {
    body.files.iter().chain(body.attached.iter().map(|a| &a.file)).map(|f| f.name.clone()).collect()
}

impl Committed {
    /// The newest checkpoint of a store, for looking at: nothing is locked and nothing is fenced. On a store
    /// in use a file may be deleted while it is read; read again then.
    ///
    /// # Errors
    /// What keeps the log from being read.
    pub fn newest(store: &Arc<dyn Store>) -> Result<Option<Committed>> {
        Committed::newest_of(store, None)
    }

    /// [`Committed::newest`] of this pipeline.
    ///
    /// # Errors
    /// As before, and `STATE-FOREIGN` where the store is another pipeline's.
    pub fn newest_of(store: &Arc<dyn Store>, pipeline: Option<&str>) -> Result<Option<Committed>> {
        let chain = read_chain(&**store, pipeline, false)?;
        let Some((record, hash)) = chain.checkpoints.into_iter().next() else { return Ok(None) };
        let Some(body) = record.checkpoint else { return Ok(None) };
        let live = Arc::new(committed::load(&**store, &body)?);
        let (number, generation, store) = (record.number, record.generation, Arc::clone(store));
        Ok(Some(Committed { number, generation, hash, body: Arc::new(body), live, store }))
    }
}

/// Reads the log from its newest record down to the oldest that must be there.
///
/// With `allow_fallback`, damaged records at the newest end are given up; damage further down never is.
pub(crate) fn read_chain(store: &dyn Store, pipeline: Option<&str>, allow_fallback: bool) -> Result<Chain> {
    let top = newest(store)?;
    let mut chain = Chain {
        number: top,
        hash: String::new(),
        generation: 0,
        oldest: 1,
        abandoned: Vec::new(),
        checkpoints: Vec::new(),
        warnings: Vec::new(),
    };
    if top == 0 {
        return refuse_lost_log(store).map(|()| chain);
    }
    let (tail, bytes) = read_tail(store, &mut chain, allow_fallback)?;
    check_ours(store, &tail, pipeline)?;
    chain.generation += tail.generation;
    chain.oldest = tail.oldest;
    chain.abandoned.extend(&tail.abandoned);
    // A generation record that fell back names an older checkpoint than the newest.
    let counts = |r: &Record| r.checkpoint.is_some() && r.number <= tail.data && !tail.abandoned.contains(&r.number);
    let mut next = (tail.clone(), record::hash(&bytes));
    for number in (tail.oldest..tail.number).rev() {
        let name = record::name(number);
        let bytes = store.get(&name)?.ok_or_else(|| missing_record(store, &name, number))?;
        let hash = record::hash(&bytes);
        let linked = next.0.previous == hash || next.0.number != number + 1 || sabotage::planted("skip_checksum");
        if !linked {
            return Err(broken_chain(store, &name, number));
        }
        if tail.abandoned.contains(&number) {
            continue;
        }
        let record = record::decode(&bytes, number, store.place(&name))?;
        if record.generation > next.0.generation || record.pipeline != tail.pipeline {
            return Err(broken_chain(store, &name, number));
        }
        let above = std::mem::replace(&mut next, (record, hash));
        if counts(&above.0) {
            chain.checkpoints.push(above);
        }
    }
    if counts(&next.0) {
        chain.checkpoints.push(next);
    }
    if tail.data > 0 && chain.checkpoints.first().map(|(r, _)| r.number) != Some(tail.data) {
        return Err(missing_record(store, &record::name(tail.data), tail.data));
    }
    for (record, _) in &chain.checkpoints {
        check_hash(store, record)?;
    }
    Ok(chain)
}

/// The newest record that can be read, and the hash of the newest there is.
fn read_tail(store: &dyn Store, chain: &mut Chain, allow_fallback: bool) -> Result<(Record, bytes::Bytes)> {
    let mut number = chain.number;
    loop {
        let name = record::name(number);
        let bytes = store.get(&name)?.ok_or_else(|| missing_record(store, &name, number))?;
        if number == chain.number {
            chain.hash = record::hash(&bytes);
        }
        match record::decode(&bytes, number, store.place(&name)) {
            Ok(record) => {
                if !chain.abandoned.is_empty() {
                    let lost = chain.warnings.pop().expect("one per abandoned record");
                    chain.warnings.push(fallen_back(lost, record.number + 1, record.data));
                }
                return Ok((record, bytes));
            }
            Err(problem) if allow_fallback && problem.code == "STATE-CORRUPT-RECORD" && number > 1 => {
                // It may have been a generation record: its number is not used again.
                chain.generation += 1;
                chain.abandoned.push(number);
                chain.warnings.push(problem);
                number -= 1;
            }
            Err(problem) => return Err(problem),
        }
    }
}

fn check_ours(store: &dyn Store, tail: &Record, pipeline: Option<&str>) -> Result<()> {
    match pipeline {
        Some(ours) if tail.pipeline != ours => {
            Err(Problem::error("STATE-FOREIGN", "the state belongs to another pipeline")
                .at(store.place(&record::name(tail.number)))
                .found(format!("pipeline {}", tail.pipeline))
                .expected(format!("pipeline {ours}"))
                .help("give each pipeline a state directory of its own"))
        }
        _ => Ok(()),
    }
}

fn check_hash(store: &dyn Store, record: &Record) -> Result<()> {
    let Some(checkpoint) = &record.checkpoint else { return Ok(()) };
    if checkpoint.hash == crate::key::HASH_ID && checkpoint.groups as usize == crate::key::GROUPS {
        return Ok(());
    }
    Err(Problem::error("STATE-FOREIGN", "the state was written with another key hash")
        .at(store.place(&record::name(record.number)))
        .found(format!("{} with {} groups", checkpoint.hash, checkpoint.groups))
        .expected(format!("{} with {} groups", crate::key::HASH_ID, crate::key::GROUPS))
        .help("start the version that wrote it"))
}

/// A generation record precedes every file, so files without any record are the rest of a lost log.
fn refuse_lost_log(store: &dyn Store) -> Result<()> {
    match store.list("data/")?.iter().find(|e| file_generation(&e.name).is_some()) {
        Some(entry) => Err(Problem::outside("STATE-MISSING-FILE", "there are state files, but no commit log")
            .at(store.place("log"))
            .found(format!("{} and no record", entry.name))
            .help(DAMAGE_HELP)),
        None => Ok(()),
    }
}

fn missing_record(store: &dyn Store, name: &str, number: u64) -> Problem {
    Problem::outside("STATE-MISSING-FILE", format!("record {number} of the commit log is missing"))
        .at(store.place(name))
        .help(DAMAGE_HELP)
}

fn broken_chain(store: &dyn Store, name: &str, number: u64) -> Problem {
    Problem::outside("STATE-CHAIN", format!("record {number} of the commit log is not the one that the next record names"))
        .at(store.place(name))
        .help("records of two different times are mixed, as when a backup was copied over newer state; restore the directory as a whole")
}
