//! The few places of an add-on's manifests that are not known before a cluster stands.

use anyhow::{Result, bail};

/// What stands in the manifests' place-holders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replacements<'a> {
    /// `{{image}}`: name of the add-on's image.
    pub(super) image: &'a str,
    /// `{{volumes}}`: the node's folder for volumes.
    pub(super) volumes: &'a str,
}

/// Fills the place-holders in; one that is left is an error.
pub(super) fn render(manifests: &str, replacements: &Replacements<'_>) -> Result<String> {
    let text =
        manifests.replace("{{image}}", replacements.image).replace("{{volumes}}", replacements.volumes);
    if let Some((_, rest)) = text.split_once("{{") {
        bail!("unknown place-holder {{{{{}", rest.lines().next().unwrap_or_default());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled() {
        let replacements = Replacements { image: "localhost/x:1", volumes: "/v" };
        assert_eq!(
            render("image: {{image}}\npath: {{volumes}}", &replacements).unwrap(),
            "image: localhost/x:1\npath: /v"
        );
        assert!(render("a: {{other}}", &replacements).unwrap_err().to_string().contains("{{other}}"));
    }
}
