//! `exporter.json`: can I trust the other two?

use crate::dashboards::bounds::{CERTIFICATE_SECS, STALE_INTERVALS, STALE_LONG_SECS, UNKNOWN_SHARE};
use crate::dashboards::expression::{Filters, INSTANCE, JOB, TENANT};
use crate::dashboards::grafana::{
    Bounds, Color, Column, Dashboard, Marks, Panel, Row, Shown, Unit, Variable,
};

const FILTERS: Filters = &[JOB, INSTANCE, TENANT];

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mde-exporter",
        title: "Defender patch gap / Exporter",
        description: "The exporter itself: can the numbers of the other two dashboards be trusted, and if \
                      not, what is in the way?",
        from: "now-24h",
        variables: Variable::common("mde_exporter_build_info"),
        filters: FILTERS,
        marks: Marks::None,
        rows: vec![
            Row { title: "Can the data be trusted?", shown: Shown::Open, panels: trust() },
            Row { title: "Polls", shown: Shown::Open, panels: polls() },
            Row { title: "Defender API", shown: Shown::Open, panels: api() },
            Row { title: "Series and scrapes", shown: Shown::Folded, panels: series() },
            Row { title: "Process, state and configuration", shown: Shown::Folded, panels: process() },
        ],
    }
}

fn trust() -> Vec<(u32, u32, Panel)> {
    let age = "time() - @mde_exporter_last_poll_success_timestamp_seconds";
    vec![
        (4, 4, Panel::stat(
            "Scraped",
            "Whether Prometheus reaches every exporter. Good: yes. If not, nothing on any of the pages is \
             current: is the process running, does the port answer?",
        ).query("min(@up)", "").word(1.0, "yes", Color::Good).word(0.0, "no", Color::Bad)),
        (4, 4, Panel::stat(
            "Tenants that fail",
            "Tenants whose API could not be used in the newest poll. Good: 0. The reason is in the panel of \
             failures below and in the log.",
        ).query("sum(@mde_up == bool 0)", "").bounds(Bounds::below(1.0))),
        (4, 4, Panel::stat(
            "Age in poll intervals",
            "Time since the last good poll of the tenant that is furthest behind, in poll intervals. Good: \
             below 2; above 3 `MdeDataStale` fires.",
        ).query(format!("max(({age}) / @mde_exporter_poll_interval_seconds)"), "").decimals(1)
            .bounds(Bounds::falling_from(1.5, STALE_INTERVALS))),
        (4, 4, Panel::stat(
            "Nothing known",
            "Machines in scope of which nothing is known. Good: 0 once the first round is through; above 5 % \
             `MdeCollectionIncomplete` fires.",
        ).query(
            "sum(@mde_assessed_machines{state=\"unknown\"}) / (sum(@mde_assessed_machines) > 0)", "",
        ).unit(Unit::Share).bounds(Bounds::falling(UNKNOWN_SHARE))),
        (4, 4, Panel::stat(
            "Series left out",
            "Series that the limit keeps back. Good: 0. If not, raise `metrics.series_limit` or choose a \
             `metrics.detail`, or live with the shallower level.",
        ).query("sum(@mde_exporter_suppressed_series)", "").bounds(Bounds::calm_below(1.0))),
        (4, 4, Panel::stat(
            "Alerts",
            "Alerts of the exporter's rules that fire now, whatever the filters say. Good: 0. Each has a runbook.",
        ).query("count(ALERTS{alertname=~\"Mde.+\", alertstate=\"firing\"}) or vector(0)", "")
            .bounds(Bounds::calm_below(1.0))),
        (24, 7, tenants()),
        (12, 7, Panel::state_timeline(
            "API could be used",
            "The result of each tenant's newest poll. Good: an unbroken line. Short gaps are the API's; a long \
             one is a credential, a role or the network.",
        ).query("min by (tenant) (@mde_up)", "{{tenant}}")
            .word(1.0, "up", Color::Good).word(0.0, "down", Color::Bad)),
        (12, 7, Panel::stacked(
            "Machines by age of data",
            "All machines in scope. Good: nearly all current. Stale means that a poll has failed or is late; \
             unknown is not yet read, or no longer believed.",
        ).query("sum by (state) (@mde_assessed_machines)", "{{state}}")
            .color("current", Color::Neutral).color("stale", Color::Warning)
            .color("inactive", Color::Inactive).color("unknown", Color::Unknown)),
    ]
}

