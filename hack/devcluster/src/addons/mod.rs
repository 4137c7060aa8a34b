//! What a cluster with a real node has besides its node: DNS, and on request a default StorageClass and cert-manager.
//! All run as Deployments, from images that hold one program each.

mod cert_manager;
mod manifests;

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::binaries::{self, Component};
use crate::context::Context;
use crate::node::{self, image};
use crate::options::Addons;
use manifests::Replacements;

/// How long an add-on may take from its Deployment's creation to Available.
const PATIENCE: Duration = Duration::from_mins(3);

/// An add-on: a program in an image, manifests that run it, and the Deployments to wait for.
struct Addon {
    component: Component,
    program: &'static str,
    manifests: &'static str,
    /// (namespace, name).
    deployments: &'static [(&'static str, &'static str)],
}

const ADDONS: [Addon; 3] = [
    Addon {
        component: Component::CoreDns,
        program: "coredns",
        manifests: include_str!("coredns.yaml"),
        deployments: &[("kube-system", "coredns")],
    },
    Addon {
        component: Component::CertManager,
        program: "cert-manager",
        manifests: include_str!("cert-manager.yaml"),
        deployments: &[("cert-manager", "cert-manager"), ("cert-manager", "cert-manager-cainjector")],
    },
    Addon {
        component: Component::LocalPathProvisioner,
        program: "local-path-provisioner",
        manifests: include_str!("local-path-provisioner.yaml"),
        deployments: &[("local-path-storage", "local-path-provisioner")],
    },
];

/// The programs of these add-ons.
pub fn programs(chosen: Addons) -> Vec<&'static str> {
    installed(chosen).map(|addon| addon.program).collect()
}

fn installed(chosen: Addons) -> impl Iterator<Item = &'static Addon> {
    ADDONS.iter().filter(move |addon| match addon.component {
        Component::CertManager => chosen.cert_manager,
        Component::LocalPathProvisioner => chosen.storage,
        _ => true,
    })
}

/// Installs the add-ons of the cluster's settings and waits until all are Available. Can be repeated.
pub fn install(context: &Context) -> Result<()> {
    let chosen = context.settings.addons;
    let addons: Vec<&Addon> = installed(chosen).collect();
    let components: Vec<Component> = addons.iter().map(|addon| addon.component).collect();
    let folder = binaries::ensure(&components, &context.progress)?;
    let crds = if chosen.cert_manager { cert_manager::crds(&context.progress)? } else { String::new() };
    let titles: Vec<&str> = addons.iter().map(|addon| addon.component.title()).collect();
    let step = context.progress.step(format!("Installing {}", titles.join(", ")));
    let kubectl = context.kubectl()?;
    let images = addons.iter().map(|addon| image_of(addon)).collect::<Result<Vec<_>>>()?;
    // Unpacking an image and storing a definition keep different programs busy: both at once.
    std::thread::scope(|scope| -> Result<()> {
        let loads: Vec<_> = addons
            .iter()
            .zip(&images)
            .map(|(addon, tag)| {
                let image = image::program(tag, addon.program, &folder.join(addon.program));
                let folder = &folder;
                scope.spawn(move || node::load_cached(context, &image, folder))
            })
            .collect();
        step.message("images and definitions");
        kubectl.apply(&[include_str!("local-images.yaml"), &crds].join("\n---\n"))?;
        for load in loads {
            load.join().map_err(|_| anyhow!("loading an image broke off"))??;
        }
        Ok(())
    })?;
    let rendered = addons
        .iter()
        .zip(&images)
        .map(|(addon, image)| {
            manifests::render(addon.manifests, &Replacements { image, volumes: node::VOLUMES })
        })
        .collect::<Result<Vec<_>>>()?;
    kubectl.apply(&rendered.join("\n---\n"))?;
    for (namespace, name) in addons.iter().flat_map(|addon| addon.deployments) {
        step.message(*name);
        kubectl.wait_condition(namespace, &format!("deployment/{name}"), "Available", PATIENCE)?;
    }
    step.done();
    Ok(())
}

/// Name of the image that is made of an add-on.
fn image_of(addon: &Addon) -> Result<String> {
    Ok(format!("localhost/devcluster/{}:{}", addon.program, addon.component.version()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize as _;

    fn documents(text: &str) -> Vec<serde_json::Value> {
        serde_yaml::Deserializer::from_str(text)
            .map(|document| serde_json::Value::deserialize(document).unwrap())
            .collect()
    }

    #[test]
    fn every_deployment_that_is_waited_for_is_in_its_manifests_and_runs_the_image() {
        for addon in &ADDONS {
            let text =
                manifests::render(addon.manifests, &Replacements { image: "localhost/x:1", volumes: "/v" })
                    .unwrap();
            let deployments: Vec<_> =
                documents(&text).into_iter().filter(|it| it["kind"] == "Deployment").collect();
            assert_eq!(deployments.len(), addon.deployments.len(), "{}", addon.program);
            for (namespace, name) in addon.deployments {
                let found = deployments
                    .iter()
                    .find(|it| it["metadata"]["name"] == *name && it["metadata"]["namespace"] == *namespace)
                    .unwrap_or_else(|| panic!("{name}"));
                let container = &found["spec"]["template"]["spec"]["containers"][0];
                assert_eq!(container["image"], "localhost/x:1");
                assert!(container["readinessProbe"].is_object() || addon.program == "local-path-provisioner");
            }
        }
    }

    #[test]
    fn the_dns_service_has_the_address_that_kubelets_tell_pods() {
        let manifests = include_str!("coredns.yaml");
        let service = documents(manifests).into_iter().find(|it| it["kind"] == "Service").unwrap();
        assert_eq!(service["spec"]["clusterIP"], crate::state::Network::DNS.to_string());
        assert!(manifests.contains(crate::state::Network::CLUSTER_DOMAIN));
    }
}
