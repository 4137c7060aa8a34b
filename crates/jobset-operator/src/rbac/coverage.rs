//! Compares the grants of roles.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// Whether `held` grants everything that `requested` grants. The API server makes the same check before a client
/// writes a role. A wildcard grants only itself, because the operator's rules contain none.
pub fn covers(held: &[PolicyRule], requested: &[PolicyRule]) -> bool {
    requested.iter().flat_map(single_grants).all(|grant| held.iter().any(|rule| grants(rule, &grant)))
}

/// One verb on one path, or on one resource and name.
struct Grant<'a> {
    verb: &'a str,
    on: Target<'a>,
}

enum Target<'a> {
    Path(&'a str),
    Resource { group: &'a str, resource: &'a str, name: Option<&'a str> },
}

fn single_grants(rule: &PolicyRule) -> Vec<Grant<'_>> {
    let names: Vec<Option<&str>> = match list(rule.resource_names.as_ref()) {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let paths = list(rule.non_resource_urls.as_ref()).iter().map(|path| Target::Path(path));
    let mut all = Vec::new();
    for verb in &rule.verbs {
        all.extend(paths.clone().map(|on| Grant { verb, on }));
        for group in list(rule.api_groups.as_ref()) {
            for resource in list(rule.resources.as_ref()) {
                all.extend(
                    names.iter().map(|&name| Grant { verb, on: Target::Resource { group, resource, name } }),
                );
            }
        }
    }
    all
}

fn grants(rule: &PolicyRule, grant: &Grant) -> bool {
    let has = |items: Option<&Vec<String>>, item: &str| list(items).iter().any(|found| found == item);
    rule.verbs.iter().any(|verb| verb == grant.verb)
        && match grant.on {
            Target::Path(path) => has(rule.non_resource_urls.as_ref(), path),
            Target::Resource { group, resource, name } => {
                let names = rule.resource_names.as_ref();
                has(rule.api_groups.as_ref(), group)
                    && has(rule.resources.as_ref(), resource)
                    && (list(names).is_empty() || name.is_some_and(|name| has(names, name)))
            }
        }
}

fn list(items: Option<&Vec<String>>) -> &[String] {
    items.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_cover_verbs_resources_names_and_paths() {
        let rule = |names: &[&str], verbs: &[&str]| -> Vec<PolicyRule> {
            let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": verbs}]);
            serde_json::from_value(rule).unwrap()
        };
        let (all, named) = (rule(&[], &["get"]), rule(&["a"], &["get"]));
        assert!(covers(&all, &named) && covers(&all, &all) && covers(&named, &[]));
        assert!(!covers(&named, &all), "a grant by name does not cover all names");
        assert!(!covers(&named, &rule(&["b"], &["get"])));
        assert!(!covers(&named, &rule(&["a"], &["get", "list"])));
        assert!(!covers(&[], &named));
        let path = |path: &str| -> Vec<PolicyRule> {
            serde_json::from_value(json!([{"nonResourceURLs": [path], "verbs": ["get"]}])).unwrap()
        };
        assert!(covers(&path("/metrics"), &path("/metrics")));
        assert!(!covers(&path("/metrics"), &path("/healthz")) && !covers(&all, &path("/metrics")));
    }
}
