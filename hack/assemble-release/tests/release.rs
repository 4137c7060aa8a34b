//! Assembles a release from stand-ins for the programs, and checks every reference between its files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assemble_release::{BUNDLE, CATALOG, IMAGE, Inputs, Programs, VERSION, archive, assemble};
use oci_image::sha256;
use serde_json::Value;
use serde_yaml::Deserializer;

const REGISTRY: &str = "registry.example.com/batch";
const CREATED: u64 = 1_000_000_000;

/// Two releases from the same inputs.
static RELEASES: LazyLock<(tempfile::TempDir, [PathBuf; 2])> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["in-place-restart-agent", "jobset-controller-manager", "jobset-operator", "kubectl-jobset"] {
        // A program that is linked to the C library.
        fs::copy("/bin/true", programs.join(name)).unwrap();
    }
    let releases = ["one", "other"].map(|name| folder.path().join(name));
    for output in &releases {
        assemble(&inputs(&programs), output).unwrap();
    }
    (folder, releases)
});

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn inputs(programs: &Path) -> Inputs {
    Inputs {
        root: root(),
        programs: vec![Programs {
            target: format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            folder: programs.to_owned(),
        }],
        commit: "c0ffee".into(),
        created: CREATED,
        registry: REGISTRY.into(),
        base_image: None,
        base_archive: None,
        generator: vec!["--maintainer-email".into(), "maintainers@example.com".into()],
    }
}

fn release() -> &'static Path {
    &RELEASES.1[0]
}

fn text(name: &str) -> String {
    fs::read_to_string(release().join(name)).unwrap()
}

fn files(archive: impl std::io::Read) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), CREATED);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let path = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
        files.insert(path, content);
    }
    files
}

/// An image of the release: the digest of its manifest, its configuration, and the files of its only layer.
struct Image {
    digest: String,
    config: Value,
    files: BTreeMap<String, Vec<u8>>,
}

fn image(name: &str) -> Image {
    let layout = files(fs::File::open(release().join(archive(name))).unwrap());
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        layout[&format!("blobs/{}", digest.replacen(':', "/", 1))].as_slice()
    };
    let index = json(&layout["index.json"]);
    let tag = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().unwrap();
    assert_eq!(tag, format!("{REGISTRY}/{name}:v{VERSION}"));
    let manifest = json(blob(&index["manifests"][0]));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    Image {
        digest: index["manifests"][0]["digest"].as_str().unwrap().to_owned(),
        config: json(blob(&manifest["config"])),
        files: files(flate2::read::GzDecoder::new(blob(&manifest["layers"][0]))),
    }
}

/// The objects of a YAML file.
fn objects(text: &str) -> Vec<Value> {
    Deserializer::from_str(text).map(|one| serde::Deserialize::deserialize(one).unwrap()).collect()
}

/// The objects of a kustomization of the repository, with `image` as their image.
fn kustomization(folder: &str, image: &str) -> Vec<Value> {
    let read = |name: &str| fs::read_to_string(root().join(folder).join(name)).unwrap();
    let resources = objects(&read("kustomization.yaml")).remove(0)["resources"].take();
    let local = format!("localhost/jobset-operator:v{VERSION}");
    resources
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|file| objects(&read(file.as_str().unwrap()).replace(&local, image)))
        .collect()
}

#[test]
fn two_runs_write_the_same_bytes() {
    let [one, other] = &RELEASES.1;
    let names = |folder: &Path| -> Vec<_> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(other));
    for name in names(one) {
        assert_eq!(fs::read(one.join(&name)).unwrap(), fs::read(other.join(&name)).unwrap(), "{name:?}");
    }
}

#[test]
fn checksums_cover_every_other_file() {
    let sums = text("SHA256SUMS");
    let mut names = Vec::new();
    for line in sums.lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        assert_eq!(sha256(&fs::read(release().join(name)).unwrap()), format!("sha256:{digest}"), "{name}");
        names.push(name);
    }
    let files = fs::read_dir(release()).unwrap().count();
    assert_eq!(names.len(), files - 1, "{names:?}");
    for name in [
        "catalogsource.yaml",
        "cluster.yaml",
        "images.txt",
        "jobset-operator-bundle-image.tar",
        "jobset-operator-catalog-image.tar",
        "jobset-operator-image.tar",
        "jobset.x-k8s.io_jobsets.yaml",
        "jobset.yaml",
        "manifests.yaml",
        "operator.openshift.io_jobsetoperators.yaml",
        "operator.yaml",
        "release-notes.md",
        "sbom.cdx.json",
        "subscription.yaml",
    ] {
        assert!(names.contains(&name), "no {name}");
    }
}

#[test]
fn single_files_have_the_objects_of_the_kustomizations() {
    let image = format!("{REGISTRY}/{IMAGE}@{}", image(IMAGE).digest);
    for (name, folder) in [("manifests.yaml", "manifests"), ("operator.yaml", "deploy")] {
        let single = objects(&text(name));
        assert_eq!(single, kustomization(folder, &image), "{name}");
        // kubectl applies the objects in the order of the file.
        let position = |kind: &str| single.iter().position(|one| one["kind"] == kind).unwrap();
        assert!(position("Namespace") < position("ServiceAccount"), "{name}");
        assert!(position("Namespace") < position("Deployment"), "{name}");
        assert!(!text(name).contains("Generated by hack/generate"), "{name}");
    }
}

