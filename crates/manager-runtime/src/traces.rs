//! Exports spans to an OpenTelemetry collector: one for each reconcile, with its requests as children.
//!
//! The standard environment variables of OpenTelemetry configure the export:
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the collector, OTLP over HTTP; without either variable the process exports nothing |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | name and attributes of this process |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | sampling |

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::sync::OnceLock;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, registry::LookupSpan};

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that exports spans, or None if the environment names no collector or an invalid one.
pub(crate) fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let named = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !named("OTEL_EXPORTER_OTLP_ENDPOINT") && !named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return None;
    }
    // The log does not exist yet.
    let exporter = SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|error| eprintln!("cannot export traces: invalid OTEL_EXPORTER_OTLP_* variables: {error}"))
        .ok()?;
    let mut resource = Resource::builder();
    if !named("OTEL_SERVICE_NAME") {
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
        resource = resource.with_service_name(program.unwrap_or_default().into_owned());
    }
    let provider =
        SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    let _ = PROVIDER.set(provider);
    // The client creates a span for each request. Spans of watches and of the exporter belong to no reconcile.
    let reconcile_spans = dynamic_filter_fn(|metadata, context| {
        metadata.is_span()
            && (metadata.name() == "reconcile"
                || (metadata.name() == "HTTP" && context.lookup_current().is_some()))
    });
    Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(reconcile_spans))
}

/// Exports the remaining spans. Call it before the process exits.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // An unreachable collector must not change the exit code.
        let _ = provider.shutdown();
    }
}
