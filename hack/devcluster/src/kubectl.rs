//! The cluster's own kubectl, as the way in which devcluster speaks to the cluster.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::process::{run, run_with_input};
use crate::wait::{self, Seen};

/// kubectl with the administrator's kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// `cache` is where kubectl keeps what it learns of the API: never in the user's home, where it would be
    /// mixed up with that of another cluster at the same address.
    pub fn new(program: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self { program, kubeconfig, cache }
    }

    /// The command, to which arguments can be added.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(format!("--kubeconfig={}", self.kubeconfig.display()));
        command.arg(format!("--cache-dir={}", self.cache.display()));
        command
    }

    /// Runs kubectl; its standard output.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        run(self.command().args(args))
    }

    /// Runs kubectl with this text as its standard input; its standard output.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        run_with_input(self.command().args(args), Some(input))
    }

    /// Applies manifests (YAML or JSON, any number of documents), server-side.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=devcluster", "-f", "-"];
        self.run_with_input(&args, manifests).map(drop)
    }

    /// Runs kubectl with `-o json`; what it printed.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&[args, &["-o", "json"]].concat())?)?)
    }

    /// Waits until kubectl, run with `-o json`, prints something in which `probe` finds what it seeks.
    ///
    /// A failing kubectl, for example because the object does not exist yet, counts as not yet.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        args: &[&str],
        mut probe: impl FnMut(&Value) -> Seen<T>,
    ) -> Result<T> {
        wait::until(what, limit, || {
            Ok(match self.json(args) {
                Ok(answer) => probe(&answer),
                Err(error) => Seen::NotYet(format!("{error:#}")),
            })
        })
    }

    /// Waits until a condition of an object is True, such as `Available` of `deployment/coredns`.
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
                Some(found) if found["status"] == "True" => Seen::Ready(()),
                Some(found) => {
                    Seen::NotYet(format!("{}: {}", text(&found["reason"]), text(&found["message"])))
                }
                None => Seen::NotYet("it has no such condition yet".into()),
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
    fn a_condition_is_found_by_its_type() {
        let object = json!({"status": {"conditions": [
            {"type": "Progressing", "status": "True"},
            {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
        ]}});
        assert_eq!(condition_of(&object, "Available").unwrap()["reason"], "MinimumReplicasUnavailable");
        assert_eq!(condition_of(&object, "Ready"), None);
        assert_eq!(condition_of(&json!({}), "Ready"), None);
    }
}
