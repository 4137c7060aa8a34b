//! A planned JobSet as text for people.

use super::{Planned, stages::Stage};
use anstyle::{AnsiColor, Style};
use jobset_api::labels;
use serde_json::Value;
use std::fmt;

const BOLD: Style = Style::new().bold();

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (color, verdict) = if self.is_refused() {
            (AnsiColor::Red, "admission refuses it")
        } else {
            (AnsiColor::Green, "admission accepts it")
        };
        let style = color.on_default().bold();
        writeln!(f, "{BOLD}JobSet {}/{}{BOLD:#}: {style}{verdict}{style:#}", self.namespace, self.name)?;
        for refusal in &self.refusals {
            writeln!(f, "  * {refusal}")?;
        }
        for warning in &self.warnings {
            let style = AnsiColor::Yellow.on_default();
            writeln!(f, "  {style}warning:{style:#} {warning}")?;
        }
        for (position, stage) in self.stages.iter().enumerate() {
            let title = if position == 0 { "At once" } else { "Then" };
            writeln!(f, "\n{BOLD}{title}{BOLD:#}")?;
            for reason in &stage.after {
                writeln!(f, "  ({reason})")?;
            }
            for line in lines(stage) {
                writeln!(f, "  {line}")?;
            }
        }
        if !self.then.is_empty() {
            writeln!(f, "\n{BOLD}Then it waits{BOLD:#}")?;
            for reason in &self.then {
                writeln!(f, "  {reason}")?;
            }
        }
        Ok(())
    }
}

/// A line for each object. Jobs of one ReplicatedJob have one line.
fn lines(stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    let mut objects = stage.objects.iter().peekable();
    while let Some(first) = objects.next() {
        let role = role(first);
        let mut last = first;
        let mut number = 1;
        while let Some(next) = objects.next_if(|next| role.is_some() && self::role(next) == role) {
            last = next;
            number += 1;
        }
        lines.push(line(first, last, number));
    }
    lines
}

fn line(first: &Value, last: &Value, number: usize) -> String {
    let kind = first.get("kind").and_then(Value::as_str).unwrap_or_default();
    let range = if number == 1 { name(first) } else { format!("{} … {}", name(first), name(last)) };
    match kind {
        "Job" => {
            let pods = first.pointer("/spec/parallelism").and_then(Value::as_i64).unwrap_or(1);
            let jobs = if number == 1 { String::new() } else { format!("{number} Jobs of ") };
            let plural = if pods == 1 { "" } else { "s" };
            let suspended =
                if first.pointer("/spec/suspend") == Some(&Value::Bool(true)) { ", suspended" } else { "" };
            let hosts = hosts(first, last).map_or_else(String::new, |hosts| format!("; host names {hosts}"));
            format!("Job {range}: {jobs}{pods} pod{plural}{suspended}{hosts}")
        }
        "Service" => format!("Service {range}: headless, host names of the pods"),
        _ => format!("{kind} {range}"),
    }
}

/// The host names of the pods of the Jobs from `first` to `last`.
fn hosts(first: &Value, last: &Value) -> Option<String> {
    let subdomain = first.pointer("/spec/template/spec/subdomain")?.as_str()?;
    let pods = last.pointer("/spec/parallelism").and_then(Value::as_i64).unwrap_or(1);
    let from = format!("{}-0.{subdomain}", name(first));
    let to = format!("{}-{}.{subdomain}", name(last), (pods - 1).max(0));
    Some(if from == to { from } else { format!("{from} … {to}") })
}

fn name(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn role(object: &Value) -> Option<&str> {
    object.pointer("/metadata/labels")?.get(labels::REPLICATED_JOB_NAME)?.as_str()
}
