//! Archives of the generated Helm charts, as `helm package` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use generate::files::Files;
use serde_json::Value;

use crate::archive::Archive;

/// The file that marks the folder of a chart.
const CHART: &str = "Chart.yaml";

/// The archive of every chart, by its name `<chart>-<version>.tgz`. Its files have the time `created`.
pub(crate) fn all(files: &Files, created: u64) -> Result<BTreeMap<String, Vec<u8>>> {
    let folders: Vec<PathBuf> = files
        .iter()
        .filter(|(path, _)| path.file_name().is_some_and(|name| name == CHART))
        .filter_map(|(path, _)| path.parent().map(Path::to_path_buf))
        .collect();
    folders.iter().map(|folder| archive(files, folder, created)).collect()
}

fn archive(files: &Files, folder: &Path, created: u64) -> Result<(String, Vec<u8>)> {
    let of_chart: Vec<_> =
        files.iter().filter_map(|(path, content)| Some((path.strip_prefix(folder).ok()?, content))).collect();
    let chart = of_chart.iter().find(|(path, _)| *path == Path::new(CHART)).map_or("", |(_, text)| *text);
    let chart: Value = serde_yaml::from_str(chart)
        .with_context(|| format!("{} is not YAML", folder.join(CHART).display()))?;
    let field = |name: &str| {
        let value = chart.get(name).and_then(Value::as_str);
        value.with_context(|| format!("{} has no {name}", folder.join(CHART).display()))
    };
    let (name, version) = (field("name")?, field("version")?);
    let mut archive = Archive::new(created);
    for (path, content) in of_chart {
        archive.add(&Path::new(name).join(path), 0o644, content.as_bytes())?;
    }
    Ok((format!("{name}-{version}.tgz"), archive.finish()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_chart_is_an_archive_with_a_folder_of_its_name() {
        let mut files = Files::default();
        files.add("somewhere/chart/Chart.yaml", "name: jobset\nversion: 1.2.3\n".into());
        files.add("somewhere/chart/templates/a.yaml", "a: 1\n".into());
        files.add("somewhere/other.yaml", "b: 1\n".into());
        let archives = all(&files, 1_000_000_000).unwrap();
        assert_eq!(archives, all(&files, 1_000_000_000).unwrap());
        assert_eq!(archives.keys().collect::<Vec<_>>(), ["jobset-1.2.3.tgz"]);
        let mut found = Vec::new();
        let gzip = flate2::read::GzDecoder::new(archives["jobset-1.2.3.tgz"].as_slice());
        for entry in tar::Archive::new(gzip).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().to_str().unwrap().to_owned(), text));
        }
        assert_eq!(found[0].0, "jobset/Chart.yaml");
        assert_eq!(found[1], ("jobset/templates/a.yaml".to_owned(), "a: 1\n".to_owned()));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_chart_without_version_is_an_error() {
        let mut files = Files::default();
        files.add("chart/Chart.yaml", "name: jobset\n".into());
        assert!(all(&files, 0).unwrap_err().to_string().contains("chart/Chart.yaml has no version"));
    }
}
