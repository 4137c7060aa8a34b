//! Runs Helm, which devcluster builds from its Go module, with the charts of `manifests/charts`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use devcluster::binaries::{self, Component};
use devcluster::progress::Progress;
use devcluster::state::Layout;
use kube::api::DynamicObject;

use crate::objects;

/// Helm for one cluster.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    /// Folder of Helm's own files, which are otherwise in the user's home.
    home: PathBuf,
}

impl Helm {
    /// Builds Helm, unless the cache has it.
    pub fn new(layout: &Layout) -> Result<Self> {
        let folder = binaries::ensure(&[Component::Helm], &Progress::quiet())?;
        let home = layout.root().join("helm");
        Ok(Self { program: folder.join("helm"), kubeconfig: layout.kubeconfig(), home })
    }

    /// Runs Helm and returns its standard output. The error contains its standard error.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.home.join(folder));
        }
        let output = command.env("KUBECONFIG", &self.kubeconfig).args(args).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm {} failed: {stderr}", args.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The objects of a chart of this repository with these values, such as `controller.replicas=2`. The release has
    /// the name of the chart.
    pub fn template(&self, chart: &str, namespace: &str, values: &[&str]) -> Result<Vec<DynamicObject>> {
        let folder = folder(chart).display().to_string();
        let mut args = vec!["template", chart, &folder, "--namespace", namespace];
        args.extend(values.iter().flat_map(|value| ["--set-json", value]));
        objects::parse(&self.run(&args)?)
    }
}

/// The folder of a chart.
pub fn folder(chart: &str) -> PathBuf {
    objects::repository().join(Path::new("manifests/charts")).join(chart)
}
