//! Placeholders in the manifests of add-ons.

use anyhow::{Result, bail};

/// Values of the placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replacements<'a> {
    /// `{{image}}`: name of the add-on's image.
    pub(super) image: &'a str,
    /// `{{volumes}}`: folder for volumes on the node.
    pub(super) volumes: &'a str,
}

/// Replaces the placeholders. An unknown placeholder is an error.
pub(super) fn render(manifests: &str, replacements: &Replacements<'_>) -> Result<String> {
    let text =
        manifests.replace("{{image}}", replacements.image).replace("{{volumes}}", replacements.volumes);
    if let Some((_, rest)) = text.split_once("{{") {
        bail!("unknown placeholder {{{{{}", rest.lines().next().unwrap_or_default());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_unknown_ones_are_errors() {
        let replacements = Replacements { image: "localhost/x:1", volumes: "/v" };
        assert_eq!(
            render("image: {{image}}\npath: {{volumes}}", &replacements).unwrap(),
            "image: localhost/x:1\npath: /v"
        );
        assert!(render("a: {{other}}", &replacements).unwrap_err().to_string().contains("{{other}}"));
    }
}