fn tenants() -> Panel {
    Panel::table(
        "Tenants",
        "One line for each tenant. Good: up, read within two intervals, and a next poll that is not overdue. \
         The age of the source is that of the bulk export, where the data comes from there; after a day \
         `MdeExportSnapshotOld` fires. A negative time to the next poll means that the poll under way takes longer than planned.",
        vec![
            Column::label("tenant", "Tenant"),
            Column::value("Value #A", "Up", Unit::Count).bounds(Bounds::from_bad(1.0)),
            Column::value("Value #B", "Last good poll before", Unit::Seconds)
                .bounds(Bounds::below(STALE_LONG_SECS)),
            Column::value("Value #C", "Last poll before", Unit::Seconds),
            Column::value("Value #D", "Next poll in", Unit::Seconds),
            Column::value("Value #E", "Poll took", Unit::Seconds),
            Column::value("Value #F", "Age of source", Unit::Seconds).bounds(Bounds::below(STALE_LONG_SECS)),
            Column::value("Value #G", "Token good for", Unit::Seconds),
        ],
    )
    .query("min by (tenant) (@mde_up)", "")
    .query("time() - min by (tenant) (@mde_exporter_last_poll_success_timestamp_seconds)", "")
    .query("time() - min by (tenant) (@mde_exporter_last_poll_timestamp_seconds)", "")
    .query("min by (tenant) (@mde_exporter_next_poll_timestamp_seconds) - time()", "")
    .query("max by (tenant) (@mde_exporter_last_poll_duration_seconds)", "")
    .query("time() - min by (tenant) (@mde_exporter_source_snapshot_timestamp_seconds)", "")
    .query("min by (tenant) (@mde_exporter_token_expiry_timestamp_seconds) - time()", "")
}

/// Events per counter within a step of the panel.
fn events(by: &str, counter: &str) -> String {
    format!("sum by ({by}) (increase({counter}[$__rate_interval]))")
}

fn polls() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::lines(
            "Duration of a poll against its interval",
            "How long a poll took, the interval that is configured, and the shortest one that the quota allows. \
             Good: duration and possible interval stay below the configured one. If not, raise `poll.interval` \
             or use `source: export`.",
        ).query("max by (tenant) (@mde_exporter_last_poll_duration_seconds)", "{{tenant}} took")
            .query("max by (tenant) (@mde_exporter_poll_interval_seconds)", "{{tenant}} interval")
            .query("max by (tenant) (@mde_exporter_possible_poll_interval_seconds)", "{{tenant}} possible")
            .unit(Unit::Seconds).above_zero()),
        (8, 8, Panel::bars(
            "Failures by reason",
            "Readings that failed: of a machine list, of a machine, or of a whole tenant. Good: none, or a few \
             `not_found` that come and go. `token`, `unauthorized` and `forbidden` need somebody in Entra; \
             `throttled` means that others use the quota too.",
        ).query(events("tenant, reason", "@mde_exporter_poll_failures_total") + " > 0", "{{tenant}} {{reason}}")
            .nothing("no failure")),
        (8, 8, Panel::bars(
            "Records and lists that were refused",
            "Records that could not be used, records that were there twice, and whole lists that were not \
             believed. Good: none. Some odd records are the API's; a refused list is looked at again five \
             minutes later.",
        ).query(events("tenant, reason", "@mde_exporter_rejected_records_total"), "{{tenant}} record {{reason}}")
            .query(events("tenant", "@mde_exporter_duplicate_records_total"), "{{tenant}} duplicate")
            .query(events("tenant, reason", "@mde_exporter_rejected_snapshots_total"), "{{tenant}} list {{reason}}")
            .nothing("none")),
    ]
}

