//! The agent as a process: invalid environment variables and files, and signals. The suites test it with an API server.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

const FOLDER: &str = "IN_PLACE_RESTART_AGENT_TEST_SERVICE_ACCOUNT";

fn service_account() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ca = generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap().cert.pem();
    for (name, content) in [("namespace", "team"), ("token", "secret"), ("ca.crt", &ca)] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// A sidecar whose API server refuses connections. Its pod has the name of the folder, because a pod has one agent.
fn command(folder: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_in-place-restart-agent"));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", "1")
        .env("JOBSET_NAME", "training")
        .env("POD_NAME", folder.file_name().unwrap())
        .env("STARTUP_PROBE_PORT", free_port().to_string())
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for (name, value) in variables {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    command
}

fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn invalid_input_ends_the_agent_with_one_sentence_and_code_1() {
    let folder = service_account();
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let worker = [("STARTUP_PROBE_PORT", ""), ("WORKER_COMMAND", "true")];
    let no_shell = [&worker[..], &[("PATH", "/no/such/folder")]].concat();
    let wrong_shell = [&worker[..], &[("SHELL", "/bin/no-such-shell")]].concat();
    for (variables, expected) in [
        (&[("JOBSET_NAME", "")][..], "JOBSET_NAME is not set"),
        (&[("POD_NAME", "")], "POD_NAME is not set"),
        (&[("WORKER_COMMAND", "true")], "WORKER_COMMAND and STARTUP_PROBE_PORT are both set"),
        (&[("STARTUP_PROBE_PORT", "70000")], "STARTUP_PROBE_PORT is \"70000\""),
        (&[("STARTUP_PROBE_PORT", &port)], "is in use by another process in this pod"),
        (&[("IN_PLACE_RESTART_EXIT_CODE", "256")], "IN_PLACE_RESTART_EXIT_CODE is \"256\""),
        (&[(FOLDER, "")], "/var/run/secrets/kubernetes.io/serviceaccount/namespace: No such file"),
        (&[("KUBERNETES_SERVICE_HOST", "")], "KUBERNETES_SERVICE_HOST is not set"),
        (&no_shell, "contains no bash to run WORKER_COMMAND"),
        (&wrong_shell, "SHELL is \"/bin/no-such-shell\""),
    ] {
        let output = command(folder.path(), variables).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<_> = stderr.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert!(matches!(&errors[..], [error] if error.contains(expected)), "{expected}: {stderr}");
        assert_eq!(output.status.code(), Some(1), "{expected}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

/// Reads the log until a line contains this text.
fn wait_for_line(agent: &mut Child, text: &str) -> String {
    let mut log = BufReader::new(agent.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "the agent ended before it logged {text:?}");
        if line.contains(text) {
            agent.stderr = Some(log.into_inner());
            return line;
        }
    }
}

#[test]
fn an_unreachable_api_server_is_reported_and_signals_end_the_agent() {
    let worker = [("STARTUP_PROBE_PORT", ""), ("WORKER_COMMAND", "true"), ("SHELL", "sh")];
    for variables in [&[][..], &worker] {
        for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
            let folder = service_account();
            let mut agent = command(folder.path(), variables).spawn().unwrap();
            let line = wait_for_line(&mut agent, " WARN ");
            let expected = "cannot watch the JobSet: cannot connect to the API server at 127.0.0.1:1: ";
            assert!(line.contains(expected), "{line}");
            kill(Pid::from_raw(agent.id().try_into().unwrap()), signal).unwrap();
            assert_eq!(agent.wait().unwrap().code(), Some(code));
        }
    }
}

#[test]
fn a_second_agent_in_the_pod_is_an_error() {
    let folder = service_account();
    let mut first = command(folder.path(), &[]).spawn().unwrap();
    wait_for_line(&mut first, "watching JobSet");
    // It has another port.
    let second = command(folder.path(), &[]).output().unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(stderr.contains("another in-place-restart-agent runs in pod"), "{stderr}");
    assert_eq!(second.status.code(), Some(1));
    first.kill().unwrap();
    first.wait().unwrap();
}
