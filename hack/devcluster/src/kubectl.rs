//! The cluster's kubectl. devcluster uses it for all its requests.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::process::{run, run_with_input};
use crate::wait::{self, ProbeResult};

/// kubectl with the administrator's kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// `cache` is kubectl's discovery cache. It is not in the user's home, because another cluster at the same address
    /// would share it there.
    pub fn new(program: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self { program, kubeconfig, cache }
    }

    /// The command without arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(format!("--kubeconfig={}", self.kubeconfig.display()));
        command.arg(format!("--cache-dir={}", self.cache.display()));
        command
    }

    /// Runs kubectl and returns its standard output.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        run(self.command().args(args))
    }

    /// Runs kubectl with this standard input and returns its standard output.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        run_with_input(self.command().args(args), Some(input))
    }

    /// Applies manifests (YAML or JSON, any number of documents) with server-side apply.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=devcluster", "-f", "-"];
        self.run_with_input(&args, manifests).map(drop)
    }

    /// Runs kubectl with `-o json` and returns its output.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&[args, &["-o", "json"]].concat())?)?)
    }

    /// Runs kubectl with `-o json` until `probe` returns [`ProbeResult::Ready`] for its output.
    ///
    /// A failure of kubectl counts as pending, because the object may not exist yet.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        args: &[&str],
        mut probe: impl FnMut(&Value) -> ProbeResult<T>,
    ) -> Result<T> {
        wait::until(what, limit, || {
            Ok(match self.json(args) {
                Ok(output) => probe(&output),
                Err(error) => ProbeResult::Pending(format!("{error:#}")),
            })
        })
    }

    /// Waits until an object has this condition with status True, such as `Available` of `deployment/coredns`.
    pub fn wait_condition(
        &self,
        namespace: &str,
        object: &str,
        condition: &str,
        limit: Duration,
    ) -> Result<()> {
        let what = format!("{object} to be {condition}");
        self.wait_for(&what, limit, &["get", object, "--namespace", namespace], |object| {
            match condition_of(object, condition) {
                Some(found) if found["status"] == "True" => ProbeResult::Ready(()),
                Some(found) => {
                    ProbeResult::Pending(format!("{}: {}", text(&found["reason"]), text(&found["message"])))
                }
                None => ProbeResult::Pending("the condition is not set yet".into()),
            }
        })
    }
}

fn condition_of<'a>(object: &'a Value, condition: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|found| found["type"] == condition)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_found_by_type() {
        let object = json!({"status": {"conditions": [
            {"type": "Progressing", "status": "True"},
            {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
        ]}});
        assert_eq!(condition_of(&object, "Available").unwrap()["reason"], "MinimumReplicasUnavailable");
        assert_eq!(condition_of(&object, "Ready"), None);
        assert_eq!(condition_of(&json!({}), "Ready"), None);
    }
}
