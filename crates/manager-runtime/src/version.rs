//! Version and build information: version, commit, platform, libraries.

use std::sync::LazyLock;

/// Version of all programs, which are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit of the build, from the environment variable `GIT_COMMIT`. Development builds do not set the variable,
/// because each new commit would then recompile this crate.
pub const COMMIT: &str = match option_env!("GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Libraries that determine how the program communicates with a cluster.
const LIBRARIES: [&str; 6] = ["aws-lc-rs", "k8s-openapi", "kube", "rcgen", "rustls", "tokio"];

/// The output of `--version`: one fact per line.
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

/// The user agent of `program` in requests to the API server.
pub fn user_agent(program: &str) -> String {
    let commit = COMMIT.get(..7).unwrap_or(COMMIT);
    format!("{program}/v{VERSION} ({}) {commit}", platform())
}

/// The version of a package in a Cargo.lock; the newest if there are several.
fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let name_line = format!("name = \"{name}\"");
    let lines = lock.lines().zip(lock.lines().skip(1)).filter(|(line, _)| *line == name_line);
    lines.filter_map(|(_, next)| next.strip_prefix("version = \"")?.strip_suffix('"')).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_lists_every_library() {
        for name in LIBRARIES {
            assert!(long().lines().any(|line| line.starts_with(&format!("{name}: "))), "{name}: {}", long());
        }
    }

    #[test]
    fn the_user_agent_starts_with_program_and_version() {
        assert!(
            user_agent("jobset").starts_with(&format!("jobset/v{VERSION} (linux/")),
            "{}",
            user_agent("jobset")
        );
    }
}
