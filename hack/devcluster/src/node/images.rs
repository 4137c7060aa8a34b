//! Images with one static program: busybox, pause, and those of the add-ons.

use std::collections::BTreeMap;
use std::path::Path;

use oci_image::{Entry, Image, RunConfig};

use super::packages::BUSYBOX;

/// Names of the shell image. Examples use the first one as `busybox`.
const BUSYBOX_TAGS: [&str; 2] = ["busybox:latest", "localhost/busybox:dev"];
/// Name of the image of pod sandboxes.
pub const PAUSE_TAG: &str = "localhost/devcluster/pause:1";

/// A shell and its tools. `tools` are the lines of `busybox --list`.
pub fn busybox<'a>(tools: impl IntoIterator<Item = &'a str>) -> Image {
    let mut entries = base();
    for tool in tools.into_iter().map(str::trim).filter(|tool| !tool.is_empty() && *tool != "busybox") {
        entries.insert(format!("bin/{tool}"), Entry::link("/bin/busybox"));
    }
    entries.insert("bin/busybox".into(), Entry::file(BUSYBOX, 0o755));
    // Scripts use this path.
    entries.insert("usr/bin".into(), Entry::folder(0o755));
    entries.insert("usr/bin/env".into(), Entry::link("/bin/busybox"));
    let config = RunConfig { command: vec!["sh".into()], ..RunConfig::default() };
    let [first, other] = BUSYBOX_TAGS;
    let mut image = Image::new(first, entries, config);
    image.tags.push(other.to_owned());
    image
}

/// The sandbox container of a pod, which holds the pod's namespaces. With a shared process namespace, its process has
/// pid 1 and reaps orphans: the shell does that in `wait`.
pub fn pause() -> Image {
    let mut entries = base();
    entries.insert("bin/busybox".into(), Entry::file(BUSYBOX, 0o755));
    entries.insert("bin/sh".into(), Entry::link("/bin/busybox"));
    entries.insert("bin/sleep".into(), Entry::link("/bin/busybox"));
    let script = "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait $!; done";
    let config = RunConfig {
        entrypoint: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        user: "65535:65535".into(),
        ..RunConfig::default()
    };
    Image::new(PAUSE_TAG, entries, config)
}

/// An image with one static program, `/<name>`.
pub fn program(tag: &str, name: &str, source: &Path) -> Image {
    let mut entries = base();
    entries.insert(name.to_owned(), Entry::file(source, 0o755));
    let config = RunConfig {
        entrypoint: vec![format!("/{name}")],
        user: "65532:65532".into(),
        ..RunConfig::default()
    };
    Image::new(tag, entries, config)
}

/// Files and folders that programs expect.
fn base() -> BTreeMap<String, Entry> {
    [
        ("bin", Entry::folder(0o755)),
        ("dev", Entry::folder(0o755)),
        ("etc", Entry::folder(0o755)),
        ("etc/group", Entry::text("root:x:0:\nnonroot:x:65532:\n", 0o644)),
        (
            "etc/passwd",
            Entry::text("root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/bin/false\n", 0o644),
        ),
        ("home", Entry::folder(0o755)),
        ("proc", Entry::folder(0o755)),
        ("root", Entry::folder(0o700)),
        ("sys", Entry::folder(0o755)),
        ("tmp", Entry::folder(0o1777)),
        ("usr", Entry::folder(0o755)),
        ("var", Entry::folder(0o755)),
    ]
    .map(|(path, entry)| (path.to_owned(), entry))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_image::Kind;

    #[test]
    fn tools_are_links_to_busybox() {
        let image = busybox("[\nsh\nbusybox\nnslookup\n\n".lines());
        assert_eq!(image.entries["bin/nslookup"].kind, Kind::Link("/bin/busybox".into()));
        assert_eq!(image.entries["bin/busybox"].kind, Kind::File(BUSYBOX.into()));
        assert!(image.entries.contains_key("bin/["));
        assert!(image.tags.iter().any(|tag| tag == "busybox:latest"));
    }

    #[test]
    fn entrypoints_are_files_of_the_image() {
        for image in [pause(), program("localhost/devcluster/dns:1", "coredns", Path::new("/tmp/coredns"))] {
            let program = image.config.entrypoint[0].trim_start_matches('/').to_owned();
            assert!(image.entries.contains_key(&program), "{program}");
            assert_ne!(image.config.user, "");
        }
    }
}
