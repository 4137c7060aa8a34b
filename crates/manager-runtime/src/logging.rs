//! One subscriber for the process, to standard error, whose level can change while it runs.

use jiff::{Timestamp, tz::TimeZone};
use std::error::Error;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Console,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only what failed.
    Error,
    /// What happened.
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
    /// Also what libraries do.
    TraceAll,
}

impl Level {
    /// Reads a value of `--zap-log-level`: `debug`, `info`, `error`, `panic`, or a number above 0, where a
    /// larger one says more. In upper or lower case, as zap takes them.
    pub fn from_zap(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "error" | "panic" => Ok(Self::Error),
            number => match number.parse::<u32>() {
                Ok(1..=2) => Ok(Self::Debug),
                Ok(3..=6) => Ok(Self::Trace),
                Ok(7..) => Ok(Self::TraceAll),
                Ok(0) | Err(_) => {
                    Err(format!("{text:?} is none of debug, info, error, panic or a number above 0"))
                }
            },
        }
    }

    fn filter(self) -> EnvFilter {
        // Libraries speak only when something is wrong, unless everything is asked for.
        // A request that failed is told by whoever sent it: kube's client tells it once more, without what it was.
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

/// How the time of a line is written; always UTC.
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
    /// Reads a value of `--zap-time-encoding`.
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
                    "{text:?} is none of iso8601, rfc3339, rfc3339nano, epoch, millis, nano"
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
    /// From now on, logs this much.
    pub fn set(&self, level: Level) {
        // It fails only when the subscriber is gone, at the process's end.
        let _ = self.0.reload(level.filter());
    }
}

/// Starts logging. Call it once, early; a second call changes nothing that is seen.
pub fn init(format: Format, level: Level) -> LogHandle {
    init_with_time(format, level, TimeEncoding::Rfc3339Nano)
}

/// Starts logging like [`init`], with the time written in a way of its own.
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

/// An error and its causes, in one line. Many libraries put the text of the cause into their own: it is told once.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    // kube writes out the whole status of a refusal; the API server has put it into a sentence.
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
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Told {
            text: &'static str,
            source: Option<Box<Told>>,
        }
        let because = |text, source: Option<Told>| Told { text, source: source.map(Box::new) };
        let error = because("no such file", None);
        let error = because("--kubeconfig x", Some(because("cannot read x: no such file", Some(error))));
        assert_eq!(in_one_line(&error), "--kubeconfig x: cannot read x: no such file");
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_api_server() {
        let message = "secrets \"s\" is forbidden".to_owned();
        let status = kube::core::Status { code: 403, message, ..kube::core::Status::default() };
        let refused = kube::runtime::watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        let told = in_one_line(&refused);
        assert!(told.ends_with(": secrets \"s\" is forbidden") && !told.contains("Status {"), "{told}");
    }

    #[test]
    fn zap_time_encodings_are_understood() {
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
    fn zap_levels_are_understood() {
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
