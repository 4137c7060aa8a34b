//! At most one agent in a pod: two would overwrite each other's attempt.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Two agents in one pod.
#[derive(Debug, thiserror::Error)]
#[error(
    "another in-place-restart-agent runs in pod \"{0}\": run one agent in a pod, because each agent sets the attempt of the \
     whole pod"
)]
pub(crate) struct AnotherAgent(String);

/// Proof that this process is the only agent of the pod. The kernel releases it at the end of the process.
#[derive(Debug)]
pub(crate) struct OnlyAgent(#[expect(dead_code, reason = "held")] Option<UnixListener>);

impl OnlyAgent {
    /// Binds a name without a file. All containers of a pod share these names, because they share its network namespace.
    /// The name contains the pod, because pods with `hostNetwork` share the namespace of their node.
    pub(crate) fn claim(namespace: &str, pod: &str) -> Result<Self, AnotherAgent> {
        let name = format!("in-place-restart-agent/{namespace}/{pod}");
        match SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name)) {
            Ok(listener) => Ok(Self(Some(listener))),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(AnotherAgent(pod.into())),
            // A long name, or a sandbox without such sockets: the agent works without this check.
            Err(_) => Ok(Self(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_one_agent_at_a_time() {
        let first = OnlyAgent::claim("team", "only-agent-test").unwrap();
        assert!(OnlyAgent::claim("other", "only-agent-test").is_ok());
        let error = OnlyAgent::claim("team", "only-agent-test").unwrap_err();
        assert!(error.to_string().contains("run one agent in a pod"), "{error}");
        drop(first);
        assert!(OnlyAgent::claim("team", "only-agent-test").is_ok());
    }
}
