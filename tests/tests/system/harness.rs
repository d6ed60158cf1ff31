//! Scenes: a temporary folder with a pipeline file, its input, its output and its state, and runs of the
//! program in it. Children are given a time limit and are killed when their handle goes.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that any run may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(240);
/// How often a child is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// One pipeline, its data and its state.
pub struct Scene {
    folder: TempDir,
    pipeline: PathBuf,
}

/// How to start the program.
#[derive(Clone, Debug)]
pub struct How {
    pub workers: usize,
    pub environment: Vec<(&'static str, String)>,
    pub parameters: Vec<String>,
    pub arguments: Vec<&'static str>,
    /// A program that runs ours, and what it is told: a tracer.
    pub under: Vec<String>,
}

impl How {
    /// With so many workers.
    pub fn workers(workers: usize) -> How {
        How { workers, environment: Vec::new(), parameters: Vec::new(), arguments: Vec::new(), under: Vec::new() }
    }
    /// With an environment variable.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> How {
        self.environment.push((name, value.into()));
        self
    }
    /// With a parameter of the pipeline file.
    pub fn parameter(mut self, name: &str, value: &Path) -> How {
        self.parameters.push(format!("{name}={}", value.display()));
        self
    }
    /// Run by another program.
    pub fn under(mut self, words: &[&str]) -> How {
        self.under = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }
    /// With an argument.
    pub fn argument(mut self, argument: &'static str) -> How {
        self.arguments.push(argument);
        self
    }
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The checkpoint from which it went on; 0 = it began afresh.
    pub fn resumed(&self) -> u64 {
        let number = self.stderr.split_once("resuming from checkpoint ").and_then(|(_, rest)| rest.split(',').next());
        number.map_or(0, |n| n.parse().expect("a checkpoint has a number"))
    }
    /// Ended by itself, in good order.
    pub fn fine(self) -> Ended {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
        self
    }
    /// Ended by itself with a problem of this code, and said so without a panic.
    pub fn refused(self, codes: &[&str]) -> Ended {
        assert!(matches!(self.status.code(), Some(1 | 3)), "{}\n{}", self.status, self.stderr);
        assert!(codes.iter().any(|c| self.stderr.contains(c)), "expected one of {codes:?}:\n{}", self.stderr);
        self
    }
    /// A failpoint has struck.
    pub fn struck(&self) -> bool {
        self.status.signal() == Some(6)
    }
    /// Somebody has sent it SIGKILL.
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }
}

/// A run under way.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Waits for the end, at most this long.
    pub fn wait(&mut self, limit: Duration) -> Option<Ended> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return Some(self.ended(status));
            }
            if began.elapsed() >= limit {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }
    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let ended = self.wait(LIMIT);
        ended.unwrap_or_else(|| panic!("still running after {LIMIT:?}:\n{}", text(&self.stderr)))
    }
    /// Where it writes what it says.
    pub fn stderr_path(&self) -> &Path {
        &self.stderr
    }
    /// Ctrl-C: reads no more, saves, and ends.
    pub fn drain(self) -> Ended {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process has a number");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("the child is ours");
        self.end()
    }
    /// `kill -9`.
    pub fn kill(mut self) -> Ended {
        self.child.kill().expect("the child is ours");
        let status = self.child.wait().expect("the child is ours");
        self.ended(status)
    }
    /// Waits until a condition holds; the run must still be there then.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            if let Some(ended) = self.wait(LOOK) {
                panic!("ended before {what}: {}\n{}", ended.status, ended.stderr);
            }
            assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}\n{}", text(&self.stderr));
        }
    }
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    fn ended(&self, status: ExitStatus) -> Ended {
        let ended = Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr) };
        assert!(!ended.stderr.contains("panicked at"), "{}", ended.stderr);
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended where this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