fn api() -> Vec<(u32, u32, Panel)> {
    let errors = "sum(rate(@mde_exporter_api_requests_total{code!~\"2..\"}[$__rate_interval]))";
    let latency = |quantile: f64| {
        format!(
            "histogram_quantile({quantile}, sum by (le) \
             (rate(@mde_exporter_api_request_duration_seconds_bucket[$__rate_interval])))"
        )
    };
    vec![
        (8, 8, Panel::lines(
            "Requests by status",
            "Requests to the Defender API a second; `error` is one without a reply. Good: 200 and little else. \
             401 and 403 are credentials and roles, 404 machines that Defender has forgotten, 429 the quota.",
        ).query("sum by (code) (rate(@mde_exporter_api_requests_total[$__rate_interval]))", "{{code}}")
            .unit(Unit::Rate).above_zero()),
        (8, 8, Panel::lines(
            "Share of requests that fail",
            "Replies other than 2xx, of all. Good: below 1 %. Nothing is drawn while nothing is asked, which \
             is most of the time in a small fleet.",
        ).query(format!("{errors} / (sum(rate(@mde_exporter_api_requests_total[$__rate_interval])) > 0)"), "failing")
            .unit(Unit::Share).nothing("nothing asked")),
        (8, 8, Panel::lines(
            "Latency",
            "Time to a whole reply of the Defender API. Good: below a second for nine in ten. Slow replies \
             stretch a poll; above `http.timeout` they become failures.",
        ).query(latency(0.5), "half").query(latency(0.9), "nine in ten").query(latency(0.99), "99 in 100")
            .query(
                "sum(rate(@mde_exporter_api_request_duration_seconds_sum[$__rate_interval])) \
                 / sum(rate(@mde_exporter_api_request_duration_seconds_count[$__rate_interval]))",
                "mean",
            ).unit(Unit::Seconds).above_zero().nothing("nothing asked")),
        (8, 8, Panel::lines(
            "Quota",
            "Requests within the last minute and hour, of those that the exporter allows itself. Good: at most \
             1. A line at 1 for long means that the fleet needs the whole quota: raise `poll.interval`, or use \
             `source: export`.",
        ).query(
            "max by (tenant, window) (@mde_exporter_api_quota_used_requests / @mde_exporter_api_quota_requests)",
            "{{tenant}} {{window}}",
        ).unit(Unit::Share)),
        (8, 8, Panel::bars(
            "Throttling and retries",
            "Replies 429, requests that were sent again, and seconds for which requests were held back. Good: \
             no 429. Waiting for the quota is normal while a large fleet is read.",
        ).query(events("tenant", "@mde_exporter_api_throttled_responses_total"), "{{tenant}} 429")
            .query(events("tenant", "@mde_exporter_api_retries_total"), "{{tenant}} retries")
            .query(events("tenant", "@mde_exporter_api_throttle_wait_seconds_total"), "{{tenant}} seconds held back")),
        (8, 8, Panel::bars(
            "Tokens",
            "Tokens taken from Entra, and attempts that failed. Good: about one an hour, and none that failed. \
             A failure names its AADSTS code in the log: an expired secret, a missing consent, a wrong id.",
        ).query(events("tenant", "@mde_exporter_token_refreshes_total"), "{{tenant}} taken")
            .query(events("tenant", "@mde_exporter_token_refresh_failures_total"), "{{tenant}} failed")),
    ]
}

fn series() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::lines(
            "Series by level",
            "Series of fleet data that are served, and the limit (0 is none). Good: the sum stays below the \
             limit. It grows with machines, and at the update level with what they miss.",
        ).query("sum by (detail) (@mde_exporter_series)", "{{detail}}")
            .query("max(@mde_exporter_series_limit)", "limit").above_zero()),
        (4, 8, Panel::bar_gauge(
            "Level that is served",
            "The deepest level of detail that is served. Good: the one that you want. A shallower one than \
             `metrics.detail` asks for means that the limit is in the way.",
        ).query("max by (detail) (@mde_exporter_detail_level)", "{{detail}}").above_zero()),
        (4, 8, Panel::bar_gauge(
            "Size",
            "Bytes of an exposition of fleet data. Good: below what `body_size_limit` of the scrape allows.",
        ).query("max by (format, encoding) (@mde_exporter_exposition_bytes)", "{{format}} {{encoding}}")
            .unit(Unit::Bytes).above_zero()),
        (8, 8, Panel::lines(
            "Rendering",
            "Time to render and compress, once for each change and never for a scrape. Good: below a second, \
             whatever the size of the fleet.",
        ).query(
            "sum by (instance) (rate(@mde_exporter_render_duration_seconds_sum[$__rate_interval])) \
             / (sum by (instance) (rate(@mde_exporter_render_duration_seconds_count[$__rate_interval])) > 0)",
            "{{instance}}",
        ).unit(Unit::Seconds).above_zero()),
        (8, 8, Panel::lines(
            "Scrape",
            "How long a scrape takes, as Prometheus sees it, the network included. Good: far below the scrape timeout.",
        ).query("@scrape_duration_seconds", "{{instance}}").unit(Unit::Seconds).above_zero()),
        (8, 8, Panel::lines(
            "Samples of a scrape",
            "Samples that Prometheus gets and keeps. Good: below `sample_limit`, or the whole scrape is \
             dropped. The exporter's own metrics come on top of `metrics.series_limit`.",
        ).query("@scrape_samples_scraped", "{{instance}} got")
            .query("@scrape_samples_post_metric_relabeling", "{{instance}} kept").above_zero()),
        (8, 8, Panel::lines(
            "Requests to the exporter",
            "Requests that the exporter answered, by path and status. Good: 200, in the rhythm of the scrapes. \
             401 is a wrong password, 503 too many scrapes at once.",
        ).query("sum by (path, code) (rate(@mde_exporter_http_requests_total[$__rate_interval])) > 0", "{{path}} {{code}}")
            .unit(Unit::Rate).above_zero()),
        (8, 8, Panel::lines(
            "Time to answer",
            "Within which time 99 in 100 requests were answered, as the exporter sees it. Good: milliseconds, \
             whatever the size of the fleet: ready bytes are sent.",
        ).query(
            "histogram_quantile(0.99, sum by (le) \
             (rate(@mde_exporter_http_request_duration_seconds_bucket[$__rate_interval])))",
            "99 in 100",
        ).unit(Unit::Seconds).above_zero()),
    ]
}

