//! Command-line words: `--switch`, `--name value`, `--name=value`, and the rest.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// The words of one command, sorted by what they are.
pub struct Args {
    /// What is not an option, in order.
    pub words: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Args {
    /// Sorts `given`. Options not named in `switches` (without a value) or `values` (with one) are refused.
    pub fn parse(given: Vec<String>, switches: &[&str], values: &[&str]) -> Result<Self> {
        let mut args = Args { words: Vec::new(), options: BTreeMap::new() };
        let mut given = given.into_iter();
        while let Some(word) = given.next() {
            let Some(option) = word.strip_prefix("--") else {
                args.words.push(word);
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let value = if values.contains(&name) {
                inline.or_else(|| given.next()).with_context(|| format!("--{name} needs a value"))?
            } else if switches.contains(&name) && inline.is_none() {
                String::new()
            } else {
                let known: Vec<String> = switches.iter().chain(values).map(|known| format!("--{known}")).collect();
                bail!(
                    "no option --{option} here; there {} {}",
                    if known.len() == 1 { "is" } else { "are" },
                    known.join(", ")
                );
            };
            args.options.insert(name.to_owned(), value);
        }
        Ok(args)
    }

    /// Was the switch given?
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The option's value as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.options.get(name).map(PathBuf::from)
    }

    /// The option's value as a number, which may be written `5_000_000`.
    pub fn value<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.options.get(name) else {
            return Ok(None);
        };
        let value = text.replace('_', "").parse();
        value.map(Some).map_err(|_| anyhow::anyhow!("--{name} {text}: not a number of that range"))
    }

    /// The number given, which must not be zero, or `default`.
    pub fn number(&self, name: &str, default: u64) -> Result<u64> {
        match self.value(name)?.unwrap_or(default) {
            0 => bail!("--{name} must be at least 1"),
            number => Ok(number),
        }
    }

    /// Refuses words beside the options.
    pub fn no_words(&self) -> Result<()> {
        match self.words.first() {
            Some(word) => bail!("`{word}` means nothing here"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned).collect(), &["quick"], &["events", "runs"])
    }

    #[test]
    fn options_and_words_are_told_apart() {
        let args = parse("w1 --quick --events 5_000 --runs=3 w2").expect("all known");
        assert_eq!(args.words, ["w1", "w2"]);
        assert!(args.has("quick"));
        assert_eq!(args.number("events", 1).expect("a number"), 5000);
        assert_eq!(args.value::<usize>("runs").expect("a number"), Some(3));
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        for line in ["--fast", "--quick=1", "--events", "--eventss=2"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--events many").expect("read later").number("events", 1).is_err());
        assert!(parse("--events 0").expect("read later").number("events", 1).is_err());
    }
}
