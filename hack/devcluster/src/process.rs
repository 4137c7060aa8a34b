//! Starts and stops daemons, which outlive the process that starts them.
//!
//! A daemon has its own session, a log file, and an environment variable, [`MARK`], with the cluster's folder. Its
//! record contains its pid and its start time, so that devcluster never signals another process to which the system
//! gave the same pid. The environment variable finds processes without a record: daemons whose starter was killed
//! before it wrote the record, and their children.

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

use crate::state::{Layout, write_atomically};
use crate::wait::{self, ProbeResult};

/// Environment variable of every daemon: the cluster's folder.
pub const MARK: &str = "DEVCLUSTER_ROOT";

/// Folder in which `ip netns add` creates namespaces.
pub const NETNS_FOLDER: &str = "/var/run/netns";

/// A daemon to start.
#[derive(Clone, Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    netns: Option<String>,
}

impl Daemon {
    /// `name` is the name of its record and its log file.
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

    /// Runs the daemon in this network namespace (a name in [`NETNS_FOLDER`]); `None`: in that of the caller.
    #[must_use]
    pub fn netns(mut self, netns: Option<&str>) -> Self {
        self.netns = netns.map(str::to_owned);
        self
    }

    /// Starts the daemon in the cluster's folder and records it. Does not wait until it is ready.
    pub fn spawn(&self, layout: &Layout) -> Result<Record> {
        let log_file = layout.log(&self.name);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_file)
            .with_context(|| format!("cannot write {}", log_file.display()))?;
        // setsid(1) and nsenter(1) replace themselves with the program, so the pid is the daemon's.
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
        let pid = i32::try_from(child.id()).with_context(|| format!("{} has an invalid pid", self.name))?;
        let record = Record {
            name: self.name.clone(),
            pid,
            // If the daemon has ended already, `Record::check` reports it.
            start_time: stat(pid).map_or(0, |stat| stat.start_time),
        };
        write_atomically(&record_file(layout, &self.name), serde_json::to_string(&record)?.as_bytes())?;
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
    /// Start time in clock ticks since boot. Pid and start time identify a process.
    pub start_time: u64,
}

impl Record {
    /// Every recorded daemon of this cluster, in no order.
    pub fn all(layout: &Layout) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(layout.pids()) else { return Vec::new() };
        entries
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter_map(|text| serde_json::from_str(&text).ok())
            .collect()
    }

    /// The recorded daemon of this name.
    pub fn find(layout: &Layout, name: &str) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(record_file(layout, name)).ok()?).ok()
    }

    /// Whether the process runs.
    pub fn is_alive(&self) -> bool {
        // Reaps the process if it is a child that has ended.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_zombie)
    }

    /// Returns an error with the log file and its last error line if the daemon has ended.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        if self.is_alive() {
            return Ok(());
        }
        let log_file = layout.log(&self.name);
        let log = fs::read(&log_file).unwrap_or_default();
        match failure_line(&String::from_utf8_lossy(&log)) {
            Some(line) => bail!("{} died; log {}: {line}", self.name, log_file.display()),
            None => bail!("{} died; its log {} is empty", self.name, log_file.display()),
        }
    }
}

/// Stops the daemon of this name with SIGTERM, and with SIGKILL after the grace period. Removes its record. Does
/// nothing if there is no such daemon.
pub fn stop(layout: &Layout, name: &str, grace: Duration) -> Result<()> {
    if let Some(record) = Record::find(layout, name) {
        terminate(std::slice::from_ref(&record), grace)?;
    }
    match fs::remove_file(record_file(layout, name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the record of {name}"))
        }
        _ => Ok(()),
    }
}

/// Kills every recorded or marked process of the cluster, until none is left.
pub fn kill_all(layout: &Layout) -> Result<()> {
    terminate(&Record::all(layout), Duration::ZERO)?;
    // A marked process may start another one before it is killed, and a process has no environment for a moment during
    // exec. Therefore two scans in a row must find nothing.
    let mut empty_scans = 0;
    wait::until("the cluster's processes to end", Duration::from_secs(20), || {
        let found = marked(layout);
        terminate(&found, Duration::ZERO)?;
        empty_scans = if found.is_empty() { empty_scans + 1 } else { 0 };
        Ok(if empty_scans == 2 {
            ProbeResult::Ready(())
        } else {
            ProbeResult::Pending("new processes keep starting".into())
        })
    })
}

