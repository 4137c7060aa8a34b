//! The dashboard: one table of panels, for the console of OpenShift and for Grafana.
//!
//! Both read the same format, with rows. Grafana converts it when it loads the dashboard; the console knows only the
//! panels `graph`, `singlestat` and `table`.

use crate::names;
use serde_json::{Value, json};

/// Who shows the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// The console of OpenShift, for the controller in this namespace.
    OpenShift {
        /// The namespace of the controller.
        namespace: &'a str,
    },
    /// Grafana, which lists the namespaces with a controller.
    Grafana,
}

/// One panel.
struct Panel {
    title: &'static str,
    kind: Kind,
    /// Unit of the values, as Grafana names it.
    unit: &'static str,
    /// Width, of 12.
    width: u8,
    /// Queries, each with the legend of its series.
    queries: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Graph,
    Table,
}

const fn number(title: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, kind: Kind::Number, unit: "short", width: 3, queries }
}

const fn graph(
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, kind: Kind::Graph, unit, width: 6, queries }
}

/// Title and panels of each row. In a query, `OPERAND` and `OPERATOR` stand for the labels of the target.
const ROWS: &[(&str, &[Panel])] = &[
    (
        "Overview",
        &[
            number("JobSets", &[("max(jobset_index_objects{OPERAND,kind=\"JobSet\"})", "JobSets")]),
            number(
                "JobSets completed in 24 hours",
                &[(
                    "round(sum(increase(jobset_finished_total{OPERAND,terminal_state=\"Completed\"}[24h])))",
                    "Completed",
                )],
            ),
            number(
                "JobSets failed in 24 hours",
                &[(
                    "round(sum(increase(jobset_finished_total{OPERAND,terminal_state=\"Failed\"}[24h])))",
                    "Failed",
                )],
            ),
            number(
                "Restarts in 24 hours",
                &[("round(sum(increase(jobset_restarts_total{OPERAND}[24h])))", "Restarts")],
            ),
        ],
    ),
    (
        "JobSets",
        &[
            graph(
                "Finished JobSets per hour",
                "short",
                &[(
                    "sum by (terminal_state) (increase(jobset_finished_total{OPERAND}[1h]))",
                    "{{terminal_state}}",
                )],
            ),
            graph(
                "Restarts per hour, by the failure of the first Job",
                "short",
                &[("sum by (cause) (increase(jobset_restarts_total{OPERAND}[1h]))", "{{cause}}")],
            ),
            graph(
                "Duration of attempts, 90th percentile",
                "s",
                &[(
                    "histogram_quantile(0.9, sum by (le, outcome) (rate(jobset_attempt_duration_seconds_bucket{OPERAND}[1h])))",
                    "{{outcome}}",
                )],
            ),
            graph(
                "Objects in the index of the controller",
                "short",
                &[("max by (kind) (jobset_index_objects{OPERAND})", "{{kind}}")],
            ),
            Panel {
                title: "Namespaces with failed JobSets in the last hour",
                kind: Kind::Table,
                unit: "short",
                width: 12,
                // The target has a label `namespace`, so Prometheus renames that of the JobSet.
                queries: &[(
                    "topk(20, count by (exported_namespace) (last_over_time(jobset_failed_total{OPERAND}[1h]) unless \
                     last_over_time(jobset_failed_total{OPERAND}[5m] offset 1h)))",
                    "",
                )],
            },
        ],
    ),
    (
        "Controller",
        &[
            graph(
                "Reconciles per second",
                "ops",
                &[(
                    "sum by (controller, result) (rate(controller_runtime_reconcile_total{OPERAND}[5m]))",
                    "{{controller}} {{result}}",
                )],
            ),
            graph(
                "Failed requests per second",
                "ops",
                &[("sum by (action) (rate(jobset_failed_requests_total{OPERAND}[5m]))", "{{action}}")],
            ),
            graph("Queue", "short", &[("sum by (name) (workqueue_depth{OPERAND})", "{{name}}")]),
            graph(
                "Time in the queue and of a reconcile, 99th percentile",
                "s",
                &[
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(workqueue_queue_duration_seconds_bucket{OPERAND}[5m])))",
                        "in the queue",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(controller_runtime_reconcile_time_seconds_bucket{OPERAND}[5m])))",
                        "reconcile",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(jobset_reconcile_to_write_seconds_bucket{OPERAND}[5m])))",
                        "until the last write",
                    ),
                ],
            ),
        ],
    ),
    (
        "Admission",
        &[
            graph(
                "Requests per second",
                "ops",
                &[(
                    "sum by (webhook, code) (rate(controller_runtime_webhook_requests_total{OPERAND}[5m]))",
                    "{{webhook}} {{code}}",
                )],
            ),
            graph(
                "Duration, 99th percentile",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (le, webhook) (rate(controller_runtime_webhook_latency_seconds_bucket{OPERAND}[5m])))",
                    "{{webhook}}",
                )],
            ),
        ],
    ),
    (
        "Requests and process",
        &[
            graph(
                "Requests to the API server per second",
                "ops",
                &[(
                    "sum by (method, code) (rate(rest_client_requests_total{OPERAND}[5m]))",
                    "{{method}} {{code}}",
                )],
            ),
            graph(
                "Time that writes wait for the limit of requests, 99th percentile",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (le) (rate(writer_wait_seconds_bucket{OPERAND}[5m])))",
                    "wait",
                )],
            ),
            graph(
                "CPU",
                "short",
                &[
                    ("sum by (pod) (rate(process_cpu_seconds_total{OPERAND}[5m]))", "{{pod}}"),
                    ("sum by (pod) (rate(process_cpu_seconds_total{OPERATOR}[5m]))", "{{pod}}"),
                ],
            ),
            graph(
                "Memory",
                "bytes",
                &[
                    ("sum by (pod) (process_resident_memory_bytes{OPERAND})", "{{pod}}"),
                    ("sum by (pod) (process_resident_memory_bytes{OPERATOR})", "{{pod}}"),
                ],
            ),
        ],
    ),
    (
        "Operator",
        &[
            graph(
                "Conditions of the JobSetOperator",
                "short",
                &[("max by (type) (jobset_operator_condition{OPERATOR,status=\"True\"})", "{{type}}")],
            ),
            graph(
                "Time until certificates expire",
                "s",
                &[(
                    "min by (secret) (jobset_operator_certificate_expiration_timestamp_seconds{OPERATOR}) - time()",
                    "{{secret}}",
                )],
            ),
        ],
    ),
];

