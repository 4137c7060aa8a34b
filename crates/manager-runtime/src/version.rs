//! What this program is: its version, the commit it was built from, and what it is built with.

use std::sync::LazyLock;

/// Version of the programs, all of which are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that the build was told of in the environment variable `GIT_COMMIT`; builds of a working tree are not
/// told, so that a commit does not make everything compile anew.
pub const COMMIT: &str = match option_env!("GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Libraries that decide how the program talks to a cluster.
const LIBRARIES: [&str; 6] = ["aws-lc-rs", "k8s-openapi", "kube", "rcgen", "rustls", "tokio"];

/// All of it, a line a fact, as `--version` prints it.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let libraries = LIBRARIES.iter().filter_map(|name| {
            let version = locked_version(include_str!("../../../Cargo.lock"), name)?;
            Some(format!("\n{name}: {version}"))
        });
        let platform = platform();
        let fips = if cfg!(feature = "fips") { "yes" } else { "no" };
        let libraries: String = libraries.collect();
        format!("{VERSION}\ncommit: {COMMIT}\nplatform: {platform}\nfips: {fips}{libraries}")
    });
    &LONG
}

/// Operating system and architecture, as container images name them.
pub fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}

/// How `program` calls itself in its requests to the API server.
pub fn user_agent(program: &str) -> String {
    let commit = COMMIT.get(..7).unwrap_or(COMMIT);
    format!("{program}/v{VERSION} ({}) {commit}", platform())
}

/// The version of a package in a Cargo.lock; the newest where there are several.
fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let wanted = format!("name = \"{name}\"");
    let lines = lock.lines().zip(lock.lines().skip(1)).filter(|(line, _)| *line == wanted);
    lines.filter_map(|(_, next)| next.strip_prefix("version = \"")?.strip_suffix('"')).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_is_named_with_its_version() {
        for name in LIBRARIES {
            assert!(long().lines().any(|line| line.starts_with(&format!("{name}: "))), "{name}: {}", long());
        }
    }

    #[test]
    fn user_agent_is_one_line_of_known_parts() {
        assert!(
            user_agent("jobset").starts_with(&format!("jobset/v{VERSION} (linux/")),
            "{}",
            user_agent("jobset")
        );
    }
}
