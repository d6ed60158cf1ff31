//! `dead list` and `dead show`.

use super::args::{Dead, DeadCommand, DeadList, DeadShow};
use super::print::Print;
use super::{Failure, Outcome, files};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use millstream::Problem;
use millstream::state::record::AttachedKind;
use millstream::state::{Committed, LocalStore, Store, fs::RealFs};
use std::path::Path;
use std::sync::Arc;

/// One dead letter, where it lies.
struct Letter {
    batch: RecordBatch,
    row: usize,
}

impl Letter {
    fn text(&self, column: &str) -> &str {
        let column = self.batch.column_by_name(column).expect("the schema of dead letters is fixed").as_string::<i32>();
        if column.is_null(self.row) { "" } else { column.value(self.row) }
    }
    fn time(&self) -> i64 {
        self.batch
            .column_by_name("time")
            .expect("the schema of dead letters is fixed")
            .as_primitive::<TimestampMicrosecondType>()
            .value(self.row)
    }
    fn json(&self, number: usize) -> serde_json::Value {
        let line = millstream::json::row_json(&self.batch, self.row);
        let mut value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(payload) = self.payload() {
            value["payload"] = String::from_utf8_lossy(payload).into();
        }
        value["number"] = number.into();
        value
    }
    fn payload(&self) -> Option<&[u8]> {
        let column =
            self.batch.column_by_name("payload").expect("the schema of dead letters is fixed").as_binary::<i32>();
        column.is_valid(self.row).then(|| column.value(self.row))
    }
}

/// `millstream dead …`.
pub fn dead(args: &Dead, print: &Print) -> Outcome {
    match &args.command {
        DeadCommand::List(list) => self::list(list, print),
        DeadCommand::Show(show) => self::show(show, print),
    }
}

fn list(args: &DeadList, print: &Print) -> Outcome {
    let letters = letters(&args.file, &args.state, print)?;
    let wanted = |l: &Letter| {
        args.node.as_deref().is_none_or(|n| l.text("node") == n)
            && args.code.as_deref().is_none_or(|c| l.text("code") == c)
    };
    let chosen: Vec<(usize, &Letter)> = letters.iter().enumerate().filter(|(_, l)| wanted(l)).collect();
    let skip = chosen.len().saturating_sub(args.last);
    for (number, letter) in &chosen[skip..] {
        print.result(
            || {
                let place = match letter.text("partition") {
                    "" => String::new(),
                    partition => format!(" {partition}"),
                };
                format!(
                    "{number:>6}  {}  {}  {}{place}  {}",
                    super::table::instant(letter.time()),
                    letter.text("node"),
                    letter.text("code"),
                    letter.text("message")
                )
            },
            || letter.json(*number),
        );
    }
    print.say(&format!("{} of {} dead letters", chosen.len() - skip, letters.len()));
    Ok(())
}

fn show(args: &DeadShow, print: &Print) -> Outcome {
    let letters = letters(&args.file, &args.state, print)?;
    let Some(letter) = letters.get(args.number) else {
        print.problem(
            &Problem::error("DEAD-NUMBER", "there is no such dead letter")
                .found(args.number.to_string())
                .expected(format!("less than {}", letters.len())),
        );
        return Err(Failure::Given);
    };
    let json = letter.json(args.number);
    print.result(|| serde_json::to_string_pretty(&json).expect("a dead letter is JSON"), || json.clone());
    Ok(())
}

/// All letters of a pipeline's store, oldest first.
fn letters(file: &Path, state: &super::args::StateDir, print: &Print) -> Result<Vec<Letter>, Failure> {
    let (_, dir) = files::state_of(file, state, print)?;
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let read = || -> millstream::Result<Vec<Letter>> {
        let store: Arc<dyn Store> = LocalStore::open_read_only(&dir, Arc::new(RealFs))?;
        let Some(tail) = Committed::newest(&store)? else { return Ok(Vec::new()) };
        let mut letters = Vec::new();
        for segment in tail.attached(AttachedKind::DeadLetters) {
            for batch in millstream::dead::decode(&tail.read_attached(segment)?)? {
                letters.extend((0..batch.num_rows()).map(|row| Letter { batch: batch.clone(), row }));
            }
        }
        Ok(letters)
    };
    read().map_err(|problem| {
        print.problem(&problem);
        Failure::Given
    })
}
