//! The render options that a configuration asks for.

use std::sync::Arc;

use crate::config::{self, Config};
use crate::fleet::{DeadlineStart, Policy};
use crate::metrics::{DetailLevel, RenderOptions};
use crate::poll;

/// The options with which the fleets are rendered.
pub(super) fn render_options(config: &Config) -> RenderOptions {
    RenderOptions {
        freshness: poll::freshness(&config.poll),
        policies: config.policies.iter().map(policy).collect(),
        detail: match config.metrics.detail {
            config::Detail::Fleet => DetailLevel::Fleet,
            config::Detail::Machine => DetailLevel::Machine,
            // The series limit applies to a level that is set explicitly too.
            config::Detail::Update | config::Detail::Auto => DetailLevel::Update,
        },
        series_limit: config.metrics.series_limit,
    }
}

fn policy(policy: &config::Policy) -> Policy {
    Policy {
        name: Arc::clone(&policy.name),
        deadline: policy.deadline,
        from: match policy.from {
            config::DeadlineStart::FirstSeen => DeadlineStart::FirstSeen,
            config::DeadlineStart::Released => DeadlineStart::Released,
        },
    }
}