/// The dashboard as JSON.
pub fn text(audience: Audience) -> String {
    let mut next = 0;
    let rows: Vec<Value> = ROWS
        .iter()
        .map(|(title, panels)| {
            let panels: Vec<Value> = panels
                .iter()
                .map(|panel| {
                    next += 1;
                    panel_json(panel, next, audience)
                })
                .collect();
            json!({"title": title, "showTitle": true, "collapse": false, "height": "250px", "panels": panels})
        })
        .collect();
    let dashboard = json!({
        "title": "JobSet",
        "uid": "jobset",
        "description": "The JobSet controller and its operator. Generated from crates/jobset-operator.",
        "tags": ["jobset"],
        "schemaVersion": 14,
        "editable": true,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables(audience)},
        "rows": rows,
    });
    format!("{dashboard:#}\n")
}

fn variables(audience: Audience) -> Vec<Value> {
    let mut all = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1,
        "current": {"text": "default", "value": "default"},
    })];
    if audience == Audience::Grafana {
        all.push(json!({
            "name": "namespace", "label": "Namespace of the controller", "type": "query", "hide": 0, "refresh": 2,
            "datasource": DATA_SOURCE,
            "query": format!("label_values(jobset_index_objects{{job=\"{}\"}}, namespace)", names::METRICS_SERVICE),
        }));
    }
    all
}

const DATA_SOURCE: &str = "$datasource";

fn panel_json(panel: &Panel, id: usize, audience: Audience) -> Value {
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip("ABCDEFG".chars())
        .map(|((query, legend), reference)| {
            let is_table = matches!(panel.kind, Kind::Table);
            json!({
                "expr": expression(query, audience), "legendFormat": legend, "refId": reference.to_string(),
                "format": if is_table { "table" } else { "time_series" }, "instant": is_table,
            })
        })
        .collect();
    let mut json = json!({
        "id": id, "title": panel.title, "span": panel.width, "datasource": DATA_SOURCE, "targets": targets,
    });
    let fields = match panel.kind {
        Kind::Number => {
            json!({"type": "singlestat", "format": panel.unit, "valueName": "current", "nullText": "0"})
        }
        Kind::Graph => json!({
            "type": "graph", "lines": true, "linewidth": 1, "fill": 1, "nullPointMode": "null", "stack": false,
            "legend": {"show": true},
            "yaxes": [{"format": panel.unit, "min": 0, "show": true}, {"format": "short", "show": false}],
            "xaxis": {"mode": "time", "show": true},
        }),
        Kind::Table => json!({
            "type": "table", "transform": "table",
            "styles": [
                {"pattern": "Time", "type": "hidden"},
                {"pattern": "exported_namespace", "alias": "Namespace", "type": "string"},
                {"pattern": "Value", "alias": "Failed JobSets", "type": "number", "decimals": 0, "unit": panel.unit},
            ],
        }),
    };
    if let (Some(json), Value::Object(fields)) = (json.as_object_mut(), fields) {
        json.extend(fields);
    }
    json
}