fn process() -> Vec<(u32, u32, Panel)> {
    vec![
        (8, 8, Panel::lines(
            "Memory",
            "Resident memory of the exporter. Good: flat. It grows with the fleet and not with time; 100,000 \
             machines take some 300 MiB at the default limit.",
        ).query("@process_resident_memory_bytes", "{{instance}}").unit(Unit::Bytes).above_zero()),
        (8, 8, Panel::lines(
            "Processor",
            "Share of one processor that the exporter uses. Good: next to nothing between two polls.",
        ).query("rate(@process_cpu_seconds_total[$__rate_interval])", "{{instance}}").unit(Unit::Share)),
        (8, 8, Panel::lines(
            "Open files",
            "Open files and sockets, of those that the system allows. Good: a few hundredths. Growing for days \
             means that clients hold connections open.",
        ).query("@process_open_fds / @process_max_fds", "{{instance}}").unit(Unit::Share)),
        (8, 8, Panel::bars(
            "State on disk",
            "Changes that were written, and those that could not be. Good: none that failed. If not, the disk \
             is full or the folder cannot be written: first seen times since then are lost with a restart.",
        ).query(events("instance", "@mde_exporter_state_writes_total"), "{{instance}} written")
            .query(events("instance", "@mde_exporter_state_write_failures_total"), "{{instance}} failed")
            .color("failed", Color::Bad)),
        (8, 8, Panel::bars(
            "Log lines",
            "Lines that the exporter has written, by level. Good: no errors, few warnings; a quiet poll is one \
             line. Read them where the number grows.",
        ).query(events("level", "@mde_exporter_log_messages_total"), "{{level}}")
            .color("error", Color::Bad).color("warn", Color::Warning)
            .color("info", Color::Neutral).color("debug", Color::Inactive)),
        (8, 8, Panel::table(
            "Exporters",
            "Every exporter that is scraped. Good: one version, a configuration that was taken, and state that \
             was found at start. The certificate is that of the exporter's own web server, where it has one; \
             below 14 days `MdeWebCertificateExpiring` fires.",
            vec![
                Column::label("instance", "Exporter"),
                Column::label("version", "Version"),
                Column::value("Value #B", "Configuration taken", Unit::Count).bounds(Bounds::from_bad(1.0)),
                Column::value("Value #C", "Configuration since", Unit::Seconds),
                Column::value("Value #D", "State found", Unit::Count),
                Column::value("Value #E", "Running since", Unit::Seconds),
                Column::value("Value #F", "Certificate good for", Unit::Seconds).bounds(Bounds::rising(
                    CERTIFICATE_SECS,
                    2.0 * CERTIFICATE_SECS,
                )),
            ],
        ).query("max by (instance, version) (@mde_exporter_build_info)", "")
            .query("min by (instance) (@mde_exporter_config_last_reload_successful)", "")
            .query("time() - max by (instance) (@mde_exporter_config_last_reload_success_timestamp_seconds)", "")
            .query("max by (instance) (@mde_exporter_state_restored)", "")
            .query("time() - max by (instance) (@process_start_time_seconds)", "")
            .query("min by (instance) (@mde_exporter_web_certificate_expiry_timestamp_seconds) - time()", "")
            .without(&["Value #A"])),
    ]
}
