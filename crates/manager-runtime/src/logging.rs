//! Logs to standard error. The level can change while the process runs.

use jiff::{Timestamp, tz::TimeZone};
use std::error::Error;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for a terminal.
    Console,
}

/// The log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only failures.
    Error,
    /// Also changes.
    Info,
    /// Also the reasons for decisions.
    Debug,
    /// Also every step.
    Trace,
    /// Also the log of libraries.
    TraceAll,
}

impl Level {
    /// Parses a value of `--zap-log-level`: `debug`, `info`, `error`, `panic`, or a number above 0, where a larger
    /// number logs more. Ignores the case, as zap does.
    pub fn from_zap(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "error" | "panic" => Ok(Self::Error),
            number => match number.parse::<u32>() {
                Ok(1..=2) => Ok(Self::Debug),
                Ok(3..=6) => Ok(Self::Trace),
                Ok(7..) => Ok(Self::TraceAll),
                Ok(0) | Err(_) => Err(format!(
                    "{text:?} is not a log level: use debug, info, error, panic, or a number above 0"
                )),
            },
        }
    }

    fn filter(self) -> EnvFilter {
        // Libraries log only problems, except at the highest level. The caller logs a failed request. kube's client
        // would log it again, without its purpose.
        EnvFilter::new(match self {
            Self::Error => "error",
            Self::Info => {
                "info,kube=warn,hyper=warn,tower=warn,rustls=warn,kube_client::client::builder=off,kube_runtime::watcher=off"
            }
            Self::Debug => {
                "debug,kube=info,hyper=info,hyper_util=info,tower=info,rustls=info,h2=info,kube_client::client::builder=off,kube_runtime::watcher=off"
            }
            Self::Trace => "trace,kube=debug,hyper=info,hyper_util=info,tower=info,rustls=info,h2=info",
            Self::TraceAll => "trace",
        })
    }
}

/// The format of the time in a log line, always in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeEncoding {
    /// `2026-01-31T23:59:59.123Z`
    Iso8601,
    /// `2026-01-31T23:59:59Z`
    Rfc3339,
    /// `2026-01-31T23:59:59.123456789Z`
    Rfc3339Nano,
    /// Seconds since 1970, with a fraction.
    Epoch,
    /// Milliseconds since 1970, with a fraction.
    Millis,
    /// Nanoseconds since 1970.
    Nano,
}

impl TimeEncoding {
    /// Parses a value of `--zap-time-encoding`.
    pub fn from_zap(text: &str) -> Result<Self, String> {
        Ok(match text {
            "iso8601" | "ISO8601" => Self::Iso8601,
            "rfc3339" | "RFC3339" => Self::Rfc3339,
            "rfc3339nano" | "RFC3339Nano" => Self::Rfc3339Nano,
            "epoch" => Self::Epoch,
            "millis" => Self::Millis,
            "nano" | "nanos" => Self::Nano,
            _ => {
                return Err(format!(
                    "{text:?} is not a time encoding: use iso8601, rfc3339, rfc3339nano, epoch, millis or nano"
                ));
            }
        })
    }

    fn write(self, time: Timestamp) -> String {
        let utc = time.to_zoned(TimeZone::UTC);
        let (seconds, nanos) = (time.as_second(), time.as_nanosecond());
        match self {
            Self::Iso8601 => utc.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            Self::Rfc3339 => utc.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Self::Rfc3339Nano => utc.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string(),
            Self::Epoch => format!("{seconds}.{:09}", nanos.rem_euclid(1_000_000_000)),
            Self::Millis => format!("{}.{:06}", nanos.div_euclid(1_000_000), nanos.rem_euclid(1_000_000)),
            Self::Nano => nanos.to_string(),
        }
    }
}

impl FormatTime for TimeEncoding {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&self.write(Timestamp::now()))
    }
}

/// Changes the level of a running process.
#[derive(Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Sets the log level.
    pub fn set(&self, level: Level) {
        // It fails only if the subscriber no longer exists, at the end of the process.
        let _ = self.0.reload(level.filter());
    }
}

/// Starts logging. Call it once, at the start of the process. A second call has no effect.
pub fn init(format: Format, level: Level) -> LogHandle {
    init_with_time(format, level, TimeEncoding::Rfc3339Nano)
}

/// Starts logging like [`init`], with another time format.
pub fn init_with_time(format: Format, level: Level, time: TimeEncoding) -> LogHandle {
    let (filter, handle) = reload::Layer::new(level.filter());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(time);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => Box::new(lines.json().flatten_event(true).with_filter(filter)),
        Format::Console => Box::new(lines.with_ansi(false).with_filter(filter)),
    };
    let registry = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "opentelemetry")]
    let registry = registry.with(crate::traces::layer());
    let _ = registry.try_init();
    LogHandle(handle)
}

/// Formats an error and its causes in one line. Many libraries include the text of the cause in their own message, so
/// this function removes the duplicate.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    // kube formats the whole status of an API error. Its message is a sentence already.
    if let Some(kube::Error::Api(status)) = error.downcast_ref()
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    let message = error.to_string();
    let Some(cause) = error.source() else { return message };
    let (as_it_is, cause) = (cause.to_string(), in_one_line(cause));
    if message.contains(&as_it_is) {
        message.replacen(&as_it_is, &cause, 1)
    } else if message.contains(&cause) {
        message
    } else {
        format!("{message}: {cause}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_reported_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Failure {
            text: &'static str,
            source: Option<Box<Failure>>,
        }
        let because = |text, source: Option<Failure>| Failure { text, source: source.map(Box::new) };
        let error = because("no such file", None);
        let error = because("--kubeconfig x", Some(because("cannot read x: no such file", Some(error))));
        assert_eq!(in_one_line(&error), "--kubeconfig x: cannot read x: no such file");
    }

    #[test]
    fn an_api_error_is_reported_with_the_message_of_the_api_server() {
        let message = "secrets \"s\" is forbidden".to_owned();
        let status = kube::core::Status { code: 403, message, ..kube::core::Status::default() };
        let refused = kube::runtime::watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        let text = in_one_line(&refused);
        assert!(text.ends_with(": secrets \"s\" is forbidden") && !text.contains("Status {"), "{text}");
    }

    #[test]
    fn zap_time_encodings_are_accepted() {
        let time: Timestamp = "2026-01-31T23:59:58.001002003Z".parse().unwrap();
        for (text, written) in [
            ("iso8601", "2026-01-31T23:59:58.001Z"),
            ("rfc3339", "2026-01-31T23:59:58Z"),
            ("rfc3339nano", "2026-01-31T23:59:58.001002003Z"),
            ("epoch", "1769903998.001002003"),
            ("millis", "1769903998001.002003"),
            ("nano", "1769903998001002003"),
        ] {
            assert_eq!(TimeEncoding::from_zap(text).unwrap().write(time), written, "{text}");
        }
        assert!(TimeEncoding::from_zap("sundial").is_err());
    }

    #[test]
    fn zap_levels_are_accepted() {
        for (text, level) in [
            ("info", Level::Info),
            ("debug", Level::Debug),
            ("INFO", Level::Info),
            ("error", Level::Error),
            ("panic", Level::Error),
            ("1", Level::Debug),
            ("2", Level::Debug),
            ("5", Level::Trace),
            ("9", Level::TraceAll),
        ] {
            assert_eq!(Level::from_zap(text), Ok(level), "{text}");
        }
        for text in ["", "0", "-1", "loud"] {
            assert!(Level::from_zap(text).is_err(), "{text}");
        }
    }
}