/// Every process with this cluster's mark, except for the caller.
pub fn marked(layout: &Layout) -> Vec<Record> {
    let mark = format!("{MARK}={}", layout.root().display());
    let own_pid = i32::try_from(std::process::id()).unwrap_or_default();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own_pid)
        .filter(|pid| {
            // An unreadable environment belongs to another user's process.
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

fn terminate(records: &[Record], grace: Duration) -> Result<()> {
    if !grace.is_zero() {
        send_signal(records, Signal::SIGTERM)?;
        let deadline = Instant::now() + grace;
        while records.iter().any(Record::is_alive) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    send_signal(records, Signal::SIGKILL)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(record) = records.iter().find(|record| record.is_alive()) {
        if Instant::now() >= deadline {
            bail!("{} (process {}) does not end after SIGKILL", record.name, record.pid);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn send_signal(records: &[Record], signal: Signal) -> Result<()> {
    for record in records.iter().filter(|record| record.is_alive()) {
        match kill(Pid::from_raw(record.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                return Err(anyhow!("cannot signal {} (process {}): {error}", record.name, record.pid));
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

/// Parses `pid (command) state ...`, see proc(5). The command may contain any character. The start time is field 22.
fn parse_stat(line: &str) -> Option<Stat> {
    let (before, after) = line.rsplit_once(')')?;
    let (_, command) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { command: command.to_owned(), is_zombie: matches!(state, "Z" | "X"), start_time })
}

/// The last line of a log that reports an error, otherwise its last line.
pub fn failure_line(log: &str) -> Option<String> {
    const MAX_LENGTH: usize = 400;
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rev().take(200).find(|line| {
        let lower = line.to_ascii_lowercase();
        // Errors of klog start with E or F and the date. Those of etcd and containerd have a level.
        let is_klog = line.starts_with(['E', 'F']) && line.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        is_klog
            || lower.starts_with("error")
            || lower.starts_with("panic")
            || ["\"level\":\"fatal\"", "\"level\":\"error\"", "level=fatal", "level=error"]
                .iter()
                .any(|level| lower.contains(level))
    });
    let line = error.or_else(|| lines().next_back())?;
    Some(message_of(line).chars().take(MAX_LENGTH).collect())
}

/// The message and the error of a JSON log line, without its other fields, such as stack traces.
fn message_of(line: &str) -> String {
    let Ok(serde_json::Value::Object(entry)) = serde_json::from_str(line) else { return line.to_owned() };
    let parts: Vec<_> = ["msg", "error"].iter().filter_map(|key| entry.get(*key)?.as_str()).collect();
    if parts.is_empty() { line.to_owned() } else { parts.join(": ") }
}

/// Runs a command and returns its standard output. An error contains the command and the last line of its standard
/// error.
pub fn run(command: &mut Command) -> Result<String> {
    run_with_input(command, None)
}

/// Runs a command with this standard input; see [`run`].
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
    // A thread writes the input, because the command may block on its output before it has read all input.
    let writer = child.stdin.take().zip(input.map(str::to_owned)).map(|(mut stdin, text)| {
        // If the command closes its input early, its own error is the relevant one.
        std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())))
    });
    let output = child.wait_with_output().with_context(|| format!("cannot run {program}"))?;
    drop(writer.map(std::thread::JoinHandle::join));
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned);
    let reason = reason.unwrap_or_else(|| match output.status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
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
    fn a_command_in_a_stat_line_may_contain_parentheses() {
        let line = "77 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, Stat { command: "a) b (c".into(), is_zombie: false, start_time: 987_654 });
        assert!(parse_stat(&line.replace(" S ", " Z ")).unwrap().is_zombie);
        assert_eq!(parse_stat("77 (sh"), None);
    }

    #[test]
    fn a_daemon_is_recorded_and_marked_until_it_is_stopped() {
        let (_folder, layout) = layout();
        let record = sleeper().spawn(&layout).unwrap();
        assert!(record.is_alive());
        record.check(&layout).unwrap();
        assert_eq!(Record::find(&layout, "sleeper"), Some(record.clone()));
        wait::until("the mark", Duration::from_secs(5), || {
            let is_marked = marked(&layout).iter().any(|it| it.pid == record.pid);
            Ok(if is_marked { ProbeResult::Ready(()) } else { ProbeResult::Pending("unmarked".into()) })
        })
        .unwrap();
        stop(&layout, "sleeper", Duration::from_secs(5)).unwrap();
        assert!(!record.is_alive());
        assert_eq!(Record::find(&layout, "sleeper"), None);
        stop(&layout, "sleeper", Duration::ZERO).unwrap();
    }

    #[test]
    fn kill_all_finds_a_daemon_without_a_record_by_its_mark() {
        let (_folder, layout) = layout();
        let record = sleeper().spawn(&layout).unwrap();
        fs::remove_file(record_file(&layout, "sleeper")).unwrap();
        kill_all(&layout).unwrap();
        assert!(!record.is_alive());
    }

    #[test]
    fn a_process_with_a_reused_pid_is_not_signalled() {
        let (_folder, layout) = layout();
        let record = sleeper().spawn(&layout).unwrap();
        let stale = Record { start_time: record.start_time + 1, ..record.clone() };
        assert!(!stale.is_alive());
        terminate(&[stale], Duration::ZERO).unwrap();
        assert!(record.is_alive());
        kill_all(&layout).unwrap();
    }

    #[test]
    fn the_error_about_a_dead_daemon_contains_log_and_reason() {
        let (_folder, layout) = layout();
        let record = Daemon::new("etcd", "sh")
            .args(["-c", "echo 'E1 10:00 no space'; echo bye; exit 1"])
            .spawn(&layout)
            .unwrap();
        wait::until("its end", Duration::from_secs(5), || {
            Ok(if record.is_alive() { ProbeResult::Pending("alive".into()) } else { ProbeResult::Ready(()) })
        })
        .unwrap();
        let message = record.check(&layout).unwrap_err().to_string();
        assert!(
            message.starts_with("etcd died; log /") && message.ends_with("etcd.log: E1 10:00 no space"),
            "{message}"
        );
    }

    #[test]
    fn the_failure_line_is_the_last_error() {
        assert_eq!(failure_line("I0101 fine\nE0101 port taken\nI0101 bye\n").unwrap(), "E0101 port taken");
        assert_eq!(
            failure_line(
                "{\"level\":\"fatal\",\"msg\":\"no disk\",\"error\":\"it is full\"}\n{\"level\":\"info\"}\n"
            )
            .unwrap(),
            "no disk: it is full"
        );
        assert_eq!(failure_line("Eventually\nlast\n\n").unwrap(), "last");
        assert_eq!(failure_line("\n"), None);
    }

    #[test]
    fn the_error_of_a_command_contains_its_last_error_line() {
        let error =
            run(Command::new("sh").args(["-c", "echo first >&2; echo second >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("failed: second"), "{error}");
        assert_eq!(run_with_input(&mut Command::new("cat"), Some("text")).unwrap(), "text");
    }
}
