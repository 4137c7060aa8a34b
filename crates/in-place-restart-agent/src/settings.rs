//! The environment variables.

use std::ffi::OsString;
use std::path::PathBuf;

const JOBSET_NAME: &str = "JOBSET_NAME";
const POD_NAME: &str = "POD_NAME";
const WORKER_COMMAND: &str = "WORKER_COMMAND";
const STARTUP_PROBE_PATH: &str = "STARTUP_PROBE_PATH";
const STARTUP_PROBE_PORT: &str = "STARTUP_PROBE_PORT";
const IN_PLACE_RESTART_EXIT_CODE: &str = "IN_PLACE_RESTART_EXIT_CODE";
const SHELL: &str = "SHELL";

/// What the environment variables configure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Name of the JobSet.
    pub(crate) jobset: String,
    /// Name of the pod.
    pub(crate) pod: String,
    /// Exit code for a restart.
    pub(crate) restart_code: u8,
    /// How the agent holds the worker.
    pub(crate) mode: Mode,
}

/// How the agent holds the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The agent starts the worker in its own container.
    MainContainer {
        /// The shell that runs the command.
        shell: PathBuf,
        /// The worker.
        command: String,
    },
    /// The agent answers its startup probe, for which kubelet delays the other containers.
    Sidecar {
        /// Path of the probe.
        path: String,
        /// Port of the probe.
        port: u16,
    },
}

/// An invalid environment variable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum InvalidSettings {
    /// A required variable is not set.
    #[error(
        "environment variable {name} is not set: set it from the field {field} of the pod (valueFrom.fieldRef)"
    )]
    Missing { name: &'static str, field: &'static str },
    /// Main-container mode and sidecar mode.
    #[error(
        "environment variables WORKER_COMMAND and {0} are both set: remove {0} to run the worker in this container, or \
         WORKER_COMMAND to run the agent as a sidecar"
    )]
    TwoModes(&'static str),
    /// Not an exit code.
    #[error(
        "environment variable IN_PLACE_RESTART_EXIT_CODE is \"{0}\", but exit codes are numbers from 0 to 255"
    )]
    ExitCode(String),
    /// Not a port.
    #[error("environment variable STARTUP_PROBE_PORT is \"{0}\", but ports are numbers from 1 to 65535")]
    Port(String),
    /// Not a path.
    #[error(
        "environment variable STARTUP_PROBE_PATH is \"{0}\", but paths begin with \"/\": set it to the path of the startup \
         probe, such as /barrier-is-down"
    )]
    Path(String),
    /// Not text.
    #[error("environment variable {0} is not valid UTF-8: correct its value")]
    NotUtf8(&'static str),
    /// The value of SHELL is not a program.
    #[error(
        "environment variable SHELL is \"{0}\", but this image contains no such program: set SHELL to the path of a shell in \
         this image, such as /bin/sh"
    )]
    NoSuchShell(String),
    /// SHELL is not set, and there is no bash.
    #[error(
        "this image contains no bash to run WORKER_COMMAND: set environment variable SHELL to the path of a shell in this \
         image, such as /bin/sh"
    )]
    NoShell,
}

