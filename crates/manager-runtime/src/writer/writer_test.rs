use super::*;
use futures::future::{join, join_all};
use retry::tests::refusal;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

fn unlimited() -> Writer {
    Writer::new(1e6, 1_000_000, Fence::none())
}

#[tokio::test]
async fn requests_in_flight_are_limited() {
    let writer = unlimited();
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = || async {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(1)).await;
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    let sent = join_all((0..500).map(|_| writer.send(one))).await;
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), Writer::IN_FLIGHT);
}

#[tokio::test]
async fn the_rate_may_be_less_than_one() {
    for (qps, least) in [(0.5, 2.0), (2.5, 0.4), (f32::INFINITY, 0.0)] {
        let writer = Writer::new(qps, 1, Fence::none());
        let begun = Instant::now();
        for _ in 0..2 {
            writer.send(|| async { Ok(()) }).await.unwrap();
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((least * 0.95..least + 1.0).contains(&took), "{qps}: {took} s");
    }
}

/// Twenty callers send a thousand requests each, at 200 a second. A caller with one request waits for about twenty of
/// theirs, a tenth of a second, and not for twenty thousand.
#[tokio::test]
async fn thousands_of_requests_do_not_delay_one_of_another_caller() {
    let writer = Writer::new(200.0, 1, Fence::none());
    let many = join_all((0..20_000).map(|at| {
        let writer = writer.clone();
        async move { writer.for_caller(&format!("greedy-{}", at % 20)).send(|| async { Ok(()) }).await }
    }));
    let modest = async {
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        writer.for_caller("modest").send(|| async { Ok(()) }).await.unwrap();
        begun.elapsed()
    };
    let waited = tokio::select! { _ = many => panic!("the rate is not limited"), waited = modest => waited };
    assert!(waited < Duration::from_millis(500), "{waited:?}");
}

#[tokio::test]
async fn transient_errors_are_retried_and_others_are_returned() {
    let attempts = AtomicU32::new(0);
    let fails_twice = || async {
        if attempts.fetch_add(1, Ordering::SeqCst) < 2 { Err(refusal(500, 0)) } else { Ok("done") }
    };
    let metrics = crate::metrics::Metrics::new().unwrap();
    assert_eq!(unlimited().measured(&metrics).send(fails_twice).await.unwrap(), "done");
    let text = metrics.text().unwrap();
    assert!(
        text.contains("\nwriter_retries_total 2\n") && text.contains("\nwriter_wait_seconds_count 3\n"),
        "{text}"
    );
    attempts.store(0, Ordering::SeqCst);
    let conflict = || async {
        attempts.fetch_add(1, Ordering::SeqCst);
        Err::<(), _>(refusal(409, 0))
    };
    assert!(unlimited().send(conflict).await.is_err());
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn retry_after_delays_all_callers() {
    let writer = unlimited();
    let refused = AtomicU32::new(0);
    let begun = Instant::now();
    let slow_down =
        || async { if refused.fetch_add(1, Ordering::SeqCst) == 0 { Err(refusal(429, 1)) } else { Ok(()) } };
    let other = async {
        sleep(Duration::from_millis(50)).await;
        writer.for_caller("b").send(|| async { Ok(()) }).await
    };
    let (one, other) = join(writer.send(slow_down), other).await;
    assert!(one.is_ok() && other.is_ok() && refused.load(Ordering::SeqCst) == 2);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_closed_fence_stops_requests() {
    let (gate, fence) = crate::leader::Gate::closed();
    let writer = Writer::new(1e6, 1_000_000, fence);
    let sent = AtomicU32::new(0);
    let hanging = || async {
        sent.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<kube::Result<()>>().await
    };
    let error = writer.send(hanging).await.unwrap_err();
    assert!(error.to_string().contains("may no longer lead"), "{error}");
    assert_eq!(sent.load(Ordering::SeqCst), 0);
    gate.open_until(Instant::now() + Duration::from_millis(50));
    assert!(writer.send(hanging).await.is_err(), "the request in flight is dropped");
    assert_eq!(sent.load(Ordering::SeqCst), 1);
}