#[test]
fn the_manifest_for_krew_names_the_archive_of_the_plugin() {
    let manifest: Value = serde_yaml::from_str(&text("jobset.yaml")).unwrap();
    assert_eq!(manifest["metadata"]["name"], "jobset");
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}"));
    let platform = &manifest["spec"]["platforms"][0];
    let archive = platform["uri"].as_str().unwrap().rsplit_once('/').unwrap().1;
    let bytes = fs::read(release().join(archive)).unwrap();
    assert_eq!(sha256(&bytes), format!("sha256:{}", platform["sha256"].as_str().unwrap()));
    let files = files(flate2::read::GzDecoder::new(bytes.as_slice()));
    for one in platform["files"].as_array().unwrap() {
        assert!(files.contains_key(one["from"].as_str().unwrap()), "{one} of {:?}", files.keys());
    }
    assert_eq!(files[platform["bin"].as_str().unwrap()], fs::read("/bin/true").unwrap());
}

#[test]
fn the_image_has_programs_licences_and_labels() {
    let image = image(IMAGE);
    for path in ["usr/bin/jobset-operator", "usr/bin/jobset-controller-manager", "licenses/LICENSE"] {
        assert!(image.files.contains_key(path), "{path}");
    }
    let licences = String::from_utf8(image.files["licenses/THIRD-PARTY.txt"].clone()).unwrap();
    assert!(licences.contains("\nrustls ") && licences.contains("Apache License"));
    let labels = &image.config["config"]["Labels"];
    for (name, value) in [
        ("version", VERSION),
        ("vcs-ref", "c0ffee"),
        ("name", "jobset-operator"),
        ("org.opencontainers.image.created", "2001-09-09T01:46:40Z"),
    ] {
        assert_eq!(labels[name], value, "{name}");
    }
    for name in ["vendor", "release", "summary", "description", "maintainer", "url"] {
        assert!(labels[name].as_str().is_some_and(|value| !value.is_empty()), "no label {name}");
    }
    assert_eq!(image.config["config"]["User"], "65532:65532");
}

#[test]
fn every_reference_has_the_digest_of_an_archive() {
    let reference = |name: &str| format!("{REGISTRY}/{name}@{}", image(name).digest);
    let list: Vec<_> =
        [IMAGE, BUNDLE, CATALOG].map(|name| format!("{} {}", reference(name), archive(name))).to_vec();
    assert_eq!(text("images.txt").lines().collect::<Vec<_>>(), list);

    let bundle = image(BUNDLE);
    let csv = &bundle.files["manifests/jobset-operator.clusterserviceversion.yaml"];
    let csv = String::from_utf8(csv.clone()).unwrap();
    assert!(csv.contains(&reference(IMAGE)));
    let labels = bundle.config["config"]["Labels"].as_object().unwrap();
    let annotations = &objects(std::str::from_utf8(&bundle.files["metadata/annotations.yaml"]).unwrap())[0];
    for (name, value) in annotations["annotations"].as_object().unwrap() {
        assert_eq!(&labels[name], value, "{name}");
    }

    let catalog = image(CATALOG);
    let label = &catalog.config["config"]["Labels"]["operators.operatorframework.io.index.configs.v1"];
    let folder = label.as_str().unwrap().trim_start_matches('/');
    let catalog =
        String::from_utf8(catalog.files[&format!("{folder}/job-set/catalog.yaml")].clone()).unwrap();
    assert!(catalog.contains(&reference(IMAGE)) && catalog.contains(&reference(BUNDLE)));

    let source = &objects(&text("catalogsource.yaml"))[0]["spec"];
    assert_eq!(source["image"], reference(CATALOG));
    // The catalog image contains no program that serves it.
    assert_eq!(source["grpcPodConfig"]["extractContent"]["catalogDir"], format!("/{folder}"));
    assert!(
        csv.contains("maintainers@example.com")
            && csv.contains("features.operators.openshift.io/disconnected: 'true'")
    );

    // No image of ours is named by a tag.
    for (name, text) in [
        ("csv", csv),
        ("catalog", catalog),
        ("manifests.yaml", text("manifests.yaml")),
        ("operator.yaml", text("operator.yaml")),
    ] {
        assert!(
            !text.contains("localhost/jobset-operator") && !text.contains(&format!(":v{VERSION}")),
            "{name}"
        );
    }
}

#[test]
fn errors_name_the_remedy() {
    let (folder, _) = &*RELEASES;
    let programs = folder.path().join("none");
    let error = assemble(&inputs(&programs), &folder.path().join("failed")).unwrap_err();
    assert!(format!("{error:#}").contains("contains no program"), "{error:#}");
    let error = assemble(&inputs(&programs), release()).unwrap_err();
    assert!(format!("{error:#}").contains("is not empty"), "{error:#}");
}