impl Settings {
    /// Reads the variables. An empty variable counts as not set. `find_program` resolves a path, or a name in PATH.
    pub(crate) fn read(
        variable: impl Fn(&str) -> Option<OsString>,
        find_program: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, InvalidSettings> {
        let text = |name| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(_)) => Err(InvalidSettings::NotUtf8(name)),
        };
        let required = |name, field| text(name)?.ok_or(InvalidSettings::Missing { name, field });
        let jobset = required(JOBSET_NAME, "metadata.annotations['jobset.sigs.k8s.io/jobset-name']")?;
        let pod = required(POD_NAME, "metadata.name")?;
        let restart_code = match text(IN_PLACE_RESTART_EXIT_CODE)? {
            None => 1,
            Some(code) => code.parse().map_err(|_| InvalidSettings::ExitCode(code))?,
        };
        let (path, port) = (text(STARTUP_PROBE_PATH)?, text(STARTUP_PROBE_PORT)?);
        let mode = if let Some(command) = text(WORKER_COMMAND)? {
            if path.is_some() {
                return Err(InvalidSettings::TwoModes(STARTUP_PROBE_PATH));
            }
            if port.is_some() {
                return Err(InvalidSettings::TwoModes(STARTUP_PROBE_PORT));
            }
            let shell = match text(SHELL)? {
                Some(shell) => find_program(&shell).ok_or(InvalidSettings::NoSuchShell(shell))?,
                None => find_program("bash").ok_or(InvalidSettings::NoShell)?,
            };
            Mode::MainContainer { shell, command }
        } else {
            let path = path.unwrap_or_else(|| "/barrier-is-down".into());
            if !path.starts_with('/') {
                return Err(InvalidSettings::Path(path));
            }
            let port = match port {
                None => 8081,
                Some(port) => match port.parse() {
                    Ok(number @ 1..) => number,
                    _ => return Err(InvalidSettings::Port(port)),
                },
            };
            Mode::Sidecar { path, port }
        };
        Ok(Self { jobset, pod, restart_code, mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, InvalidSettings> {
        let variable = |name: &str| {
            let all =
                [&[("JOBSET_NAME", "training"), ("POD_NAME", "training-w-0-0-abcde")], variables].concat();
            all.iter().rev().find(|(it, _)| *it == name).map(|(_, value)| OsString::from(value))
        };
        Settings::read(variable, |name| match name {
            "/bin/ash" | "ash" => Some("/bin/ash".into()),
            "bash" => Some("/usr/bin/bash".into()),
            _ => None,
        })
    }

    fn error(variables: &[(&str, &str)]) -> String {
        read(variables).unwrap_err().to_string()
    }

    #[test]
    fn sidecar_mode_is_the_default() {
        let expected = Settings {
            jobset: "training".into(),
            pod: "training-w-0-0-abcde".into(),
            restart_code: 1,
            mode: Mode::Sidecar { path: "/barrier-is-down".into(), port: 8081 },
        };
        assert_eq!(read(&[]).unwrap(), expected);
        let empty = [
            ("WORKER_COMMAND", ""),
            ("STARTUP_PROBE_PATH", ""),
            ("STARTUP_PROBE_PORT", ""),
            ("IN_PLACE_RESTART_EXIT_CODE", ""),
        ];
        assert_eq!(read(&empty).unwrap(), expected, "an empty variable counts as not set");
        let settings = read(&[("STARTUP_PROBE_PATH", "/go"), ("STARTUP_PROBE_PORT", "65535")]).unwrap();
        assert_eq!(settings.mode, Mode::Sidecar { path: "/go".into(), port: 65535 });
    }

    #[test]
    fn a_worker_command_selects_main_container_mode() {
        for (shell, path) in [("", "/usr/bin/bash"), ("/bin/ash", "/bin/ash"), ("ash", "/bin/ash")] {
            let settings = read(&[("WORKER_COMMAND", "train"), ("SHELL", shell)]).unwrap();
            assert_eq!(settings.mode, Mode::MainContainer { shell: path.into(), command: "train".into() });
        }
        assert!(read(&[("SHELL", "/no/shell")]).is_ok(), "a sidecar needs no shell");
    }

    #[test]
    fn exit_codes_are_0_to_255() {
        for code in [0, 1, 42, 255] {
            let settings = read(&[("IN_PLACE_RESTART_EXIT_CODE", &code.to_string())]).unwrap();
            assert_eq!(settings.restart_code, code);
        }
        for code in ["256", "-1", "one", "1.0", " 1"] {
            let message = error(&[("IN_PLACE_RESTART_EXIT_CODE", code)]);
            assert!(message.contains(&format!("\"{code}\"")) && message.contains("0 to 255"), "{message}");
        }
    }

    #[test]
    fn each_error_names_the_variable_and_the_remedy() {
        let command = ("WORKER_COMMAND", "train");
        for (variables, words) in [
            (
                &[("JOBSET_NAME", "")][..],
                ["JOBSET_NAME", "metadata.annotations['jobset.sigs.k8s.io/jobset-name']"],
            ),
            (&[("POD_NAME", "")], ["POD_NAME", "metadata.name"]),
            (&[command, ("STARTUP_PROBE_PATH", "/go")], ["STARTUP_PROBE_PATH", "sidecar"]),
            (&[command, ("STARTUP_PROBE_PORT", "80")], ["STARTUP_PROBE_PORT", "sidecar"]),
            (&[("STARTUP_PROBE_PORT", "0")], ["\"0\"", "1 to 65535"]),
            (&[("STARTUP_PROBE_PORT", "65536")], ["\"65536\"", "1 to 65535"]),
            (&[("STARTUP_PROBE_PORT", "http")], ["\"http\"", "1 to 65535"]),
            (&[("STARTUP_PROBE_PATH", "ready")], ["\"ready\"", "/barrier-is-down"]),
            (&[command, ("SHELL", "/bin/zsh")], ["\"/bin/zsh\"", "/bin/sh"]),
        ] {
            let message = error(variables);
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }

    #[test]
    fn an_image_without_bash_needs_a_shell() {
        let variable = |name: &str| {
            Some(OsString::from(name)).filter(|_| !name.starts_with('S') && !name.starts_with("IN"))
        };
        let error = Settings::read(variable, |_| None).unwrap_err();
        assert_eq!(error, InvalidSettings::NoShell);
        assert!(error.to_string().contains("SHELL"));
    }

    #[test]
    fn values_are_utf_8() {
        let variable = |name: &str| (name == "JOBSET_NAME").then(|| OsString::from_vec(vec![0xff]));
        let error = Settings::read(variable, |_| None).unwrap_err();
        assert_eq!(error, InvalidSettings::NotUtf8("JOBSET_NAME"));
    }
}
