//! Daemons that outlive the process that starts them, and their end.
//!
//! A daemon gets a session of its own, a log file, and a mark in its environment: [`MARK`] with the cluster's
//! folder. It is recorded by pid and start time, so that a pid that the system gave to somebody else meanwhile
//! is never signalled. The mark finds what no record tells of: a daemon that was started in the very moment in
//! which its starter was killed, and whatever a daemon left behind.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::state::{Layout, write_whole};
use crate::wait::{self, Seen};

/// Environment variable that every daemon of a cluster carries: the cluster's folder.
pub const MARK: &str = "DEVCLUSTER_ROOT";

/// Where `ip netns add` puts the namespaces.
pub const NETNS_FOLDER: &str = "/var/run/netns";

/// A daemon to be started.
#[derive(Clone, Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    netns: Option<String>,
}

impl Daemon {
    /// `name` is that of its record and its log file.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), program: program.into(), args: Vec::new(), env: Vec::new(), netns: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it in this network namespace (a name under [`NETNS_FOLDER`]); none: in the caller's.
    #[must_use]
    pub fn netns(mut self, netns: Option<&str>) -> Self {
        self.netns = netns.map(str::to_owned);
        self
    }

    /// Starts it, in the cluster's folder, and records it. It runs when this returns, but need not be ready.
    pub fn spawn(&self, layout: &Layout) -> Result<Record> {
        let log_file = layout.log(&self.name);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_file)
            .with_context(|| format!("cannot write {}", log_file.display()))?;
        // setsid(1) and nsenter(1) replace themselves by the program: the pid is the daemon's own.
        let mut command = Command::new("setsid");
        if let Some(netns) = &self.netns {
            command.arg("nsenter").arg(format!("--net={NETNS_FOLDER}/{netns}")).arg("--");
        }
        command
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env(MARK, layout.root())
            .current_dir(layout.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(|| format!("cannot write {}", log_file.display()))?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let pid = i32::try_from(child.id()).with_context(|| format!("{} has no usable pid", self.name))?;
        let record = Record {
            name: self.name.clone(),
            pid,
            // A daemon that is gone already is found by whoever waits for it.
            start_time: stat(pid).map_or(0, |stat| stat.start_time),
        };
        write_whole(&record_file(layout, &self.name), serde_json::to_string(&record)?.as_bytes())?;
        Ok(record)
    }
}

/// A daemon that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Name of the daemon.
    pub name: String,
    /// Its pid, and that of its session.
    pub pid: i32,
    /// When it started, in clock ticks since boot: together with the pid it names one process for ever.
    pub start_time: u64,
}

impl Record {
    /// Every daemon recorded in this cluster, in no order.
    pub fn all(layout: &Layout) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(layout.pids()) else { return Vec::new() };
        entries
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter_map(|text| serde_json::from_str(&text).ok())
            .collect()
    }

    /// The daemon of this name, when one was recorded.
    pub fn find(layout: &Layout, name: &str) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(record_file(layout, name)).ok()?).ok()
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        // A dead child of ours stays as a zombie until it is asked for.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_zombie)
    }

    /// An error in one sentence when the daemon is gone: its log file and the line that tells why.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        if self.is_alive() {
            return Ok(());
        }
        let log_file = layout.log(&self.name);
        let log = fs::read(&log_file).unwrap_or_default();
        match telling_line(&String::from_utf8_lossy(&log)) {
            Some(line) => bail!("{} died; its log {} ends with: {line}", self.name, log_file.display()),
            None => bail!("{} died and left its log {} empty", self.name, log_file.display()),
        }
    }
}

/// Ends the daemon of this name, when it runs: asks it to, and kills it when `grace` has passed. Removes its
/// record. Does nothing when there is no such daemon.
pub fn stop(layout: &Layout, name: &str, grace: Duration) -> Result<()> {
    if let Some(record) = Record::find(layout, name) {
        end(std::slice::from_ref(&record), grace)?;
    }
    match fs::remove_file(record_file(layout, name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the record of {name}"))
        }
        _ => Ok(()),
    }
}

