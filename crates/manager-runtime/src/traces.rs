//! Spans for an OpenTelemetry collector: one for each reconcile, with its requests below it.
//!
//! The environment says where to, by the names that OpenTelemetry has given:
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the collector, OTLP over HTTP; nothing is sent without one of the two |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | what this process is called |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | how many traces are kept |

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::sync::OnceLock;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, registry::LookupSpan};

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that sends spans on; none when the environment names no collector, or one that makes no sense.
pub(crate) fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let named = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !named("OTEL_EXPORTER_OTLP_ENDPOINT") && !named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return None;
    }
    // There is no log yet to tell it in.
    let exporter = SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|error| eprintln!("no traces: the collector in the environment cannot be used: {error}"))
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
    // The client makes a span of each request. Those of watches and of the exporter itself belong to no reconcile.
    let ours = dynamic_filter_fn(|metadata, context| {
        metadata.is_span()
            && (metadata.name() == "reconcile"
                || (metadata.name() == "HTTP" && context.lookup_current().is_some()))
    });
    Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours))
}

/// Sends what has not been sent yet. To be called at the end of the process.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // A collector that is gone is no reason to fail.
        let _ = provider.shutdown();
    }
}