impl Scene {
    /// A scene whose pipeline file has this text.
    pub fn new(pipeline: &str) -> Scene {
        let folder = TempDir::with_prefix("millstream-").expect("a temporary folder");
        let file = folder.path().join("pipeline.yaml");
        fs::write(&file, pipeline).expect("a temporary file");
        fs::create_dir(folder.path().join("in")).expect("a temporary folder");
        Scene { folder, pipeline: file }
    }
    /// A scene for a pipeline file of this repository.
    pub fn of(pipeline: &str) -> Scene {
        let mut scene = Scene::new("");
        scene.pipeline = repository().join(pipeline);
        scene
    }
    /// A path in the scene: `in`, `out`, `state`, ..
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a temporary file");
    }
    /// Removes output and state.
    pub fn reset(&self) {
        for name in ["out", "state"] {
            if let Err(e) = fs::remove_dir_all(self.path(name)) {
                assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{e}");
            }
        }
    }
    /// Starts `millstream run`.
    pub fn start(&self, how: &How) -> Running {
        let mut command = program(&how.under);
        command.arg("run").arg(&self.pipeline).arg("--state").arg(self.path("state"));
        command.arg("--workers").arg(how.workers.to_string());
        command.args(how.parameters.iter().flat_map(|p| ["-p", p.as_ref()]));
        command.args(&how.arguments).envs(how.environment.iter().map(|(k, v)| (k, v)));
        self.spawn(command, "run")
    }
    /// Runs it to its end.
    pub fn run(&self, how: &How) -> Ended {
        self.start(how).end()
    }
    /// Runs another command of the program on the pipeline and its state.
    pub fn command(&self, words: &[&str], after: &[&str]) -> Ended {
        self.command_with(words, after, &[])
    }
    /// [`Scene::command`] with environment variables.
    pub fn command_with(&self, words: &[&str], after: &[&str], environment: &[(&str, String)]) -> Ended {
        let mut command = program(&[]);
        command.args(words).arg(&self.pipeline).arg("--state").arg(self.path("state")).args(after);
        command.envs(environment.iter().map(|(k, v)| (k, v)));
        self.spawn(command, "command").end()
    }
    /// Runs the program with these arguments alone, in the scene's folder.
    pub fn bare(&self, words: &[&str]) -> Ended {
        let mut command = program(&[]);
        command.args(words);
        self.spawn(command, "command").end()
    }
    fn spawn(&self, mut command: Command, what: &str) -> Running {
        let (stdout, stderr) = (self.path(&format!("{what}-stdout.txt")), self.path(&format!("{what}-stderr.txt")));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(File::create(&stdout).expect("a temporary file"));
        command.stderr(File::create(&stderr).expect("a temporary file"));
        Running { child: command.spawn().expect("cargo has built the program"), stdout, stderr }
    }
    /// The published lines under a folder of the output, byte-sorted.
    pub fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.path(name))
    }
    /// The dead letters, as JSON.
    pub fn dead(&self) -> Vec<serde_json::Value> {
        let listed = self.command(&["--json", "dead", "list"], &["--last", "10000000"]).fine();
        listed.stdout.lines().map(|l| serde_json::from_str(l).expect("a letter is JSON")).collect()
    }
}

/// The program under test, perhaps run by another.
fn program(under: &[String]) -> Command {
    let ours = env!("CARGO_BIN_EXE_millstream-under-test");
    let mut command = Command::new(under.first().map_or(ours, String::as_str));
    if !under.is_empty() {
        command.args(&under[1..]).arg(ours);
    }
    command.env_remove("RUST_BACKTRACE").env_remove("MILLSTREAM_FAILPOINT").env_remove("MILLSTREAM_SABOTAGE");
    command
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the repository").to_path_buf()
}

/// The lines of all files under a folder whose names do not begin with a dot, byte-sorted.
pub fn lines(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    gather(folder, &mut lines);
    lines.sort_unstable();
    lines
}

fn gather(folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the folder can be read").path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            gather(&path, lines);
        } else {
            let text = fs::read_to_string(&path).expect("the output is UTF-8");
            assert!(text.is_empty() || text.ends_with('\n'), "{}: the last line is cut", path.display());
            lines.extend(text.lines().map(str::to_owned));
        }
    }
}

/// Two lists of lines must be equal; says where they first differ.
pub fn same(what: &str, found: &[String], expected: &[String]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(f, e)| f != e).unwrap_or(found.len().min(expected.len()));
    Err(format!(
        "{what}: {} lines, expected {}; at {at}: found {:?}, expected {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    ))
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, found {text}")))
}