/// A query with the labels of its target.
fn expression(query: &str, audience: Audience) -> String {
    let namespace = match audience {
        Audience::OpenShift { namespace } => namespace,
        Audience::Grafana => "$namespace",
    };
    let target = |job: &str| format!("namespace=\"{namespace}\",job=\"{job}\"");
    query
        .replace("OPERAND", &target(names::METRICS_SERVICE))
        .replace("OPERATOR", &target(names::OPERATOR_METRICS_SERVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(audience: Audience) -> Value {
        serde_json::from_str(&text(audience)).unwrap()
    }

    fn panels(dashboard: &Value) -> Vec<Value> {
        let rows = dashboard["rows"].as_array().unwrap();
        rows.iter().flat_map(|row| row["panels"].as_array().unwrap().clone()).collect()
    }

    /// The names of the metrics in a query: words before a selector.
    fn metrics(query: &str) -> Vec<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let before_selectors = query.split('{').rev().skip(1);
        before_selectors
            .map(|before| before.rsplit(|c| !is_part(c)).next().unwrap_or_default().to_owned())
            .collect()
    }

    /// The metrics in the document, which the tests of the programs compare with the metrics that they export.
    fn documented(metric: &str) -> bool {
        let document = include_str!("../../../../docs/metrics.md");
        let (name, is_histogram) = match metric.strip_suffix("_bucket") {
            Some(name) => (name, true),
            None => (metric, false),
        };
        let mut rows = document.lines().filter(|line| line.starts_with('|'));
        rows.any(|row| row.contains(&format!("`{name}`")) && row.contains("| histogram |") == is_histogram)
    }

    #[test]
    fn every_query_uses_metrics_that_the_programs_export() {
        let panels = panels(&parsed(Audience::OpenShift { namespace: "ns" }));
        assert!(panels.len() > 15);
        for panel in &panels {
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                let metrics = metrics(query);
                assert!(!metrics.is_empty(), "{query} has no selector");
                for metric in metrics {
                    assert!(documented(&metric), "{query}: no program exports {metric}");
                }
            }
        }
        assert_eq!(
            metrics("max by (kind) (rate(one_total{a=\"b\"}[5m])) / two{c=\"d\"}"),
            ["two", "one_total"]
        );
        for missing in ["jobset_running", "jobset_attempt_duration_seconds", "workqueue_depth_bucket"] {
            assert!(!documented(missing), "{missing}");
        }
    }

    #[test]
    fn queries_have_the_labels_of_their_target() {
        for (audience, namespace) in
            [(Audience::OpenShift { namespace: "ns" }, "ns"), (Audience::Grafana, "$namespace")]
        {
            for panel in panels(&parsed(audience)) {
                for target in panel["targets"].as_array().unwrap() {
                    let query = target["expr"].as_str().unwrap();
                    assert!(query.contains(&format!("{{namespace=\"{namespace}\",job=\"jobset-")), "{query}");
                    assert!(!query.contains("OPERA"), "{query}");
                }
            }
        }
    }

    #[test]
    fn panels_have_numbers_of_their_own_and_fill_rows() {
        let dashboard = parsed(Audience::Grafana);
        let ids: Vec<_> = panels(&dashboard).iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
        for row in dashboard["rows"].as_array().unwrap() {
            let width: u64 =
                row["panels"].as_array().unwrap().iter().map(|panel| panel["span"].as_u64().unwrap()).sum();
            assert_eq!(width % 12, 0, "{}", row["title"]);
        }
        // The console does not know other panels.
        let known =
            |panel: &Value| ["graph", "singlestat", "table"].contains(&panel["type"].as_str().unwrap());
        assert!(panels(&dashboard).iter().all(known));
    }
}