/// Ends every process of the cluster that is recorded or carries the mark, at once and for good.
pub fn kill_all(layout: &Layout) -> Result<()> {
    end(&Record::all(layout), Duration::ZERO)?;
    // What is found by its mark may start something while it is being ended, and has no mark in the moment in
    // which it becomes another program: nothing must be found twice in a row.
    let mut clear = 0;
    wait::until("the cluster's processes to end", Duration::from_secs(20), || {
        let found = marked(layout);
        end(&found, Duration::ZERO)?;
        clear = if found.is_empty() { clear + 1 } else { 0 };
        Ok(if clear == 2 { Seen::Ready(()) } else { Seen::NotYet("others keep being started".into()) })
    })
}

/// Every process that carries this cluster's mark, other than the caller.
pub fn marked(layout: &Layout) -> Vec<Record> {
    let mark = format!("{MARK}={}", layout.root().display());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            // Other users' processes cannot be read, and are not ours.
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
            })
        })
        .filter_map(|pid| {
            let stat = stat(pid).filter(|stat| !stat.is_zombie)?;
            Some(Record { name: stat.command, pid, start_time: stat.start_time })
        })
        .collect()
}

fn end(records: &[Record], grace: Duration) -> Result<()> {
    if !grace.is_zero() {
        signal(records, Signal::SIGTERM)?;
        let deadline = Instant::now() + grace;
        while records.iter().any(Record::is_alive) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    signal(records, Signal::SIGKILL)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(record) = records.iter().find(|record| record.is_alive()) {
        if Instant::now() >= deadline {
            bail!("{} (process {}) does not end", record.name, record.pid);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn signal(records: &[Record], signal: Signal) -> Result<()> {
    for record in records.iter().filter(|record| record.is_alive()) {
        match kill(Pid::from_raw(record.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                return Err(anyhow!("cannot end {} (process {}): {error}", record.name, record.pid));
            }
        }
    }
    Ok(())
}

fn record_file(layout: &Layout, name: &str) -> PathBuf {
    layout.pids().join(name)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    command: String,
    is_zombie: bool,
    start_time: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc(5): `pid (command) state ...`, where the command may hold anything, and the start time is field 22.
fn parse_stat(line: &str) -> Option<Stat> {
    let (before, after) = line.rsplit_once(')')?;
    let (_, command) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { command: command.to_owned(), is_zombie: matches!(state, "Z" | "X"), start_time })
}

/// The last line of a log that looks like the reason of a death, or else its last line.
pub fn telling_line(log: &str) -> Option<String> {
    const LONGEST: usize = 400;
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines().rev().take(200).find(|line| {
        let lower = line.to_ascii_lowercase();
        // klog's errors begin with E or F and the date; etcd's and containerd's carry a level.
        let is_klog = line.starts_with(['E', 'F']) && line.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        is_klog
            || lower.starts_with("error")
            || lower.starts_with("panic")
            || ["\"level\":\"fatal\"", "\"level\":\"error\"", "level=fatal", "level=error"]
                .iter()
                .any(|level| lower.contains(level))
    });
    let line = telling.or_else(|| lines().next_back())?;
    Some(plain(line).chars().take(LONGEST).collect())
}

/// etcd logs JSON, stack traces included: its message and error are what matters.
fn plain(line: &str) -> String {
    let Ok(serde_json::Value::Object(entry)) = serde_json::from_str(line) else { return line.to_owned() };
    let said: Vec<_> = ["msg", "error"].iter().filter_map(|key| entry.get(*key)?.as_str()).collect();
    if said.is_empty() { line.to_owned() } else { said.join(": ") }
}

/// Runs a command to its end; an error tells the command and what it said last.
pub fn run(command: &mut Command) -> Result<String> {
    run_with_input(command, None)
}

/// Like [`run`], with this text as the command's standard input.
pub fn run_with_input(command: &mut Command, input: Option<&str>) -> Result<String> {
    use std::io::Write as _;
    let program =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let title = format!("{program} {}", words.join(" "));
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // Written beside the reading below: a long input and a long answer would otherwise wait for each other.
    let writer = child.stdin.take().zip(input.map(str::to_owned)).map(|(mut stdin, text)| {
        // A command that stopped reading says why by itself.
        std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())))
    });
    let output = child.wait_with_output().with_context(|| format!("cannot run {program}"))?;
    drop(writer.map(std::thread::JoinHandle::join));
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned);
    let reason = reason.unwrap_or_else(|| match output.status.signal() {
        Some(signal) => format!("ended by signal {signal}"),
        None => output.status.to_string(),
    });
    bail!("`{title}` failed: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        layout.create().unwrap();
        (folder, layout)
    }

    fn sleeper() -> Daemon {
        Daemon::new("sleeper", "sleep").arg("1000")
    }

    #[test]
    fn a_stat_line_is_read_past_a_command_with_brackets() {
        let line = "77 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, Stat { command: "a) b (c".into(), is_zombie: false, start_time: 987_654 });
        assert!(parse_stat(&line.replace(" S ", " Z ")).unwrap().is_zombie);
        assert_eq!(parse_stat("77 (sh"), None);
    }

    #[test]
    fn a_daemon_is_recorded_marked_and_stopped() {
        let (_folder, layout) = layout();
        let record = sleeper().spawn(&layout).unwrap();
        assert!(record.is_alive());
        record.check(&layout).unwrap();
        assert_eq!(Record::find(&layout, "sleeper"), Some(record.clone()));
        wait::until("the mark", Duration::from_secs(5), || {
            let seen = marked(&layout).iter().any(|it| it.pid == record.pid);
            Ok(if seen { Seen::Ready(()) } else { Seen::NotYet("unmarked".into()) })
        })
        .unwrap();
        stop(&layout, "sleeper", Duration::from_secs(5)).unwrap();
        assert!(!record.is_alive());
        assert_eq!(Record::find(&layout, "sleeper"), None);
        stop(&layout, "sleeper", Duration::ZERO).unwrap();
    }

    #[test]
    fn a_daemon_without_record_is_found_by_its_mark() {
        let (_folder, layout) = layout();
        let record = sleeper().spawn(&layout).unwrap();
        fs::remove_file(record_file(&layout, "sleeper")).unwrap();
        kill_all(&layout).unwrap();
        assert!(!record.is_alive());
    }

    #[test]
    fn a_recycled_pid_is_left_alone() {
        let (_folder, layout) = layout();
        let record = sleeper().spawn(&layout).unwrap();
        let impostor = Record { start_time: record.start_time + 1, ..record.clone() };
        assert!(!impostor.is_alive());
        end(&[impostor], Duration::ZERO).unwrap();
        assert!(record.is_alive());
        kill_all(&layout).unwrap();
    }

    #[test]
    fn a_dead_daemon_is_reported_with_log_and_reason() {
        let (_folder, layout) = layout();
        let record = Daemon::new("etcd", "sh")
            .args(["-c", "echo 'E1 10:00 no space'; echo bye; exit 1"])
            .spawn(&layout)
            .unwrap();
        wait::until("its death", Duration::from_secs(5), || {
            Ok(if record.is_alive() { Seen::NotYet("alive".into()) } else { Seen::Ready(()) })
        })
        .unwrap();
        let message = record.check(&layout).unwrap_err().to_string();
        assert!(
            message.starts_with("etcd died; its log /")
                && message.ends_with("etcd.log ends with: E1 10:00 no space")
        );
    }

    #[test]
    fn the_telling_line_is_the_last_error() {
        assert_eq!(telling_line("I0101 fine\nE0101 port taken\nI0101 bye\n").unwrap(), "E0101 port taken");
        assert_eq!(
            telling_line(
                "{\"level\":\"fatal\",\"msg\":\"no disk\",\"error\":\"it is full\"}\n{\"level\":\"info\"}\n"
            )
            .unwrap(),
            "no disk: it is full"
        );
        assert_eq!(telling_line("Eventually\nlast\n\n").unwrap(), "last");
        assert_eq!(telling_line("\n"), None);
    }

    #[test]
    fn a_failing_command_says_why() {
        let error =
            run(Command::new("sh").args(["-c", "echo first >&2; echo second >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("failed: second"), "{error}");
        assert_eq!(run_with_input(&mut Command::new("cat"), Some("text")).unwrap(), "text");
    }
}
