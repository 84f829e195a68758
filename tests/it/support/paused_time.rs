//! Paused time that moves in steps.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{advance, pause, resume};

/// Does `work` while paused time advances in steps. Each step waits until nothing can run: tokio alone
/// would advance time whenever a reply is on its way through the kernel.
pub(crate) async fn in_time<T>(step: Duration, work: impl Future<Output = T>) -> T {
    pause();
    let time = async {
        loop {
            for _ in 0..500 {
                yield_now().await;
            }
            advance(step).await;
        }
    };
    let result = tokio::select! {
        result = work => result,
        () = time => unreachable!("time does not end"),
    };
    resume();
    result
}
